"""An image to begin containers with (`--rootfs`): a directory, or an archive that is unpacked in each outer sandbox.

Archives are of a root directory, or of an image as `docker save`, `skopeo copy` and `podman save` write one (an OCI
layout, or the older form of Docker's); a layout may be a folder, too. Whatever stands in an archive is unpacked as root
below chroot(2), in a sandbox whose other file systems are read-only. So nothing has to be kept out that an image may
have, set-user-ID programs, devices, absolute symbolic links and files behind them, as tarfile's own filters would. What
has no meaning in an image, or no end, is refused when the session begins.
"""

import contextlib
import hashlib
import json
import lzma
import os
import platform
import re
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from harness import bait
from harness.archive import Count, members, open_archive
from harness.errors import BadInput
from harness.files import without_waiting

DIRECTORY, ARCHIVE = "directory", "archive"  # the forms of an image without parts
LONGEST_JSON = 1 << 20  # bytes
DEEPEST = 4  # indexes in indexes
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"  # image-spec layer.md "Whiteouts"
# What is raised while nonsense is read: damaged archives, JSON that is none or something else than a manifest.
NONSENSE = (
    *(tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(ValueError, TypeError, AttributeError, IndexError, RecursionError),
)

Layer = tuple[str, IO[bytes]]


@dataclass(frozen=True, slots=True)
class Image:
    """Where an image is, in which form, and what it is: its digest, as image tools tell it if it has one of theirs."""

    path: str
    form: str
    digest: str

    def __str__(self) -> str:
        return f"{self.path} ({', '.join(filter(None, (self.form, self.digest)))})"


class Store(Protocol):
    """A folder or an archive with the parts of an image, by name."""

    def open(self, name: str) -> IO[bytes]:
        """Open a part; raises KeyError or OSError where there is none."""


def find(text: str, hidden: tuple[str, ...] = ()) -> Image:
    """Return the image at a path; raises BadInput where there is none. Below `hidden` no sandbox would see it."""
    path = os.path.realpath(text)
    if any(PurePosixPath(path).is_relative_to(f"/{name}") for name in hidden):
        raise BadInput(f"--rootfs {text}: {path} is not to be seen in the sandboxes; use a copy elsewhere")
    try:
        if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
            raise BadInput(f"--rootfs {text}: it is neither a directory nor a file")
        if os.path.isdir(path) and not os.path.exists(f"{path}/oci-layout"):
            return Image(path, DIRECTORY, _digest_of_tree(path))
        with _reading(text), _store(path) as (form, store):
            if store is None:
                with open(path, "rb") as file:
                    return Image(path, form, f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
            return Image(path, form, _manifest(store)[0])
    except OSError as error:
        raise BadInput(f"--rootfs {text}: {error.strerror}") from None


def check(image: Image) -> None:
    """Read the image to its end; raises BadInput, with one line, where it could not be unpacked."""
    if image.form == DIRECTORY:
        return
    count = Count()
    with _reading(image.path), _layers(image) as layers:
        for name, file in layers:
            with open_archive(name, file) as archive:
                for _member in members(archive, count):
                    pass
            _verify(name, file)


def provide(image: Image, directory: Path) -> None:
    """Have an image at a directory, in a sandbox: the one that is there, or one that is unpacked.

    Raises HarnessError where it cannot be unpacked.
    """
    if image.form == DIRECTORY:
        directory.symlink_to(image.path)
        return
    directory.mkdir()

    def unpack(done: int) -> None:
        _unpack(image, directory)
        os.write(done, b".")

    with bait.Child(unpack, f"unpack image {image.path}"):
        pass  # it has said so, and nothing more is wanted of it


def _unpack(image: Image, directory: Path) -> None:
    """Unpack all layers of an archive, one over the other; the process has no other root afterwards."""
    with contextlib.ExitStack() as undo:
        layers = undo.enter_context(_layers(image))
        opened = [(name, file, undo.enter_context(open_archive(name, file))) for name, file in layers]
        os.chroot(directory)
        os.chdir("/")
        os.umask(0o022)
        layered, count = image.form != ARCHIVE, Count()
        for _name, _file, archive in opened:
            if layered:
                _uncover(archive)
            for member in members(archive, count):
                if not layered or not PurePosixPath(member.name).name.startswith(WHITEOUT):
                    _extract(archive, member)


def _uncover(archive: tarfile.TarFile) -> None:
    """Remove what a layer says is not there any more; all of it is in the layers below, so this comes first."""
    for member in members(archive, Count()):
        parent, name = os.path.split(f"/{member.name}")
        if name == OPAQUE:
            for entry in os.listdir(parent) if os.path.isdir(parent) else []:
                _remove(os.path.join(parent, entry))
        elif name.startswith(WHITEOUT) and not name.startswith(WHITEOUT * 2):
            if name.removeprefix(WHITEOUT) in ("", ".", ".."):
                raise BadInput(f"{member.name}: it is to remove what has no name")
            _remove(os.path.join(parent, name.removeprefix(WHITEOUT)))


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Make one member as it was; where root is not the user, without owner, and without devices."""
    if not member.name:
        return  # the root itself, of which the layer above it has its own
    path = f"/{member.name}"
    if os.path.lexists(path) and not (member.isdir() and os.path.isdir(path) and not os.path.islink(path)):
        _remove(path)
    if member.isdev() and not member.isfifo() and os.geteuid() != 0:
        return
    if member.islnk():  # without the mode and owner that stand beside it: those are the file's
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.link(f"/{member.linkname}", path, follow_symlinks=False)
        return
    archive.extraction_filter = lambda member, _path: member
    archive.extract(member, "/", numeric_owner=True)
    for key, value in member.pax_headers.items():
        name = key.removeprefix("SCHILY.xattr.")
        if name == "security.capability":
            with contextlib.suppress(OSError):  # an ordinary user's file can have none
                os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


class _Folder:
    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def open(self, name: str) -> IO[bytes]:
        file = open(self.path / name, "rb", opener=without_waiting)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise BadInput(f"{name}: it is no file")  # a device may have no end
        return file


class _Archive:
    def __init__(self, archive: tarfile.TarFile, names: set[str]) -> None:
        self.archive = archive
        self.names = names

    def open(self, name: str) -> IO[bytes]:
        if name not in self.names:
            raise KeyError(name)
        file = self.archive.extractfile(name)
        if file is None:
            raise BadInput(f"{name}: it is no file")
        return file


@contextlib.contextmanager
def _store(path: str, form: str = "") -> Iterator[tuple[str, Store | None]]:
    """Yield the form of an image, looking for it unless it is known, and what its parts are read from if it has any."""
    if os.path.isdir(path):
        yield "OCI layout", _Folder(path)
        return
    with open(path, "rb") as file, open_archive(path, file) as archive:
        names = {member.name for member in members(archive, Count())} if form != ARCHIVE else set()
        if "index.json" in names and "oci-layout" in names:
            yield "OCI archive", _Archive(archive, names)
        elif "manifest.json" in names:
            yield "Docker archive", _Archive(archive, names)
        else:
            yield ARCHIVE, None


@contextlib.contextmanager
def _layers(image: Image) -> Iterator[list[Layer]]:
    """Yield the layers of an image, from below, opened."""
    with contextlib.ExitStack() as undo:
        _form, store = undo.enter_context(_store(image.path, image.form))
        if store is None:
            yield [(image.path, undo.enter_context(open(image.path, "rb")))]
        else:
            yield [(name, undo.enter_context(store.open(name))) for name in _manifest(store)[1]]


def _manifest(store: Store) -> tuple[str, list[str]]:
    """Return the digest of an image, and the names of its layers from below."""
    try:
        index = _json(store, "index.json")
    except (KeyError, FileNotFoundError):
        entries = _json(store, "manifest.json")
        if len(entries) != 1:
            raise BadInput(f"it holds {len(entries)} images; save one alone") from None
        config = str(entries[0]["Config"]).rpartition("/")[2].removesuffix(".json")
        return f"sha256:{config}", [str(name) for name in entries[0]["Layers"]]
    for _ in range(DEEPEST):
        entries = [entry for entry in index["manifests"] if _is_for_this_machine(entry.get("platform") or {})]
        if len({entry["digest"] for entry in entries}) != 1:
            raise BadInput(f"it holds {len(entries)} images for this machine; one is wanted")
        digest = str(entries[0]["digest"])
        index = _json(store, _blob(digest))
        if "layers" in index:
            return digest, [_blob(str(entry["digest"])) for entry in index["layers"]]
    raise BadInput(f"its indexes are nested more than {DEEPEST} deep")


def _is_for_this_machine(wanted: dict[str, Any]) -> bool:
    machine = platform.machine()
    return not wanted or (wanted.get("os"), wanted.get("architecture")) == ("linux", MACHINES.get(machine, machine))


def _blob(digest: str) -> str:
    """Return the name of what has a digest."""
    if not DIGEST.fullmatch(digest):
        raise BadInput(f"{digest!r} is no digest that this can read (sha256)")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _verify(name: str, file: IO[bytes]) -> None:
    """Hold what has a digest for its name to it."""
    file.seek(0)
    if name.startswith("blobs/sha256/"):
        found = hashlib.sha256()
        while data := file.read(1 << 20):
            found.update(data)
        if found.hexdigest() != name.rpartition("/")[2]:
            raise BadInput(f"{name}: its digest is sha256:{found.hexdigest()}")


def _json(store: Store, name: str) -> Any:
    with store.open(name) as file:
        text = file.read(LONGEST_JSON + 1)
    if len(text) > LONGEST_JSON:
        raise BadInput(f"{name} is larger than {LONGEST_JSON >> 10} KiB")
    return json.loads(text)


@contextlib.contextmanager
def _reading(text: str) -> Iterator[None]:
    """Make of everything that is wrong with an image one line that begins with its name."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"--rootfs {text}: {error}") from None
    except KeyError as error:
        raise BadInput(f"--rootfs {text}: there is no {error.args[0]} in it") from None
    except NONSENSE as error:
        raise BadInput(f"--rootfs {text}: it cannot be read as an image: {error}") from None


def _digest_of_tree(path: str) -> str:
    """Return a digest of names, modes and contents; none of a tree that is too large to be an image."""
    found, count = hashlib.sha256(), Count()
    try:
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted([*folders, *files]):
                entry = os.path.join(folder, name)
                status = os.lstat(entry)
                count.add(status.st_size if stat.S_ISREG(status.st_mode) else 0)
                found.update(repr((os.path.relpath(entry, path), status.st_mode, status.st_rdev)).encode())
                if stat.S_ISLNK(status.st_mode):
                    found.update(os.fsencode(os.readlink(entry)))
                elif stat.S_ISREG(status.st_mode):
                    with contextlib.suppress(PermissionError), open(entry, "rb") as file:
                        found.update(hashlib.file_digest(file, "sha256").digest())
    except BadInput:
        return ""
    return f"sha256:{found.hexdigest()}"
