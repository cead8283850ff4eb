"""What a value of a config may be. Each kind says in words what it expects, and decides what it accepts."""

import difflib
import re
import socket
from dataclasses import dataclass

BIGGEST = 2**63 - 1
LIMITLESS = 2**64 - 1


class Kind:
    """What a value may be; `expected` says it in words, `accepts` decides."""

    expected = "anything"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        raise NotImplementedError

    def hint(self, _value: object) -> str:
        """Return what may have been meant by a value that is not accepted, or nothing."""
        return ""


def unfit(text: str) -> str:
    """Return why a text cannot be handed to the kernel, or nothing."""
    if "\0" in text:
        return "a NUL in it, which the kernel would take for its end"
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "a lone surrogate in it, which is no character and cannot be written as UTF-8"
    return ""


@dataclass(frozen=True)
class Text(Kind):
    """A string that the kernel can be given."""

    expected = "a text"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return isinstance(value, str) and not unfit(value)


@dataclass(frozen=True)
class NumberList(Text):
    """Numbers and ranges of them, as cpuset(7) writes them; none is fine."""

    expected = "a list of numbers such as 0-3,7"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        if not isinstance(value, str):
            return False
        ranges = [re.fullmatch("([0-9]{1,6})(?:-([0-9]{1,6}))?", part) for part in value.split(",") if value]
        return all(found and int(found[1]) <= int(found[2] or found[1]) for found in ranges)


@dataclass(frozen=True)
class AbsolutePath(Text):
    """A path that starts at the root."""

    expected = "an absolute path"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return Text.accepts(self, value) and isinstance(value, str) and value.startswith("/")


@dataclass(frozen=True)
class Assignment(Text):
    """A variable of the environment."""

    expected = "a text NAME=value"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return Text.accepts(self, value) and isinstance(value, str) and value.find("=") > 0


@dataclass(frozen=True)
class InterfaceName(Text):
    """A name that the kernel takes for a network interface as it stands: dev_valid_name() in net/core/dev.c."""

    expected = "the name of a network interface, of 1 to 15 bytes without slash, colon, percent sign and space"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return (
            isinstance(value, str)
            and re.fullmatch(r"(?!\.{1,2}$)[!-~]{1,15}", value) is not None
            and not (set(value) & set("/:%"))
        )


def packed_address(text: str) -> bytes:
    """Return an IPv4 address as 4 bytes, an IPv6 address as 16, and what is neither as none: inet_pton(3)."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    return b""


@dataclass(frozen=True)
class Address(Text):
    """An address of IPv4 or IPv6."""

    expected = "an address such as 10.0.0.1 or fd00::1"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return isinstance(value, str) and bool(packed_address(value))


@dataclass(frozen=True)
class Network(Text):
    """An address of IPv4 or IPv6 with the length of its network's prefix."""

    expected = "an address with its prefix, such as 10.0.0.2/24 or fd00::2/64"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        if not isinstance(value, str):
            return False
        address, _, prefix = value.partition("/")
        longest = 8 * len(packed_address(address))
        return longest > 0 and re.fullmatch("[0-9]{1,3}", prefix) is not None and int(prefix) <= longest


@dataclass(frozen=True)
class Flag(Kind):
    """true or false."""

    expected = "true or false"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class Nothing(Kind):
    """What may not be there at all, though the list around it may."""

    because: str

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The kind in words."""
        return f"nothing here ({self.because})"

    def accepts(self, _value: object) -> bool:
        """Return whether this value is of the kind."""
        return False


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number from `low` to `high`."""

    low: int = 0
    high: int = BIGGEST

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The kind in words."""
        return f"a whole number from {self.low} to {self.high}"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class OneOf(Kind):
    """One of a few names."""

    names: tuple[str, ...]
    what: str

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The kind in words."""
        return f"a known {self.what}"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return value in self.names

    def hint(self, value: object) -> str:
        """Return the name that is nearest to a wrong one, whatever its case."""
        names = {name.lower(): name for name in self.names}
        near = difflib.get_close_matches(value.lower()[:64], names, 1) if isinstance(value, str) else []
        return names[near[0]] if near else ""


@dataclass(frozen=True)
class Letters(Kind):
    """Some of a few letters, each once."""

    letters: str

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The kind in words."""
        return f"some of the letters {self.letters}, each once"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return isinstance(value, str) and len(set(value)) == len(value) and set(value) <= set(self.letters)
