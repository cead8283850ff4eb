"""The expression language: what it computes, what it refuses, what it says why, and that it cannot be misused."""

import sys
import time
from types import ModuleType
from typing import Any

import pytest

from harness.explanation import explain
from harness.expression import (
    FUNCTIONS,
    EvaluationError,
    ExpressionError,
    MissingName,
    evaluate,
    names,
    parse,
)
from harness.values import shown

SCOPE: dict[str, Any] = {
    "inside": {
        "mounts": {
            "table": [
                {"point": "/", "flags": ["ro", "nosuid"]},
                {"point": "/tmp", "flags": ["rw"]},
            ]
        },
        "odd": {"items": 1, "keys": [2], "a-b": {"net.x": 3}, "none": None},
        "identity": {"hostname": "cell", "capabilities": ["KILL", "CHOWN"]},
    },
    "config": {"hostname": "cell", "capabilities": ["CHOWN", "KILL", "SETUID"], "limit": 5},
}


DECLARED = """
from json import loads
def doubled(n): return 2 * n
def broken(x): return x["k"]
def _hidden(): return 1
"""


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for harness.declared, with a public and a hidden function and a name that is only imported there."""
    module = ModuleType("harness.declared")
    exec(DECLARED, vars(module))
    monkeypatch.setitem(sys.modules, "harness.declared", module)
    monkeypatch.setattr("harness.declared", module, raising=False)
    return module


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inside.identity.hostname == config.hostname", True),
        ("inside['identity'].hostname != 'cell'", False),
        ('inside.odd["a-b"]["net.x"]', 3),
        ("inside.odd.items", 1),
        ("inside.odd.keys[0]", 2),
        ("inside.odd.none is None", True),
        ("inside.odd.none is not None", False),
        ("inside.mounts.table[1].flags[0]", "rw"),
        ("inside.mounts.table[-1:]", [{"point": "/tmp", "flags": ["rw"]}]),
        ("config.hostname[1:]", "ell"),
        ("[m.point for m in inside.mounts.table]", ["/", "/tmp"]),
        ("{m.point: len(m.flags) for m in inside.mounts.table}", {"/": 2, "/tmp": 1}),
        ("{flag for m in inside.mounts.table if m.point == '/' for flag in m.flags}", {"ro", "nosuid"}),
        ("[a + b for a, b in [[1, 2], [3, 4]]]", [3, 7]),
        ("all(m.flags for m in inside.mounts.table)", True),
        ("any(m.point == '/x' for m in inside.mounts.table)", False),
        ("set(inside.identity.capabilities) <= set(config.capabilities)", True),
        ("sorted(config.capabilities, reverse=True)", ["SETUID", "KILL", "CHOWN"]),
        ("min([], default=7)", 7),
        ("sum([1, 2]) + max(1, 2) - min(3, 4) + abs(-1)", 3),
        ("1 < config.limit <= 5", True),
        ("config.limit if config.hostname == 'x' else -config.limit", -5),
        ("(1, 2) == (1, 2) and {'a': 1} == {'a': 1.0}", True),
        ("5 & ~1 | 8 ^ 1", 5 & ~1 | 8 ^ 1),
        ("0xEFFFFFFE >> 4 << 4", 0xEFFFFFF0),
        ("'ro' in inside.mounts.table[0].flags and 'x' not in config", True),
        ("0 or '' or config.hostname", "cell"),
        ("doubled(config.limit)", 10),
        ("doubled(n=2)", 4),
        ("  config.limit  \n", 5),
    ],
)
def test_value(text: str, value: object) -> None:
    assert evaluate(text, SCOPE) == value


def test_operands_that_do_not_matter_are_not_evaluated() -> None:
    assert evaluate("config.limit == 5 or nothing.at.all", SCOPE) is True
    assert evaluate("config.limit == 4 and nothing.at.all", SCOPE) is False
    assert evaluate("all(1 / n for n in [0.5, 0, 1]) if False else 1", SCOPE) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the expression does not parse: invalid syntax"),
        ("1 +", "the expression does not parse: invalid syntax"),
        ("config.hostname = 1", "the expression does not parse: invalid syntax"),
        ("a b", "the expression does not parse: invalid syntax, at 'b'"),
        ("(1", "the expression does not parse: '(' was never closed, at '(1'"),
        ("import os", "the expression does not parse: invalid syntax, at 'import os'"),
        ("'\\d'", "the expression does not parse: invalid escape sequence '\\d'"),
        ("1if 2 else 3", "the expression does not parse: invalid decimal literal"),
        ("a\0b", "the expression does not parse: source code string cannot contain null bytes"),
        ("9" * 4500, "the expression is longer than 4000 characters"),
        ("a or " * 1000 + "a", "the expression is longer than 4000 characters"),
        ("(" * 300 + "1" + ")" * 300, "the expression does not parse: too many nested parentheses"),
        ("-" * 3000 + "1", "the expression "),
        ("not " * 50 + "1", "the expression is nested deeper than 40 levels"),
        ("inside._x", "'_x' begins with an underscore; such names are out of reach"),
        ("inside.x.__class__", "'__class__' begins with an underscore; such names are out of reach"),
        ("config.hostname.upper()", "config.hostname.upper cannot be called: there are functions, but no methods"),
        ("(lambda: 1)()", "lambda: 1 cannot be called: there are functions, but no methods"),
        ("all(1 for x in y)(2)", "all((1 for x in y)) cannot be called: there are functions, but no methods"),
        ("open('/etc/passwd')", "there is no function 'open'"),
        ("eval('1')", "there is no function 'eval'"),
        ("__import__('os')", "there is no function '__import__'"),
        ("_hidden()", "there is no function '_hidden'"),
        ("loads('1')", "there is no function 'loads'"),
        ("__builtins__()", "there is no function '__builtins__'"),
        ("lambda: 1", "Lambda is not part of the language"),
        ("(a := 1)", "`:=` is not part of the language"),
        ("f'{config}'", "an f-string is not part of the language"),
        ("[*config]", "`*` before a value is not part of the language"),
        ("all(*config)", "`*` before a value is not part of the language"),
        ("doubled(**config)", "`**` before an argument is not part of the language"),
        ("{**config}", "`**` in a dict is not part of the language"),
        ("config[1:2, 3]", "several slices at once are not part of the language"),  # found by atheris
        ("2 ** 9", "`**` is not part of the language"),
        ("a @ b", "`@` is not part of the language"),
        ("b'x'", "b'x' is not part of the language"),
        ("...", "Ellipsis is not part of the language"),
        ("1j", "1j is not part of the language"),
        ("a is b", "`is` compares only with None, True and False; write =="),
        ("a is 1", "`is` compares only with None, True and False; write =="),
        ("(x for x in config)", "a generator is always true; put it into brackets, or into all() or any()"),
        ("1 == (x for x in config)", "a generator is always true; put it into brackets, or into all() or any()"),
        ("[config for config in inside.x]", "'config' stands for the facts and cannot be a loop variable"),
        ("[1 for a, (b, inside) in c]", "'inside' stands for the facts and cannot be a loop variable"),
        ("[1 for a.b in c]", "a.b cannot be a loop variable"),
        ("[1 for a[0] in c]", "a[0] cannot be a loop variable"),
        ("[1 async for a in c]", "async is not part of the language"),
        ("[await a]", "Await is not part of the language"),
        ("(yield)", "Yield is not part of the language"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("insid.x", "insid is missing: the keys there are config, inside"),
        ("inside.mount.table", "inside.mount is missing: the keys there are identity, mounts, odd"),
        ("inside.odd['a-b'].x", "inside.odd['a-b'].x is missing: the keys there are net.x"),
        ("inside.mounts.table[2]", "inside.mounts.table[2] is missing: there are 2 elements"),
        ("{}.x", "{}.x is missing: nothing is there"),
        ("[x for x in [1]] and x", "x is missing: the keys there are config, inside"),
    ],
)
def test_missing(text: str, message: str) -> None:
    with pytest.raises(MissingName) as raised:
        evaluate(text, SCOPE)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config.hostname.upper", "config.hostname.upper: config.hostname is 'cell' and has no 'upper'"),
        ("inside.odd.none.x", "inside.odd.none.x: inside.odd.none is None and has no 'x'"),
        ("config.limit < 'a'", "config.limit < 'a': '<' not supported between instances of 'int' and 'str'"),
        ("config.limit + 'a'", "config.limit + 'a': unsupported operand type(s) for +: 'int' and 'str'"),
        ("1 / 0", "1 / 0: division by zero"),
        ("config[0:1]", "config[0:1]: "),
        ("config[[1]]", "config[[1]]: "),
        ("config.limit['x']", "config.limit['x']: 'int' object is not subscriptable"),
        ("len(config.limit)", "len(config.limit): object of type 'int' has no len()"),
        ("[1 for x in config.limit]", "[1 for x in config.limit]: 'int' object is not iterable"),
        ("[a for a, b in [[1]]]", "[a for a, b in [[1]]]: [1] does not fall into 2 parts"),
        ("{[]}", "{[]}: "),
        ("{[]: 1}", "{[]: 1}: "),
        ("broken({})", "broken({}): 'k'"),
        ("broken(1)", "broken(1): 'int' object is not subscriptable"),
        ("'%99d' % 1", "'%99d' % 1: a text cannot be formatted with %"),
        ("1 << 1025", "1 << 1025: a shift by more than 1024 bits"),
        ("1 << 1024", "1 << 1024: an integer of more than 1024 bits"),
        ("1 << -1", "1 << -1: negative shift count"),
        ("sorted([1, 'a'])", "sorted([1, 'a']): '<' not supported"),
    ],
)
def test_no_value(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as raised:
        evaluate(text, SCOPE)
    assert str(raised.value).startswith(message)


@pytest.fixture(scope="module")
def turns() -> float:
    """Seconds of a processor that ten million turns of an empty loop take here."""
    begin = time.process_time()
    for _ in range(10_000_000):
        pass
    return time.process_time() - begin


@pytest.mark.parametrize(
    "text",
    [
        "'a' * 10000000",
        "10000000 * [1]",
        "[0] * 1000000 + [0] * 1000000",
        "[x for x in big for y in big]",
        "all(all(True for y in big) for x in big)",
        "[big + big for x in big]",
        "[big[1:] for x in big]",
        "[sorted(big) for x in big for y in big]",
        "[text in text for x in big for y in big]",
        "[[x] * 1000 for x in big]",
        "[text + text for x in big]",
        "[big == big for x in big for y in big]",
        "[sum(big) for x in big for y in big]",
        # What is small, and holds more than anybody could compare or print.
        "[[[[0] * 900] * 900] * 900] * 900 == 1",
        "{(((0,) * 900,) * 900,) * 900}",
        "[v for v in [[w, w, w, w, w, w, w, w, w, w] for w in [big, big, big, big]] for x in big if v == v + []]",
        "set([(((big[0],) * 900,) * 900,) * 900]) == 1",
    ],
)
def test_work_is_bounded(text: str, turns: float) -> None:
    scope = {"big": list(range(4000)), "text": "x" * 4000}
    begin = time.process_time()
    with pytest.raises(EvaluationError, match="takes more than 1000000 steps"):
        evaluate(text, scope)
    explain(text, scope)
    assert time.process_time() - begin < 140 * turns  # of its own, however busy or slow the machine is


def test_integers_are_bounded() -> None:
    with pytest.raises(EvaluationError, match="an integer of more than 1024 bits"):
        evaluate(" * ".join(["big"] * 9), {"big": 2**128})
    assert evaluate("big * big", {"big": 2**128}) == 2**256


def test_facts_are_reached_by_key_only() -> None:
    class Object:
        secret = 1

    with pytest.raises(EvaluationError, match="has no 'secret'"):
        evaluate("thing.secret", {"thing": Object()})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("inside.mounts.table == config.mounts", {"inside.mounts.table", "config.mounts"}),
        ("inside['mounts']['table'][0].point", {"inside.mounts.table"}),
        ("inside.sysctl['net.ipv4.x'].y", {"inside.sysctl"}),
        ("inside.a[config.b].c", {"inside.a", "config.b"}),
        ("inside.a[config.b:2]", {"inside.a", "config.b"}),
        ("[m.point for m in inside.mounts if m.x == host.y]", {"inside.mounts", "host.y"}),
        ("all(a in b.c for b in inside.x for a in b.d)", {"inside.x"}),
        ("[x for x in x.y]", {"x.y"}),
        ("[x for x in [1]] + x", {"x"}),
        ("{k: v for k, v in start.env}", {"start.env"}),
        ("len(sorted(inside.x, reverse=host.y))", {"inside.x", "host.y"}),
        ("doubled(n=inside.x)", {"inside.x"}),
        ("inside", {"inside"}),
        ("1", set()),
    ],
)
def test_names(text: str, found: set[str]) -> None:
    assert names(text) == found


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("inside.identity.hostname == 'x'", [("inside.identity.hostname", "'cell'")]),
        (
            "inside.identity.hostname == config.hostname and config.limit == 6 and config.capabilities == 1",
            [("config.limit", "5")],
        ),
        ("config.limit == 6 or config.hostname == 'x'", [("config.limit", "5"), ("config.hostname", "'cell'")]),
        ("not config.limit", [("config.limit", "5")]),
        (
            "all('ro' in m.flags for m in inside.mounts.table)",
            [("m", "{'point': '/tmp', 'flags': ['rw']}"), ("m.flags", "['rw']")],
        ),
        ("not any(name == 'KILL' for name in config.capabilities)", [("name", "'KILL'")]),
        (
            "any(x == 'Z' for x in config.capabilities)",
            [
                ("any((x == 'Z' for x in config.capabilities))", "False"),
                ("config.capabilities", "['CHOWN', 'KILL', 'SETUID']"),
            ],
        ),
        (
            "len(config.capabilities) == 2",
            [("len(config.capabilities)", "3"), ("config.capabilities", "['CHOWN', 'KILL', 'SETUID']")],
        ),
        (
            "set(inside.identity.capabilities) == set(config.capabilities)",
            [
                ("set(inside.identity.capabilities)", "{'CHOWN', 'KILL'}"),
                ("inside.identity.capabilities", "['KILL', 'CHOWN']"),
                ("set(config.capabilities)", "{'CHOWN', 'KILL', 'SETUID'}"),
                ("config.capabilities", "['CHOWN', 'KILL', 'SETUID']"),
                ("only in set(config.capabilities)", "{'SETUID'}"),
            ],
        ),
        (
            "config.limit * 2 == 11",
            [("config.limit * 2", "10"), ("config.limit", "5")],
        ),
        (
            "config.limit in [config.hostname, 4]",
            [("config.limit", "5"), ("config.hostname", "'cell'")],
        ),
        (
            "config.limit == 6 if config.hostname else config.capabilities",
            [("config.hostname", "'cell'"), ("config.limit", "5")],
        ),
        ("inside.mounts.table[1].flags == []", [("inside.mounts.table[1].flags", "['rw']")]),
        (
            "inside.nothing.x == 1",
            [("inside.nothing.x", "(inside.nothing is missing: the keys there are identity, mounts, odd)")],
        ),
        ("all([])  and all(x / 0 for x in [1])", [("all((x / 0 for x in [1]))", "(x / 0: division by zero)")]),
        ("1 == 2", []),
    ],
)
def test_explanation(text: str, parts: list[tuple[str, str]]) -> None:
    assert explain(text, SCOPE) == parts


def test_long_values_are_cut_and_say_how_long_they_are() -> None:
    assert shown("x" * 1000) == "'" + "x" * 199 + "… (1000 characters)"
    assert shown(list(range(1000))).endswith("… (1000 elements)")
    assert len(shown({str(key): "y" * 1000 for key in range(50)})) < 250
    assert shown([1, "a"]) == "[1, 'a']"
    assert shown({"b", "a"}) == "{'a', 'b'}"
    assert shown(set()) == "set()"


def test_hostile_values_are_escaped() -> None:
    scope = {"inside": {"name": "\x1b[2J\u202e\ud800", "\x1b]": 1}}
    ((_, value),) = explain("inside.name == 'x'", scope)
    assert value == "'\\x1b[2J\\u202e\\ud800'"
    with pytest.raises(MissingName) as raised:
        evaluate("inside.nam", scope)
    assert str(raised.value) == "inside.nam is missing: the keys there are \\x1b], name"


def test_functions_are_the_ones_of_the_reference() -> None:
    assert set(FUNCTIONS) == {"all", "any", "len", "set", "sorted", "min", "max", "sum", "abs"}


def test_a_sum_begins_with_no_list() -> None:
    """It would copy what it has so far for each list that comes to it."""
    with pytest.raises(EvaluationError, match=r"^sum\(\[\[1\]\] \* 9, \[\]\): _sum\(\) takes 1 positional argument"):
        evaluate("sum([[1]] * 9, [])", {})


@pytest.mark.parametrize("text", ["0x{}", "0x{}()", "-0x{}", "{{1: 2}}[0x{}]", "[1 for a[0x{}] in b]"])
def test_no_integer_is_longer_than_it_can_be_shown(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"^an integer of more than 1024 bits$"):
        parse(text.format("f" * 3900))


def test_what_is_not_shown_is_not_written_out() -> None:
    value: list[object] = [0]
    for _ in range(12):
        value = [value] * 900
    assert shown(value) == f"{'[' * 13}{'0], [' * 40}"[:200] + "… (900 elements)"
    assert shown({"a": (1,), "b": [(), {}, set()]}) == "{'a': (1,), 'b': [(), {}, set()]}"
