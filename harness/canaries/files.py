"""Bait that is files and directories."""

import ctypes
import fcntl
import os
import random
import shutil
import stat
import struct
from pathlib import Path

from harness import bait
from harness.canaries.base import Canary, Facts
from harness.runtime.syscalls import AT_FDCWD, MS, invoke, libc

MEBIBYTE = 1 << 20


class File(Canary):
    """A file with a token in it, in a directory where nothing else is."""

    def place(self, name: str = "canary", mode: int = 0o644) -> None:
        self.path = self.directory / name
        self.path.write_text(self.token)
        self.path.chmod(mode)
        self.status = self.path.stat()

    def facts(self) -> Facts:
        return {
            **self.where(self.path),
            "token": self.token,
            "device": self.status.st_dev,
            "inode": self.status.st_ino,
            "unchanged": self.path.exists() and self.path.read_text() == self.token,
        }


class Directory(Canary):
    """A directory with one file in it; tells whether anything was added, removed, mounted there or written into it.

    `file` is where the file is, below it.
    """

    def place(self, file: str = "resident") -> None:
        self.path = self.directory / file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.token)
        self.before = bait.entries_of(self.directory)

    def facts(self) -> Facts:
        return {
            "path": str(self.directory),
            "climbing": "../" * 16 + str(self.directory).lstrip("/"),
            "token": self.token,
            "before": self.before,
            "entries": bait.entries_of(self.directory),
            "mounts": bait.mounts_at(self.directory),
            "unchanged": self.path.exists() and self.path.read_text() == self.token,
        }


class Snare(Directory):
    """A directory with one file in it, and another to be shared, in which a symbolic link, `inner`, leads to the first.

    So a container that shares the other may have left it for the next one.
    """

    def place(self, file: str = "resident") -> None:
        self.shared = self.directory.with_name(f"{self.directory.name}-shared")
        self.shared.mkdir()
        self.undo.callback(shutil.rmtree, self.shared, ignore_errors=True)
        (self.shared / "inner").symlink_to(self.directory)
        super().place(file)

    def facts(self) -> Facts:
        return super().facts() | {"shared": str(self.shared)}


class Volume(Canary):
    """A shared tmpfs, such as a host gives to containers; its act mounts another tmpfs at `below` in it.

    Whether the second mount is seen inside is a matter of propagation alone (mount_namespaces(7)).
    """

    def place(self) -> None:
        self.undo.enter_context(bait.tmpfs(self.directory))
        invoke("mount", b"none", os.fsencode(self.directory), 0, MS.SHARED, 0)
        self.below = self.directory / "below"
        self.below.mkdir()

    def facts(self) -> Facts:
        mounts = bait.mounts_at(self.directory)
        return {
            "path": str(self.directory),
            "below": str(self.below),
            "mounted": str(self.below) in mounts,
            "mounts": mounts,
        }

    def act(self, context: Facts) -> Facts:
        self.undo.enter_context(bait.tmpfs(self.below))
        return {"mounted": self.below.name}


class Submounts(Canary):
    """A tmpfs with a second tmpfs mounted at `sub` in it: what a recursive bind mount brings along."""

    def place(self) -> None:
        self.undo.enter_context(bait.tmpfs(self.directory))
        self.sub = self.directory / "sub"
        self.sub.mkdir()
        self.undo.enter_context(bait.tmpfs(self.sub))
        (self.sub / "resident").write_text(self.token)

    def facts(self) -> Facts:
        return {
            "path": str(self.directory),
            "sub": self.sub.name,
            "token": self.token,
            "entries": bait.entries_of(self.sub),
        }


class FileSystem(Canary):
    """A file system of the kernel's, mounted where machines have it; `type` must be one of which there can be several.

    What of it is there for the whole machine is shown by the mount, and not changed.
    """

    def place(self, type: str = "bpf", path: str = "/sys/fs/bpf") -> None:
        self.type, self.path = type, path
        self.undo.enter_context(bait.mounted(type, Path(path)))

    def facts(self) -> Facts:
        return {"path": self.path, "type": self.type}


class SharedDirectory(Canary):
    """A directory to be given to a container, beside a secret: one file system, and the secret outside what is given.

    `handle` is the secret's, as name_to_handle_at(2) tells it: a number that can be guessed. The act moves the
    directory `a/b` out of what is given, to where the secret is, as the owner of a volume may do.
    """

    def place(self) -> None:
        self.shared = self.directory / "shared"
        self.inner = self.shared / "a" / "b"
        self.inner.mkdir(parents=True)
        self.secret = self.directory / "secret"
        self.secret.write_text(self.token)
        handle = ctypes.create_string_buffer(struct.pack("Ii128x", 128, 0))
        if libc.name_to_handle_at(AT_FDCWD, os.fsencode(self.secret), handle, ctypes.byref(ctypes.c_int()), 0) < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"name_to_handle_at {self.secret}: {os.strerror(number)}")
        size, self.kind = struct.unpack_from("Ii", handle)
        self.handle = handle.raw[8 : 8 + size].hex()

    def facts(self) -> Facts:
        return {
            "path": str(self.shared),
            "secret": str(self.secret),
            "token": self.token,
            "handle": self.handle,
            "handle_type": self.kind,
            "moved": not self.inner.exists(),
        }

    def act(self, context: Facts) -> Facts:
        self.inner.rename(self.directory / "moved")
        return {}


class Layers(Canary):
    """The layers of an overlay: a lowest one with files in it, such as an image is, and an empty one for changes.

    With a `quota` the latter is on a file system of its own, a small one, as engines have it where they promise a size;
    then there is another one `beside` the image, too, in which nothing should be found.
    """

    def place(self, quota: bool = False) -> None:
        self.lower, self.beside = self.directory / "lower", self.directory / "upper"
        top = self.directory
        if quota:
            top = self.directory / "bounded"
            top.mkdir()
            self.undo.enter_context(bait.tmpfs(top))
        self.upper, self.work = top / "upper", top / "work"
        for layer in {self.lower, self.beside, self.directory / "work", self.upper, self.work}:
            layer.mkdir()
        for name in ("kept", "replaced", "deleted"):
            (self.lower / name).write_text(self.token)
        self.before = self.contents()

    def contents(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.lower.iterdir())}

    def facts(self) -> Facts:
        options = [f"lowerdir={self.lower}", f"upperdir={self.upper}", f"workdir={self.work}"]
        status = os.statvfs(self.upper)
        return {
            "options": options,
            "lower": str(self.lower),
            "kept": str(self.lower / "kept"),
            "before": self.before,
            "contents": self.contents(),
            "upper": bait.entries_of(self.upper),
            "beside": bait.entries_of(self.beside),
            "size": status.f_blocks * status.f_frsize,
        }


class Inbox(Canary):
    """A directory in which everybody may put files; tells what those would mean to the host.

    It belongs to `owner`, but a file of root's is there.
    """

    def place(self, owner: int = -1) -> None:
        self.directory.chmod(0o777)
        os.chown(self.directory, owner, owner)
        (self.directory / "resident").write_text(self.token)

    def facts(self) -> Facts:
        return {
            "path": str(self.directory),
            "uids": {path.name: path.lstat().st_uid for path in self.directory.iterdir()},
            "setuid": [path.name for path in self.directory.iterdir() if path.lstat().st_mode & stat.S_ISUID],
            "capability_roots": {path.name: _capability_root(path) for path in self.directory.iterdir()},
        }


def _capability_root(path: Path) -> int | None:
    """Whose root a program's capabilities count for, 0 being the host's; None for a file without any.

    Version 3 of the attribute ends with that id; versions before know only the host's (capabilities(7)).
    """
    try:
        value = os.getxattr(path, "security.capability", follow_symlinks=False)
    except OSError:
        return None
    root: int = struct.unpack_from("<I", value, 20)[0] if len(value) == 24 else 0
    return root


class Lock(Canary):
    """A file with a POSIX write lock on it, held by a process of the host (fcntl(2), F_SETLK).

    `key` is how /proc/locks writes the file: device numbers in hexadecimal, inode in decimal.
    """

    def place(self) -> None:
        self.path = self.directory / "locked"
        self.path.write_text(self.token)
        self.path.chmod(0o666)

        def hold(ready: int) -> None:
            with self.path.open("r+") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(ready, b".")
                bait.wait_for_ever()

        self.child = self.undo.enter_context(bait.Child(hold))
        status = self.path.stat()
        self.key = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"

    def facts(self) -> Facts:
        return {
            **self.where(self.path),
            "key": self.key,
            "pid": self.child.pid,
            "alive": self.child.alive(),
        }


class Disk(Canary):
    """A file of the machine's on a block device, and the device, whose rates can be limited."""

    def place(self) -> None:
        self.path, (self.major, self.minor) = bait.file_on_disk(2 * MEBIBYTE)

    def facts(self) -> Facts:
        return {**self.where(self.path), "major": self.major, "minor": self.minor}


class CachedFile(Canary):
    """A file of the machine's on a disk, and an overlay in which a copy of it lies over it.

    The act has the kernel forget the file and then reads one page of it, which one is a matter of chance: one of the
    `offsets`. In an overlay nobody can tell which; who has the file itself asks the kernel what is in memory.
    """

    PLACES, APART = 8, 256 << 10  # bytes between two places, more than the kernel reads ahead

    def place(self) -> None:
        self.path = next(filter(bait.forgotten, bait.files_on_disk(self.PLACES * self.APART)))
        self.upper, self.work = (self.directory / name for name in ("upper", "work"))
        for layer in (self.upper, self.work):
            layer.mkdir()
        shutil.copyfile(self.path, self.upper / self.path.name)
        self.offsets = [place * self.APART for place in range(self.PLACES)]
        self.read: int | None = None

    def facts(self) -> Facts:
        options = [f"lowerdir={self.path.parent}", f"upperdir={self.upper}", f"workdir={self.work}"]
        return {
            **self.where(self.path),
            "inside": f"/tmp/{self.path.name}",
            "options": options,
            "offsets": self.offsets,
            "read": self.read,
        }

    def act(self, context: Facts) -> Facts:
        self.read = random.choice(self.offsets)
        bait.forget(self.path, but=self.read)
        return {}
