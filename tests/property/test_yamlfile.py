"""Whatever the text: the loader gives the values that PyYAML wrote, or one line with a position."""

import contextlib
import json
import math
import re
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct

from harness import yamlfile
from harness.errors import ScenarioError
from harness.yamlfile import core, parse, typed

LINE = re.compile(r"a\.yaml:[1-9][0-9]*:[1-9][0-9]*: \S.*")

# What YAML allows, and a text file keeps as it is: other line ends are turned into \n by every reader.
TEXT = st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S", "Zs"], include_characters="\n\t"))
TREES = st.recursive(
    TEXT,
    lambda trees: st.lists(trees, max_size=4) | st.dictionaries(TEXT, trees, max_size=4),
    max_leaves=12,
)
PIECES = """
a b : - [ ] { } , ' " &x *x !!str | > # --- ... ? %YAML no 0755 \\x << é @ ` ~
"""
YAML_PIECES = st.lists(
    st.sampled_from([*PIECES.split(), " ", "  ", "\n", "\t", "- ", ": ", "\x00", "\ufeff", "\u2028"]), max_size=24
).map("".join)


class Typed(Struct):
    """One field of each kind."""

    text: str = ""
    flag: bool = False
    count: int = 0
    share: float = 0.0
    many: list[str] = []
    named: dict[str, int] = {}
    anything: Any = None


@given(TREES)
def test_strings_come_back(tree: object) -> None:
    written = yaml.safe_dump(tree, allow_unicode=True)
    assert parse(written, "a.yaml").tree == tree


@given(TREES)
def test_every_value_has_a_position(tree: object) -> None:
    document = parse(yaml.safe_dump(tree, allow_unicode=True), "a.yaml")

    def walk(value: object, where: tuple[str | int, ...]) -> None:
        assert where in document.positions
        if isinstance(value, dict):
            for key, child in value.items():
                assert (*where, key) in document.keys
                walk(child, (*where, key))
        elif isinstance(value, list):
            for index, child in enumerate(value):
                walk(child, (*where, index))

    walk(document.tree, ())


def mistakes(text: str, kind: type[Struct] | None = None) -> list[str]:
    try:
        document = parse(text, "a.yaml")
        if kind:
            typed(document, kind)
    except ScenarioError as error:
        return str(error).split("\n")
    return []


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@given(text=st.text() | YAML_PIECES)
@example(text='"\\ud800"')
@example(text='"\\UFFFFFFFF"')
@example(text="%YAML 99999999999999999999.1\n--- a")
def test_any_text_gives_a_document_or_one_line(loader: str, text: str) -> None:
    before = yamlfile.LOADER
    yamlfile.LOADER = getattr(yaml, loader)
    try:
        lines = mistakes(text)
    finally:
        yamlfile.LOADER = before
    assert len(lines) <= 1
    assert all(LINE.fullmatch(line) for line in lines)


@given(st.text() | YAML_PIECES, st.sampled_from(Typed.__struct_fields__))
def test_any_text_in_any_field_gives_its_type_or_a_line_for_each_mistake(text: str, field: str) -> None:
    lines = mistakes(f"{field}: {text}", Typed)
    assert all(LINE.fullmatch(line) for line in lines)
    if not lines:
        value = getattr(typed(parse(f"{field}: {text}", "a.yaml"), Typed), field)
        kinds = {"text": str, "flag": bool, "count": int, "share": float, "many": list, "named": dict}
        assert isinstance(value, kinds.get(field, object))


@given(st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False))
def test_core_reads_what_json_writes(value: object) -> None:
    read = core(yamlfile.Plain(json.dumps(value)))
    assert read == value
    assert type(read) is type(value)


@given(st.text(st.sampled_from("0123456789+-.eEoxabcfinINF_~trues "), max_size=12))
def test_core_reads_only_values_that_json_has(text: str) -> None:
    with contextlib.suppress(ValueError):
        value = core(yamlfile.Plain(text))
        assert value is None or type(value) in (bool, int, float, str)
        assert not isinstance(value, float) or math.isfinite(value)
