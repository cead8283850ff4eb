"""What a value of a config may be. Each kind says in words what it expects, and decides what it accepts."""

from dataclasses import dataclass

BIGGEST = 2**63 - 1
LIMITLESS = 2**64 - 1


class Kind:
    """What a value may be; `expected` says it in words, `accepts` decides."""

    expected = "anything"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        raise NotImplementedError


@dataclass(frozen=True)
class Text(Kind):
    """A string without NUL, which the kernel would take for its end, and in bytes: JSON allows half characters."""

    expected = "a text without NUL or half a surrogate pair"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return isinstance(value, str) and not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value)


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
class Flag(Kind):
    """true or false."""

    expected = "true or false"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class Never(Kind):
    """A flag that cannot be set yet."""

    because: str

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The kind in words."""
        return f"false ({self.because})"

    def accepts(self, value: object) -> bool:
        """Return whether this value is of the kind."""
        return value is False


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
