"""YAML text to values, each with its line and column; every error is `path:line:column: sentence`.

YAML 1.1 guesses a type from the look of a scalar: `no` becomes False, `0755` 493 and `22:22` 1342. Here the
text of a scalar is kept and whoever reads it decides: a field that is a string gets the text as it stands
(`typed`), and only where no field says what is meant does the YAML 1.2 core schema decide (`core`).

What makes a file mean something else than it shows is an error: duplicate keys, anchors, aliases, tags, and
all that stands after a second `---`.
"""

import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import yaml
from msgspec import Struct, inspect

from harness.errors import ScenarioError
from harness.files import without_waiting
from harness.hints import did_you_mean
from harness.observation import escaped

MAX_BYTES = 1 << 20
MAX_DEPTH = 32

# Without libyaml (a PyYAML built from source) the pure loader gives the same events, some ten times slower.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The characters that YAML does not allow (YAML 1.2, section 5.1); the loaders differ in how they say so.
FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

T = TypeVar("T", bound=Struct)
Where: TypeAlias = tuple[str | int, ...]


class Position(NamedTuple):
    """A place in a file; line and column count from 1."""

    line: int
    column: int


class Plain(str):
    """The text of a scalar written without quotes; its type is still open."""


# dict[str, Tree] | list[Tree] | str; a string that was written without quotes is a Plain.
Tree: TypeAlias = Any


class Document(NamedTuple):
    """What a file says, and by paths of keys and indices the places of its values and of their keys."""

    path: str
    tree: Tree
    positions: dict[Where, Position]
    keys: dict[Where, Position]

    def line(self, where: Where) -> int:
        """The line on which the key at `where` stands, or the value if it has no key."""
        return self.keys.get(where, self.positions[where]).line

    def problem(self, where: Where, sentence: str) -> str:
        """`path:line:column: sentence` for the value at `where`."""
        return _problem(self.path, self.positions[where], sentence)

    def key_problem(self, where: Where, sentence: str) -> str:
        """`path:line:column: sentence` for the key at `where`."""
        return _problem(self.path, self.keys[where], sentence)


def read(path: Path | str, told: str = "") -> Document:
    """The YAML document in a file, which may be told by another name than its path.

    Raises ScenarioError if the file cannot be read, is not UTF-8 or is not the YAML that is allowed here.
    """
    try:
        with open(path, "rb", opener=without_waiting) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ScenarioError(f"{path}:1:1: cannot read the file: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ScenarioError(f"{path}:1:1: the file is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ScenarioError(f"{path}:{line}:{column}: not UTF-8: byte 0x{data[error.start]:02x}") from None
    return parse(text, told or str(path))


def parse(text: str, path: str) -> Document:
    """The YAML document in a text; raises ScenarioError, its message beginning with `path:line:column:`."""
    if forbidden := FORBIDDEN.search(text):
        before = text[: forbidden.start()]
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise ScenarioError(_problem(path, position, f"character {forbidden[0]!a} is not allowed in YAML"))
    document = Document(path, None, {}, {})
    try:
        return document._replace(tree=_Composer(document, yaml.parse(text, Loader=LOADER)).document())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        context = f" ({error.context})" if error.context else ""
        raise ScenarioError(_problem(path, position, f"not YAML: {error.problem}{context}")) from None
    except (ValueError, OverflowError) as error:  # the pure loader, of an escape that is no character
        raise ScenarioError(f"{path}:1:1: not YAML: {error}") from None


class _Composer:
    """Builds the tree from parser events: yaml.compose() would hide anchors, aliases and tags."""

    def __init__(self, document: Document, events: Iterator[Any]) -> None:
        self.places = document
        self.events = events

    def document(self) -> Tree:
        next(self.events)  # the start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            raise ScenarioError(f"{self.places.path}:1:1: the file is empty")
        tree = self.value(next(self.events), ())
        next(self.events)  # the end of the document
        another = next(self.events)
        if not isinstance(another, yaml.StreamEndEvent):
            raise self.error(another, "a second document begins here; a file holds one")
        return tree

    def value(self, event: Any, where: Where) -> Tree:
        self.refuse_indirection(event)
        if len(where) > MAX_DEPTH:
            raise self.error(event, f"nested deeper than {MAX_DEPTH} levels")
        self.places.positions[where] = _position(event)
        if isinstance(event, yaml.ScalarEvent):
            return Plain(event.value) if event.implicit[0] else str(event.value)
        return self.list(where) if isinstance(event, yaml.SequenceStartEvent) else self.mapping(where)

    def list(self, where: Where) -> list[Tree]:
        values: list[Tree] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            values.append(self.value(event, (*where, len(values))))
        return values

    def mapping(self, where: Where) -> dict[str, Tree]:
        values: dict[str, Tree] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self.refuse_indirection(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.error(event, "a key is a list or a mapping; it must be a text")
            key = str(event.value)
            path = (*where, key)
            if key in values:
                raise self.error(event, f"duplicate key {key!r}, first on line {self.places.line(path)}")
            self.places.keys[path] = _position(event)
            values[key] = self.value(next(self.events), path)
        return values

    def refuse_indirection(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise self.error(event, f"alias *{event.anchor} is not allowed; write the value out")
        if event.anchor is not None:
            raise self.error(event, f"anchor &{event.anchor} is not allowed; write the value out")
        if event.tag is not None:
            raise self.error(event, f"tag {event.tag} is not allowed; the type of the field decides")

    def error(self, event: Any, sentence: str) -> ScenarioError:
        return ScenarioError(_problem(self.places.path, _position(event), sentence))


def _position(event: Any) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


def _problem(path: str, position: Position, sentence: str) -> str:
    return f"{path}:{position.line}:{position.column}: {escaped(sentence)}"


def core(tree: Tree) -> Any:
    """What a scalar is in the core schema of YAML 1.2 (10.3.2): null, true, 12, 0o17, 0xf, 1.5 or a text.

    Raises ValueError, saying what the value "is", for a number with leading zeros (octal in YAML 1.1,
    decimal in 1.2: the author must say) and for numbers that JSON lacks.
    """
    if not isinstance(tree, Plain):
        return tree
    if tree in ("", "~", "null", "Null", "NULL"):
        return None
    if tree in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return tree.lower() == "true"
    if LEADING_ZERO.fullmatch(tree):
        raise ValueError(f"is {tree}: write 0o… if that is octal, drop the zero if decimal, quote it if text")
    if INTEGER.fullmatch(tree):
        return _integer(tree)
    if NOT_FINITE.fullmatch(tree) or (FLOAT.fullmatch(tree) and math.isinf(float(tree))):
        raise ValueError(f"is {tree}, a number that JSON lacks; quote it if a text is meant")
    return float(tree) if FLOAT.fullmatch(tree) else str(tree)


def _integer(text: str) -> int:
    if len(text) > 40:
        raise ValueError(f"is too large a number: {text[:20]}…")
    return int(text, 0)


def typed(document: Document, kind: type[T]) -> T:
    """The document as a struct of the given class; the type of each field says how its text is read.

    Raises ScenarioError with one line for each mistake: unknown and missing keys, wrong types, empty lists.
    """
    reader = _Reader(document)
    value: T = reader.value(document.tree, _type_info(kind), ())
    if reader.problems:
        raise ScenarioError(*reader.problems)
    return value


_type_info = cache(inspect.type_info)  # milliseconds for a large class, and it is asked once for each file


class _Reader:
    """Reads a tree by the types of a struct's fields; goes on after a mistake, so that one run shows all."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[str] = []

    def value(self, tree: Tree, kind: inspect.Type, where: Where) -> Any:
        choices = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
        for choice in choices:
            match choice, tree:
                case inspect.AnyType(), _:
                    return self.untyped(tree, where)
                case inspect.StructType(), dict():
                    return self.struct(tree, choice, where)
                case inspect.DictType(), dict():
                    return self.dictionary(tree, choice, where)
                case inspect.ListType(), list():
                    return self.list(tree, choice, where)
        if isinstance(tree, str) and not (isinstance(tree, Plain) and tree == ""):
            for choice in choices:
                if isinstance(choice, tuple(SCALARS)):
                    return self.scalar(str(tree), choice, where)
        expected = dict.fromkeys(NAMED[type(choice)] for choice in choices if type(choice) in NAMED)
        return self.wrong(where, f"expects {' or '.join(expected)}, not {_shown(tree)}")

    def untyped(self, tree: Tree, where: Where) -> Any:
        if isinstance(tree, dict):
            return {key: self.untyped(item, (*where, key)) for key, item in tree.items()}
        if isinstance(tree, list):
            return [self.untyped(item, (*where, index)) for index, item in enumerate(tree)]
        try:
            return core(tree)
        except ValueError as error:
            return self.wrong(where, str(error))

    def struct(self, tree: dict[str, Tree], kind: inspect.StructType, where: Where) -> Any:
        fields = {field.encode_name: field for field in kind.fields}
        values = {}
        for key, item in tree.items():
            if field := fields.get(key):
                values[field.name] = self.value(item, field.type, (*where, key))
            else:
                sentence = f"unknown key {key!r}{did_you_mean(key, fields)}"
                self.problems.append(self.document.key_problem((*where, key), sentence))
        for name, field in fields.items():
            if field.required and name not in tree:
                self.problems.append(self.document.problem(where, f"{_label(where)} lacks the key {name!r}"))
        return None if self.problems else kind.cls(**values)

    def dictionary(self, tree: dict[str, Tree], kind: inspect.DictType, where: Where) -> dict[str, Any]:
        pattern = kind.key_type.pattern if isinstance(kind.key_type, inspect.StrType) else None
        for key in tree:
            if pattern and not re.fullmatch(pattern, key):  # fullmatch: a $ would let a newline stand behind it
                sentence = f"the name {key!r} does not match {pattern}"
                self.problems.append(self.document.key_problem((*where, key), sentence))
        if len(tree) < (kind.min_length or 0):
            self.wrong(where, "must not be empty")
        return {key: self.value(item, kind.value_type, (*where, key)) for key, item in tree.items()}

    def list(self, tree: list[Tree], kind: inspect.ListType, where: Where) -> list[Any]:
        if len(tree) < (kind.min_length or 0):
            self.wrong(where, "must not be empty")
        return [self.value(item, kind.item_type, (*where, index)) for index, item in enumerate(tree)]

    def scalar(self, text: str, kind: inspect.Type, where: Where) -> Any:
        try:
            return SCALARS[type(kind)](text, kind)
        except ValueError as error:
            return self.wrong(where, str(error))

    def wrong(self, where: Where, sentence: str) -> None:
        self.problems.append(self.document.problem(where, f"{_label(where)} {sentence}"))


def _text(text: str, kind: Any) -> str:
    if kind.pattern and not re.fullmatch(kind.pattern, text):
        raise ValueError(f"does not match {kind.pattern}: {text!r}")
    if kind.min_length and not text.strip():
        raise ValueError("must not be empty")
    return text


def _truth(text: str, kind: Any) -> bool:
    if text.lower() not in TRUTHS:
        raise ValueError(f"expects true or false, not {text!r}")
    return TRUTHS[text.lower()]


def _whole(text: str, kind: Any) -> int:
    if not INTEGER.fullmatch(text):
        raise ValueError(f"expects a whole number, not {text!r}")
    return _bounded(_integer(text), kind)


def _decimal(text: str, kind: Any) -> float:
    if not FLOAT.fullmatch(text) or math.isinf(float(text)):
        raise ValueError(f"expects a number, not {text!r}")
    return _bounded(float(text), kind)


N = TypeVar("N", int, float)


def _bounded(number: N, kind: Any) -> N:
    if kind.ge is not None and number < kind.ge:
        raise ValueError(f"must be at least {kind.ge}, not {number}")
    if kind.gt is not None and number <= kind.gt:
        raise ValueError(f"must be above {kind.gt}, not {number}")
    if kind.le is not None and number > kind.le:
        raise ValueError(f"must be at most {kind.le}, not {number}")
    return number


def _choice(text: str, kind: Any) -> str:
    if text not in kind.values:
        raise ValueError(f"must be one of {', '.join(kind.values)}, not {text!r}")
    return text


def _own(text: str, kind: Any) -> Any:
    """A class that reads itself: its `parse(text)` raises ValueError with the rest of a sentence."""
    return kind.cls.parse(text)


SCALARS: dict[type, Callable[[str, Any], Any]] = {
    inspect.StrType: _text,
    inspect.BoolType: _truth,
    inspect.IntType: _whole,
    inspect.FloatType: _decimal,
    inspect.LiteralType: _choice,
    inspect.CustomType: _own,
}

# What a field expects, in words. None is not among them: it stands for a key that is left out.
NAMED: dict[type, str] = {
    inspect.StrType: "a text",
    inspect.BoolType: "true or false",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.LiteralType: "a word",
    inspect.ListType: "a list",
    inspect.DictType: "a mapping",
    inspect.StructType: "a mapping",
    inspect.CustomType: "a text",
}


def _label(where: Where) -> str:
    """How a path is spoken of: its last key, and the indices after it."""
    label = ""
    for step in reversed(where):
        if isinstance(step, str):
            return f"{step!r}{label}"
        label = f"[{step}]{label}"
    return "the file"


def _shown(tree: Tree) -> str:
    if isinstance(tree, dict):
        return "a mapping"
    if isinstance(tree, list):
        return "a list"
    return f"the text {str(tree)!r}" if tree else "nothing"
