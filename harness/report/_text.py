"""Tables and coloured lines of text, for whoever prints to a terminal: doctor, the end of a run, `isoproof report`.

Colours only repeat what words and signs say. They are used by the rules of pytest, so that the same environment gives
the same picture whoever prints.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TextIO

from harness.results import printable

WIDTH = 80
LABEL = 30  # columns at most for what rows are called, where that would crowd out the columns of a table
GAP = 2
NARROWEST_LABEL = 12
LONGEST_NAME = 10  # of a runtime or its options, above a column

COMMAND = re.compile(r"^(\s*:):", re.MULTILINE)  # of GitHub's runner: `::error::`, behind spaces or not
SGR = {"red": 31, "green": 32, "yellow": 33}  # console_codes(4)


class Piece(NamedTuple):
    """Some text and the colour that it may be shown in ("" for none)."""

    text: str
    colour: str = ""


Line = list[Piece]
Cells = tuple[str, list[Piece]]  # what a row of a table is called, and a piece for each column


class Look(NamedTuple):
    """How something is told: `verbosity` is as with pytest, 1 for more than the usual."""

    width: int = WIDTH
    verbosity: int = 0
    coloured: bool = False


PLAIN = Look()


def look(stream: TextIO, colour: str = "auto", verbosity: int = 0) -> Look:
    """How to write to a stream: in lines as wide as the terminal, if that can be (pytest believes no less than 40)."""
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    return Look(width if width >= WIDTH // 2 else WIDTH, verbosity, _wants_colours(stream, colour))


def _wants_colours(stream: TextIO, choice: str) -> bool:
    """Whether to write colours, by pytest's rules; `choice` is what --color says."""
    if choice != "auto":
        return choice == "yes"
    if (wish := os.environ.get("PY_COLORS")) in ("0", "1"):
        return wish == "1"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def written(lines: Iterable[Line], coloured: bool = False) -> str:
    """The lines as text, each with its end, in which nothing acts on a terminal but our own colours."""
    return "".join(f"{''.join(_shown(piece, coloured) for piece in line).rstrip()}\n" for line in lines)


def plain(text: str) -> str:
    """A text in one line, in which nothing acts on a terminal, nor on a CI service that reads it for commands."""
    return without_commands(printable(text).replace("\n", "\\n"))


def without_commands(text: str) -> str:
    """A printable text without the beginnings of commands to GitHub's runner, which become their escapes."""
    return COMMAND.sub(r"\1\\x3a", text)


def _shown(piece: Piece, coloured: bool) -> str:
    safe = plain(piece.text)
    if not (coloured and piece.colour and safe.strip()):
        return safe
    return f"\x1b[{SGR[piece.colour]}m{safe}\x1b[0m"


def table(names: list[str], rows: Iterable[Cells], width: int) -> Iterator[Line]:
    """The rows with a column for each name, of which what stands behind a colon has a line of its own, and its kernel.

    Where not all columns fit in the width, the rows are repeated for the next ones. A blank line is behind each part.
    """
    headings = [[_ending(part) for part in parts(name)] for name in names]
    above: list[Cells] = [("", list(map(Piece, line))) for line in zip(*headings, strict=True) if any(line)]
    rows = [*above, *rows]
    cell = max((len(piece.text) for _, cells in rows for piece in cells), default=0) + GAP
    longest = max((len(name) for name, _ in rows), default=0) + GAP
    space = width + GAP  # for there is no gap behind the last column
    fit = max((space - min(longest, LABEL)) // cell, 1)
    label = min(longest, max(space - cell * min(fit, len(names)), NARROWEST_LABEL))
    for first in range(0, len(names), fit):
        for name, cells in rows:
            *padded, last = cells[first : first + fit]
            text = shortened(name, label - GAP).ljust(label)
            yield [Piece(text), *(Piece(piece.text.ljust(cell), piece.colour) for piece in padded), last]
        yield []


def parts(name: str) -> tuple[str, str, str]:
    """Runtime, options and kernel of a column: `docker:as-shipped on Linux 6.1`."""
    asked, _, kernel = name.partition(" on ")
    runtime, _, options = asked.partition(":")
    return runtime, options, kernel


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def enumerated(names: list[str], width: int) -> str:
    """All of the names if they fit in the width, or as many as do, one at least, and how many more there are."""
    text = ", ".join(names)
    if len(text) <= width or len(names) < 2:
        return shortened(text, width)
    text, left = names[0], len(names) - 1
    for name in names[1:]:
        if len(f"{text}, {name} and {left - 1} more") > width:
            break
        text, left = f"{text}, {name}", left - 1
    return shortened(f"{text} and {left} more", width)


def _ending(text: str) -> str:
    """A name above a column, or as much of its end as fits there: that of a path tells more than its beginning."""
    return text if len(text) <= LONGEST_NAME else f"…{text[1 - LONGEST_NAME :]}"
