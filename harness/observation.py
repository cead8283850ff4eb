"""The probes' wire format, read from hostile bytes: what was not said once, whole and in order was not said.

One JSON object per line (probes/__main__.py writes them):

    {"nonce": …, "name": …, "probe": …, "facts": {…}}    what a probe observed; the first line is init's
    {"nonce": …, "name": …, "probe": …, "error": "…"}    why there is no observation
    {"nonce": …, "name": …, "probe": …, "ready": {…}}    the probe waits until the host has acted

The bytes come out of a container that may not isolate, or that is under attack. A fault that belongs to one
observation spoils that one: it is missing, doubled, without its handshake. A line that belongs to none
(garbage, a foreign name, another nonce) spoils all, for then somebody else writes to the pipe.

Imports only the standard library: the host role reads with it.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from harness.runtime.errors import written_out

MAX_LINE = 256 << 10  # bytes
MAX_TOTAL = 4 << 20  # bytes
MAX_DEPTH = 32  # levels of lists and mappings
MAX_DIGITS = 40  # of a number; 2**128 has 39
MAX_ERROR = 500  # characters of an error that are kept

KINDS = ("facts", "error", "ready")


class Ready(NamedTuple):
    """A probe that waits for the host to act, and what it tells the host."""

    name: str
    facts: dict[str, Any]


class NotAnObservation(ValueError):
    """A line that is not of the wire format; the message goes on after "the container wrote"."""


def escaped(text: str, limit: int = MAX_ERROR) -> str:
    """Text from a container, safe to print: control and bidirectional characters and surrogates escaped."""
    safe = written_out(text[:limit])
    return f"{safe}… ({len(text)} characters)" if len(text) > limit else safe


class Collector:
    """Collects the observations of one run from the bytes of its output, as they arrive.

    `expected` are the names that were asked for; `init` is always among them. `handshakes` are those of them
    that must have waited for the host before they report.
    """

    def __init__(self, nonce: str, expected: Iterable[str], handshakes: Iterable[str] = ()) -> None:
        self.nonce = nonce
        self.expected = ["init", *(name for name in expected if name != "init")]
        self.handshakes = set(handshakes)
        self.ready: set[str] = set()
        self.facts: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, str] = {}
        self.stray: str | None = None
        self.total = 0
        self.line = bytearray()

    def feed(self, data: bytes) -> list[Ready]:
        """Take the next bytes and return the probes that have begun to wait, each of them once."""
        room = MAX_TOTAL - self.total
        self.total += len(data)
        if self.spoiled():  # nothing can be saved, and nothing more is kept
            return []
        waiting: list[Ready] = []
        *complete, rest = data[:room].split(b"\n")  # how much comes at once must make no difference
        for piece in complete:
            ready = self.take(bytes(self.line + piece))
            if self.spoiled():
                return waiting
            self.line.clear()
            if ready:
                waiting.append(ready)
        self.line += rest
        if len(self.line) > MAX_LINE:
            self.spoil(f"a line longer than {MAX_LINE >> 10} KiB")
        if len(data) > room:
            self.spoil(f"more than {MAX_TOTAL >> 20} MiB")
        return waiting

    def spoiled(self) -> bool:
        """Whether somebody else has written, too, so that there are no observations at all."""
        return self.stray is not None

    def begun(self) -> bool:
        """Whether any observation has been made."""
        return bool(self.facts or self.errors)

    def complete(self) -> bool:
        """Whether all of the observations have been made."""
        return all(name in self.facts or name in self.errors for name in self.expected)

    def finish(self) -> dict[str, dict[str, Any]]:
        """For each expected name {"facts": {…}} or {"error": "…"}, once the output has ended."""
        if self.line and self.complete():
            self.spoil("more after the last observation")
        if self.stray:
            return {name: {"error": f"the container wrote {self.stray}"} for name in self.expected}
        return {name: self.observation(name) for name in self.expected}

    def observation(self, name: str) -> dict[str, Any]:
        if name in self.errors:
            return {"error": self.errors[name]}
        if name in self.facts:
            return {"facts": self.facts[name]}
        if name in self.ready:
            return {"error": "the probe was ready and reported nothing after it"}
        cut = "; the output ends in the middle of a line" if self.line else ""
        return {"error": f"the probe reported nothing{cut}"}

    def take(self, line: bytes) -> Ready | None:
        try:
            name, kind, content = parse_line(line, self.nonce)
            if name not in self.expected:
                raise NotAnObservation(f"an observation that was not asked for: {escaped(name, 80)!r}")
            if not self.begun() and name != "init":
                raise NotAnObservation(f"the observation {name!r} before the one of init")
        except NotAnObservation as error:
            self.spoil(str(error))
            return None
        if name in self.facts or name in self.errors:
            self.errors[name] = "the probe reported twice"
        elif kind == "error":
            self.errors[name] = escaped(content)
        elif kind == "facts" and name in self.handshakes - self.ready:
            self.errors[name] = "the probe did not wait for the host"
        elif kind == "facts":
            self.facts[name] = content
        elif name in self.ready:
            self.errors[name] = "the probe was ready twice"
        else:
            self.ready.add(name)
            return Ready(name, content)
        return None

    def spoil(self, what: str) -> None:
        self.stray = self.stray or what
        self.line.clear()


def parse_line(line: bytes, nonce: str) -> tuple[str, str, Any]:
    """Name, kind (one of KINDS) and content of one line, without its newline; raises NotAnObservation."""
    if len(line) > MAX_LINE:
        raise NotAnObservation(f"a line longer than {MAX_LINE >> 10} KiB")
    try:
        message = json.loads(
            line.decode(),
            object_pairs_hook=_without_doubles,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError:
        raise NotAnObservation(f"a line that is not UTF-8: {line[:80]!r}") from None
    except NotAnObservation as error:
        raise NotAnObservation(f"{error}: {escaped(line.decode(), 80)!r}") from None
    except (ValueError, RecursionError):
        raise NotAnObservation(f"a line that is not JSON: {escaped(line.decode(), 80)!r}") from None
    if not isinstance(message, dict):
        raise NotAnObservation(f"a line that is not a JSON object: {escaped(line.decode(), 80)!r}")
    if message.get("nonce") != nonce:
        raise NotAnObservation("a line that does not bear the nonce of this run")
    kind = next((kind for kind in KINDS if kind in message), "")
    name, probe, content = message.get("name"), message.get("probe"), message.get(kind)
    if set(message) != {"nonce", "name", "probe", kind} or not isinstance(name, str) or not isinstance(probe, str):
        raise NotAnObservation(f"a line with other keys than the protocol's: {escaped(', '.join(message), 80)!r}")
    if not isinstance(content, str if kind == "error" else dict):
        raise NotAnObservation(f"a line whose {kind} is no {'text' if kind == 'error' else 'object'}")
    if _deeper(content, MAX_DEPTH):
        raise NotAnObservation(f"a line nested deeper than {MAX_DEPTH} levels")
    return name, kind, content


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise NotAnObservation("an object with a key twice")
    return mapping


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise NotAnObservation(f"a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise NotAnObservation("a number that is not finite")
    return number


def _no_constant(name: str) -> float:
    raise NotAnObservation(f"{name}, which is no JSON")


def _deeper(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_deeper(child, depth - 1) for child in children)
