"""The evaluator agrees with Python wherever it answers, and answers or says why for every text."""

import contextlib
import warnings
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.explanation import explain
from harness.expression import FUNCTIONS, EvaluationError, ExpressionError, evaluate, names
from harness.values import shown

SCOPE: dict[str, Any] = {
    "a": 3,
    "b": [3, 1, 2],
    "c": {"x": 1, "y": [1, 2], "items": 5},
    "d": "text",
    "e": None,
    "f": [[1, "x"], [2, "y"]],
}

BINARIES = ["not in", *"+ - * / // % << >> & | ^ == != < <= > >= in and or".split()]
LEAVES = st.sampled_from(
    [*SCOPE, "v", "0", "1", "-2", "7", "1.5", "''", "'x'", "True", "None", "[]", "c['y']", "b[0]", "d[1:]"]
)


def compounds(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from([*BINARIES, "and", "or"]), inner),
        st.builds("({} < {} <= {})".format, inner, inner, inner),
        st.builds("({}({}))".format, st.sampled_from(["not ", "-", "+", "~", *FUNCTIONS]), inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("({}, {})".format, inner, inner),
        st.builds("{{{}, {}}}".format, inner, inner),
        st.builds("{{{}: {}}}".format, inner, inner),
        st.builds("[{} for v in {} if {}]".format, inner, inner, inner),
        st.builds("{{{}: {} for v, w in {}}}".format, inner, inner, inner),
        st.builds("{}({} for v in {})".format, st.sampled_from(["all", "any", "set", "sum"]), inner, inner),
    )


EXPRESSIONS = st.recursive(LEAVES, compounds, max_leaves=10)

PIECES = """
( ) [ ] { } . , : lambda else is not __class__ _ ' " \\ ** := f' b' 0 1e999 # foo a.b
"""
HOSTILE = st.text() | st.lists(
    st.sampled_from([*SCOPE, *FUNCTIONS, *BINARIES, *PIECES.split(), " for v in ", " if ", " ", "\n", "\x00"]),
    max_size=16,
).map("".join)


def python(text: str) -> Any:
    """What Python makes of it, at the top of a module, where loops see the names of the scope."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of `1[0]` and the like
        return eval(text, {"__builtins__": FUNCTIONS, **SCOPE})


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return type(ours) is type(theirs) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and (ours == theirs or repr(ours) == repr(theirs))  # nan is not equal to nan


@given(EXPRESSIONS)
@example("[v for v in b if v > 1]")
@example("{v: w for v, w in f}")
def test_agrees_with_python(text: str) -> None:
    try:
        value = evaluate(text, SCOPE)
    except EvaluationError as error:
        if not any(bound in str(error) for bound in ("steps", "bits", "formatted with %")):
            with pytest.raises((ArithmeticError, LookupError, NameError, TypeError, ValueError)):
                python(text)
    else:
        assert same(value, python(text))


@given(EXPRESSIONS)
def test_explanation_shows_values_of_parts(text: str) -> None:
    for source, value in explain(text, SCOPE):
        assert len(value) < 450
        with contextlib.suppress(EvaluationError, ExpressionError):
            if "v" not in names(source) and "w" not in names(source):
                assert value == shown(evaluate(source, SCOPE))


@given(HOSTILE)
@example("(" * 200)
@example("-" * 3999)
@example("a." * 1999 + "a")
@example("a" + "[0]" * 1300)
@example("[" * 90 + "]" * 90)
@example("b[1:2, 3]")
@example("0x" + "f" * 3900 + "()")
@example("[[[[0] * 900] * 900] * 900] * 900 == 1")
def test_any_text_has_a_value_or_a_reason(text: str) -> None:
    with contextlib.suppress(ExpressionError, EvaluationError):
        evaluate(text, SCOPE)
    with contextlib.suppress(ExpressionError):
        assert all(isinstance(part, str) for pair in explain(text, SCOPE) for part in pair)
        assert all(name.split(".")[0].isidentifier() for name in names(text))


FACTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda facts: st.lists(facts, max_size=4) | st.dictionaries(st.text(max_size=3), facts, max_size=4),
)


@given(FACTS)
def test_hostile_facts_give_a_value_or_a_reason_and_printable_parts(facts: object) -> None:
    for text in ("inside.x == 1", "all(m.a in m.b for m in inside)", "set(inside.x) <= {1}", "sorted(inside)[0].y > 2"):
        with contextlib.suppress(EvaluationError):
            evaluate(text, {"inside": facts})
        for source, value in explain(text, {"inside": facts}):
            assert source.isprintable()
            assert value.isprintable()
