"""Where a user's launchers keep what nobody else may write to: records of what they make, and plans."""

import fcntl
import os
import stat


def folders() -> list[str]:
    """Return where it may be, best first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    found = ["/run/isoproof"] if os.geteuid() == 0 else []
    found += [os.path.join(runtime, "isoproof")] if runtime else []
    return [*found, f"/tmp/isoproof-{os.geteuid()}"]


def is_ours(folder: str) -> bool:
    """Return whether there is a folder that nobody else may write to."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def make(folder: str) -> bool:
    """Make a folder that nobody else may write to, if it is not there; return whether it is such a one.

    Raises OSError where it can be neither found nor made.
    """
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    return is_ours(folder)


def create(name: str, text: bytes) -> tuple[str, int] | None:
    """Make a file in the first folder that takes it; return its path and a descriptor that holds the lock on it.

    Where the whole file system is read-only there is none.
    """
    for folder in folders():
        path = os.path.join(folder, name)
        while True:
            try:
                if not make(folder):
                    break
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except OSError:
                break
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, text)
            if os.fstat(descriptor).st_nlink:
                return path, descriptor
            os.close(descriptor)  # whoever was clearing up has taken the file, still unlocked, for a dead launcher's
    return None


def find(name: str) -> list[str]:
    """Return the paths of the files of this name."""
    paths = [os.path.join(folder, name) for folder in folders() if is_ours(folder)]
    return [path for path in paths if os.path.exists(path)]


def record_of(root: int) -> str:
    """Return the name of the record of what is left in a root to the last container on it."""
    found = os.fstat(root)
    return f"places-{found.st_dev:x}-{found.st_ino:x}.json"
