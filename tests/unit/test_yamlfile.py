"""YAML files: what each scalar means, and what every mistake is told as."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from msgspec import Meta, Struct

from harness import yamlfile
from harness.errors import ScenarioError
from harness.hints import did_you_mean
from harness.yamlfile import Position, core, parse, read, typed


class Inner(Struct, frozen=True, kw_only=True):
    mode: str
    count: Annotated[int, Meta(ge=1, le=10)] = 1


class Outer(Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1)] = "x"
    flag: bool = False
    share: Annotated[float, Meta(gt=0)] | None = None
    colour: Literal["red", "blue"] = "red"
    items: Annotated[list[str], Meta(min_length=1)] = []
    one_or_many: str | list[str] = "a"
    inner: Inner | None = None
    named: dict[Annotated[str, Meta(pattern="^[a-z]+$")], Inner] = {}
    anything: Any = None


def outer(text: str) -> Outer:
    return typed(parse(text, "a.yaml"), Outer)


def mistakes(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as raised:
        outer(text)
    return str(raised.value).splitlines()


def test_tree_and_positions() -> None:
    document = parse("a: 1\nb:\n  - x\n  - {c: 'y'}\n", "a.yaml")
    assert document.tree == {"a": "1", "b": ["x", {"c": "y"}]}
    assert document.positions[("a",)] == Position(1, 4)
    assert document.keys[("b",)] == Position(2, 1)
    assert document.positions[("b", 0)] == Position(3, 5)
    assert document.positions[("b", 1, "c")] == Position(4, 9)
    assert document.line(("b",)) == 2
    assert document.line(("b", 1)) == 4


@pytest.mark.parametrize("text", ["no", "0755", "22:22", "1_000", "1e3", "2026-01-01", "null", "~", "true", "=", "<<"])
def test_text_field_keeps_the_text(text: str) -> None:
    assert outer(f"name: {text}").name == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", True), ("True", True), ("on", True), ("no", False), ("false", False), ("OFF", False)],
)
def test_truth_field(text: str, value: bool) -> None:
    assert outer(f"flag: {text}").flag is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("FALSE", False),
        ("no", "no"),
        ("on", "on"),
        ("12", 12),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("22:22", "22:22"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("0", 0),
        ("'12'", "12"),
        ('"true"', "true"),
        ("mode=0755", "mode=0755"),
    ],
)
def test_core_schema_decides_where_no_field_does(text: str, value: object) -> None:
    anything = outer(f"anything: {text}").anything
    assert anything == value
    assert type(anything) is type(value)


def test_untyped_values_are_plain_and_deep() -> None:
    anything = outer("anything: {a: [1, no, {b: null}], 7: x}").anything
    assert anything == {"a": [1, "no", {"b": None}], "7": "x"}
    assert type(anything["a"][1]) is str


def test_choices_of_types() -> None:
    assert outer("one_or_many: x").one_or_many == "x"
    assert outer("one_or_many: [x, 1]").one_or_many == ["x", "1"]
    assert outer("share: 0.2").share == 0.2
    assert outer("inner: {mode: 0755, count: 3}").inner == Inner(mode="0755", count=3)
    assert outer("named: {a: {mode: x}}").named == {"a": Inner(mode="x")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nam: x", "a.yaml:1:1: unknown key 'nam'; did you mean 'name'?"),
        ("name: x\n\nzzz: 1", "a.yaml:3:1: unknown key 'zzz'; there is anything, colour, flag, inner, items, "),
        ("name: [x]", "a.yaml:1:7: 'name' expects a text, not a list"),
        ("name: {}", "a.yaml:1:7: 'name' expects a text, not a mapping"),
        ("name:", "a.yaml:1:6: 'name' expects a text, not nothing"),
        ("name: ''", "a.yaml:1:7: 'name' must not be empty"),
        ("flag: maybe", "a.yaml:1:7: 'flag' expects true or false, not 'maybe'"),
        ("flag: 1", "a.yaml:1:7: 'flag' expects true or false, not '1'"),
        ("share: lots", "a.yaml:1:8: 'share' expects a number, not 'lots'"),
        ("share: .inf", "a.yaml:1:8: 'share' expects a number, not '.inf'"),
        ("share: 1e999", "a.yaml:1:8: 'share' expects a number, not '1e999'"),
        ("share: 0", "a.yaml:1:8: 'share' must be above 0, not 0.0"),
        ("share: [1]", "a.yaml:1:8: 'share' expects a number, not a list"),
        ("colour: green", "a.yaml:1:9: 'colour' must be one of blue, red, not 'green'"),
        ("items: []", "a.yaml:1:8: 'items' must not be empty"),
        ("items: x", "a.yaml:1:8: 'items' expects a list, not the text 'x'"),
        ("items: [a, [b]]", "a.yaml:1:12: 'items'[1] expects a text, not a list"),
        ("one_or_many: {}", "a.yaml:1:14: 'one_or_many' expects a text or a list, not a mapping"),
        ("inner: {count: 1}", "a.yaml:1:8: 'inner' lacks the key 'mode'"),
        ("inner: {mode: x, count: 0755}", "a.yaml:1:25: 'count' expects a whole number, not '0755'"),
        ("inner: {mode: x, count: 0}", "a.yaml:1:25: 'count' must be at least 1, not 0"),
        ("inner: {mode: x, count: 11}", "a.yaml:1:25: 'count' must be at most 10, not 11"),
        (f"inner: {{mode: x, count: {'9' * 50}}}", "a.yaml:1:25: 'count' is too large a number: 9999"),
        ("inner: x", "a.yaml:1:8: 'inner' expects a mapping, not the text 'x'"),
        ("named: {A1: {mode: x}}", "a.yaml:1:9: the name 'A1' does not match ^[a-z]+$"),
        ("anything: [0755]", "a.yaml:1:12: 'anything'[0] is 0755: write 0o… if that is octal, drop the zero"),
        ("anything: .nan", "a.yaml:1:11: 'anything' is .nan, a number that JSON lacks; quote it if a text"),
        ("anything: -.inf", "a.yaml:1:11: 'anything' is -.inf, a number that JSON lacks"),
        ("anything: 1e999", "a.yaml:1:11: 'anything' is 1e999, a number that JSON lacks"),
        ("[a]", "a.yaml:1:1: the file expects a mapping, not a list"),
        ("x", "a.yaml:1:1: the file expects a mapping, not the text 'x'"),
        ("a: 1\na: 2", "a.yaml:2:1: duplicate key 'a', first on line 1"),
        ("a: {b: 1, 'b': 2}", "a.yaml:1:11: duplicate key 'b', first on line 1"),
        ("a: &x 1", "a.yaml:1:4: anchor &x is not allowed; write the value out"),
        ("&x a: 1", "a.yaml:1:1: anchor &x is not allowed"),
        ("a: &x 1\nb: *x", "a.yaml:1:4: anchor &x is not allowed"),
        ("b: *x", "a.yaml:1:4: alias *x is not allowed; write the value out"),
        ("*x : 1", "a.yaml:1:1: alias *x is not allowed"),
        ("<<: *x", "a.yaml:1:5: alias *x is not allowed"),
        ("a: !!str 1", "a.yaml:1:4: tag tag:yaml.org,2002:str is not allowed; the type of the field decides"),
        ("a: !!python/object/apply:os.system [x]", "a.yaml:1:4: tag tag:yaml.org,2002:python/object/apply:os.sys"),
        ("a: ! x", "a.yaml:1:4: tag ! is not allowed"),
        ("!x a: 1", "a.yaml:1:1: tag !x is not allowed"),
        ("[a]: 1", "a.yaml:1:1: a key is a list or a mapping; it must be a text"),
        ("? {a: 1}\n: 1", "a.yaml:1:3: a key is a list or a mapping; it must be a text"),
        ("a: 1\n---\nb: 1", "a.yaml:2:1: a second document begins here; a file holds one"),
        ("", "a.yaml:1:1: the file is empty"),
        ("# only a comment\n", "a.yaml:1:1: the file is empty"),
        ("a: [1", "a.yaml:2:1: not YAML: did not find expected ',' or ']' (while parsing a flow sequence)"),
        ("a: 1\n b: 2", "a.yaml:2:3: not YAML: mapping values are not allowed in this context"),
        ("a:\n\tb: 1", "a.yaml:2:1: not YAML: found character that cannot start any token"),
        ("a: 'x", "a.yaml:1:6: not YAML: found unexpected end of stream (while scanning a quoted scalar)"),
        ("a: x\x00y", "a.yaml:1:5: character '\\x00' is not allowed in YAML"),
        ("a: 1\nb: \ud800", "a.yaml:2:4: character '\\ud800' is not allowed in YAML"),
        ("[" * 100, "a.yaml:1:34: nested deeper than 32 levels"),
        ("a: " + "{a: " * 100, "a.yaml:1:132: nested deeper than 32 levels"),
    ],
)
def test_mistake(text: str, message: str) -> None:
    (line,) = mistakes(text)
    assert line.startswith(message)


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{a: " * 100_000])
def test_a_depth_that_is_an_attack_is_one_line_too(text: str) -> None:
    """Loaders differ in who stops first: libyaml has had a limit of its own since 0.2.6."""
    (line,) = mistakes(text)
    assert re.search("nested deeper than 32 levels|exceeded maximum nesting depth", line)


def test_all_mistakes_are_told_at_once() -> None:
    assert mistakes("nam: x\nflag: maybe\ninner: {count: x}\n") == [
        "a.yaml:1:1: unknown key 'nam'; did you mean 'name'?",
        "a.yaml:2:7: 'flag' expects true or false, not 'maybe'",
        "a.yaml:3:16: 'count' expects a whole number, not 'x'",
        "a.yaml:3:8: 'inner' lacks the key 'mode'",
    ]


def test_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, 'x', {b: no}]\nc: |\n  one\n  two\n"
    fast = parse(text, "a.yaml")
    monkeypatch.setattr(yamlfile, "LOADER", yaml.SafeLoader)
    assert parse(text, "a.yaml") == fast
    with pytest.raises(ScenarioError, match=r"^a\.yaml:2:1: duplicate key 'a', first on line 1$"):
        parse("a: 1\na: 2", "a.yaml")
    with pytest.raises(ScenarioError, match=r"^a\.yaml:1:\d+: not YAML: "):
        parse('a: "\\UFFFFFFFF"', "a.yaml")


def test_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\n")
    assert read(file).tree == {"a": "é"}
    assert read(file).path == str(file)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: \xff\n", ":2:4: not UTF-8: byte 0xff"),
        (b"#" * (1 << 20) + b"\n", ":1:1: the file is larger than 1 MiB"),
    ],
)
def test_read_mistake(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(data)
    with pytest.raises(ScenarioError) as raised:
        read(file)
    assert str(raised.value) == f"{file}{message}"


def test_read_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r":1:1: cannot read the file: No such file or directory$"):
        read(tmp_path / "none.yaml")
    with pytest.raises(ScenarioError, match=r":1:1: cannot read the file: Is a directory$"):
        read(tmp_path)


def test_core_leaves_quoted_text_alone() -> None:
    assert core("12") == "12"  # an ordinary str was quoted, a Plain was not


def test_did_you_mean() -> None:
    assert did_you_mean("prob", ["probe", "args"]) == "; did you mean 'probe'?"
    assert did_you_mean("xyz", ["probe", "args"]) == "; there is args, probe"
    assert did_you_mean("xyz", []) == ""
