"""Values of expressions: how they are shown, and how much they hold.

A part may stand in a value a thousand times, and that in another again: a few steps make what nobody could compare or
print to its end.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

MAX_SHOWN = 200  # characters of a value or a source in a message
HOLDERS = (list, tuple, set, dict)


def size(value: Any) -> int:
    """How many elements a value has itself; characters, of a text."""
    return len(value) if isinstance(value, (str, *HOLDERS)) else 0


class Weights:
    """Weighs values, none of which changes meanwhile, and remembers what each of their parts weighs."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Any, int]] = {}

    def of(self, value: Any) -> int:
        """How many elements a value has, with those of its elements, each as often as it stands there."""
        if not isinstance(value, HOLDERS):
            return size(value)
        if id(value) not in self.known:
            parts = chain(value, value.values()) if isinstance(value, dict) else value
            weight = len(value) + sum(self.of(part) for part in parts if isinstance(part, HOLDERS))
            self.known[id(value)] = (value, weight)  # with the value, so that no other comes to bear its id
        return self.known[id(value)][1]


def shown(value: Any) -> str:
    """A value as messages show it: in Python's notation, escaped; a long one cut, with its size."""
    text = ""
    for piece in _notation(value):
        text += piece
        if len(text) > MAX_SHOWN:
            unit = "characters" if isinstance(value, str) else "elements"
            return f"{text[:MAX_SHOWN]}… ({size(value)} {unit})"
    return text


def _notation(value: Any) -> Iterator[str]:
    """repr(), piece by piece: nobody shall wait for what is cut off in the end. A set is in order."""
    match value:
        case dict():
            yield "{"
            for index, (key, content) in enumerate(value.items()):
                yield ", " if index else ""
                yield from _notation(key)
                yield ": "
                yield from _notation(content)
            yield "}"
        case list() | tuple():
            yield "[" if isinstance(value, list) else "("
            for index, element in enumerate(value):
                yield ", " if index else ""
                yield from _notation(element)
            yield "]" if isinstance(value, list) else ",)" if len(value) == 1 else ")"
        case set():
            yield f"{{{', '.join(sorted(map(repr, value)))}}}" if value else "set()"
        case _:
            yield repr(value)
