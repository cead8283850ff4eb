"""What a container writes: an error for each name or what its probe said, wherever the bytes are cut.

The first byte says how many cuts there are, and each of the next so many where one is, in 256ths.
"""

from collections.abc import Iterator

from tests.property.test_hostile_output import GOOD, NAMES, NONCE, assert_one_outcome, encoded


def seeds() -> Iterator[bytes]:
    for cuts in (b"\0", b"\1\x80", b"\4\x20\x40\x60\x80"):
        yield cuts + b"".join(map(encoded, GOOD))
        yield from (cuts + encoded(message) for message in GOOD)


def words() -> Iterator[str]:
    yield from (NONCE, *NAMES, "init", "nonce", "name", "probe", "facts", "error", "ready")
    yield from ('{"nonce": ', "}\n", ', "facts": {', "null", "true", "1e999", "NaN", "\\ud800", "\n", '"', "[", "]")


def once(data: bytes) -> None:
    count = data[0] if data else 0
    stream = data[1 + count :]
    assert_one_outcome(stream, [cut * len(stream) // 256 for cut in data[1 : 1 + count]])
