"""Expressions of `expect`: the value that Python would give, or a reason why there is none; and the parts of it."""

import ast
import contextlib
from collections.abc import Iterator

from harness import declared
from harness.explanation import explain
from harness.expression import FUNCTIONS, ROOTS, EvaluationError, ExpressionError, evaluate, names, parse
from harness.scenario import load
from tests.fuzzing.yamlfile import SCENARIOS
from tests.property.test_expression import BINARIES, PIECES, SCOPE, python, same

KEYWORDS = "if else for in not and or is None True False lambda"
OTHERS = {
    **SCOPE,
    "inside": {"identity": {"hostname": "a", "uid": 0}, "mounts": {"mounts": [{"point": "/", "type": "tmpfs"}]}},
    "host": {"identity": {"hostname": "b", "uid": 0}},
    "config": {"hostname": "a", "linux": {"namespaces": [{"type": "mount"}]}},
}


def seeds() -> Iterator[bytes]:
    for path in sorted(SCENARIOS.glob("*.yaml")):
        for check in load(path).checks:
            yield from (expectation.text.encode() for expectation in check.expect)


def words() -> Iterator[str]:
    yield from (*FUNCTIONS, *ROOTS, *BINARIES, *OTHERS, *KEYWORDS.split(), *PIECES.split())
    yield from (name for name in vars(declared) if name[0] != "_")


def once(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        value = evaluate(text, SCOPE)
    except (EvaluationError, ExpressionError):
        pass
    else:
        if not any(isinstance(node, ast.Attribute) for node in ast.walk(parse(text))):  # which Python's dicts have not
            assert same(value, python(text.strip())), (value, python(text.strip()))
    with contextlib.suppress(EvaluationError, ExpressionError):
        evaluate(text, OTHERS)
    with contextlib.suppress(ExpressionError):
        assert all(name.split(".")[0].isidentifier() for name in names(text))
        for scope in (SCOPE, OTHERS):
            for source, shown in explain(text, scope):
                assert source.isprintable()
                assert shown.isprintable()
                assert len(shown) < 450
