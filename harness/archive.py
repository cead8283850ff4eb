"""Tar archives with images in them, read as what they are: somebody else's.

tarfile believes what a header says of itself. It takes a header into memory whole, however long it says it is, reads a
damaged one again from each of its bytes, follows another one to any length, and keeps what all of them say. So what
tarfile gets to read of headers has bounds here, and a form.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from harness.errors import BadInput

LARGEST = 2 << 30  # bytes of an image unpacked: it is held in memory
MOST = 250_000  # members of its archives
LONGEST_HEADER = 1 << 20  # bytes of all headers of one member
LARGEST_HEADERS = 512 << 20  # bytes of those of all members: three blocks are usual
MOST_RECORDS = 2_000_000  # of what is told of members besides, which all is kept
LONGEST_NUMBER = 40  # digits; tarfile looks for numbers from each of their digits anew
COMPRESSED: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),  # type: ignore[dict-item, return-value]
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
ZSTD = b"\x28\xb5\x2f\xfd"
RECORD = re.compile(rb"([0-9]{1,7}) [^=\n]+=")  # the beginning of one of a pax header: pax(1), Extended Header
NUMBER = re.compile(rb"[0-9]{%d}" % (LONGEST_NUMBER + 1))
PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


class Count:
    """What has been met of an image so far, and is not to grow without end."""

    def __init__(self) -> None:
        self.members = self.bytes = self.headers = self.records = 0

    def add(self, size: int, header: int = 0, records: int = 0) -> None:
        """Count one more member; raises BadInput for one too many."""
        self.members += 1
        self.bytes += size
        self.headers += header
        self.records += records
        if self.members > MOST:
            raise BadInput(f"it has more than {MOST} members")
        if self.bytes > LARGEST:
            raise BadInput(f"it is larger than {LARGEST >> 20} MiB when it is unpacked")
        if self.headers > LARGEST_HEADERS or self.records > MOST_RECORDS:
            raise BadInput(f"its headers are larger than {LARGEST_HEADERS >> 20} MiB, or have too many records")


class Bounded:
    """A file of which tarfile reads the headers of one member at a time: not without end, and none that is nonsense.

    Between them, the data of a member may be read, of which nothing is held back.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.take_header()

    def take_header(self) -> None:
        """Let the headers of the next member be read."""
        self.is_data = False
        self.header = 0  # bytes that have been read of it
        self.last = b""  # and what was read last

    def take_data(self) -> None:
        """Let data be read, until the next header."""
        self.is_data = True

    def read(self, size: int = -1) -> bytes:
        """Read what tarfile asks for. Raises BadInput where no header has so much, or so little order."""
        if self.is_data:
            return self._file.read(size)
        if not 0 <= size <= LONGEST_HEADER - self.header:
            raise BadInput(f"a header is longer than {LONGEST_HEADER >> 10} KiB")
        self.header += size
        is_pax = self.last[156:157] in PAX
        self.last = self._file.read(size)
        if is_pax:
            _hold_records(self.last)
        return self.last

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere. Raises BadInput beyond the end that any archive has: it may be far, and all to be unpacked."""
        if offset > LARGEST + LARGEST_HEADERS + MOST * tarfile.BLOCKSIZE:
            raise BadInput(f"it is larger than {LARGEST >> 20} MiB when it is unpacked")
        return self._file.seek(offset, whence)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _hold(member: tarfile.TarInfo) -> None:
    """Raise BadInput for a member that no image has."""
    for kind, path in (("name", member.name), ("hard link", member.linkname if member.islnk() else "")):
        if ".." in path.split("/"):
            raise BadInput(f"{path!r}: a {kind} with '..' leads out of the image")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk() or member.isdev()):
        raise BadInput(f"{member.name!r}: a member of unknown type {member.type!r}")
    if "\0" in f"{member.name}{member.linkname}":
        raise BadInput(f"{member.name!r}: a name with a NUL in it, which the kernel would take for its end")
    numbers = (member.uid, member.gid, member.devmajor, member.devminor)
    if not all(0 <= number < 1 << 32 for number in numbers) or not abs(member.mtime) < 1 << 40:  # not a number is not
        raise BadInput(f"{member.name!r}: an owner, a time or a device's number that cannot be")


def _hold_records(data: bytes) -> None:
    """Raise BadInput where a pax header is not one record after the other."""
    if NUMBER.search(data):
        raise BadInput(f"a header has a number of more than {LONGEST_NUMBER} digits")
    at = 0
    while data[at : at + 1] not in (b"", b"\0"):
        found = RECORD.match(data, at)
        end = at + int(found[1]) if found else 0
        if not found or end <= found.end() or data[end - 1 : end] != b"\n":
            raise BadInput("a header has a record that is not as long as it says")
        at = end


@contextlib.contextmanager
def open_archive(name: str, file: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """Open an archive, which may be compressed, that a file has in it from its beginning."""
    file.seek(0)
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(ZSTD):
        raise BadInput(
            f"{name} is compressed by zstd, which this cannot read; `skopeo copy --dest-compress-format gzip`"
        )
    plain = next((opener(file) for start, opener in COMPRESSED.items() if magic.startswith(start)), file)
    with tarfile.open(fileobj=Bounded(plain), mode="r:") as archive:
        yield archive


def members(archive: tarfile.TarFile, count: Count) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive, from its beginning; raises BadInput for one that no image has."""
    file = archive.fileobj
    assert isinstance(file, Bounded)
    file.take_header()
    for member in archive:
        if member.size < 0:
            raise BadInput(f"{member.name!r}: a negative size")
        count.add(member.size, file.header, len(member.pax_headers) + len(member.sparse or ()))
        _hold(member)
        member.name = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        file.take_data()
        yield member
        file.take_header()
    if file.last.strip(b"\0"):  # of which tarfile makes an end like any other
        raise BadInput("it is damaged: behind its members is what is no header")
    file.take_data()
