"""Acts on files below a directory, one for each right that Landlock knows on files.

The directory holds `file`, `removable`, `empty/`, `a/file` and `b/`. What a probe is allowed, it does.
"""

from __future__ import annotations

import os
import stat

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def observe(directory: str) -> dict[str, object]:
    """Report each act by the name of its right.

    `execute` makes a program of no bytes first, which the kernel cannot start when it has been allowed to (ENOEXEC).
    """
    acts: dict[str, Callable[[], object]] = {
        "execute": lambda: _execute(f"{directory}/program"),
        "write_file": lambda: os.close(os.open(f"{directory}/file", os.O_WRONLY)),
        "read_file": lambda: os.close(os.open(f"{directory}/file", os.O_RDONLY)),
        "read_dir": lambda: os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY)),
        "remove_dir": lambda: os.rmdir(f"{directory}/empty"),
        "remove_file": lambda: os.unlink(f"{directory}/removable"),
        "make_char": lambda: os.mknod(f"{directory}/char", stat.S_IFCHR, 0),  # a whiteout: no capability needed
        "make_dir": lambda: os.mkdir(f"{directory}/directory"),
        "make_reg": lambda: os.mknod(f"{directory}/regular", stat.S_IFREG),
        "make_sock": lambda: os.mknod(f"{directory}/socket", stat.S_IFSOCK),
        "make_fifo": lambda: os.mkfifo(f"{directory}/fifo"),
        "make_block": lambda: os.mknod(f"{directory}/block", stat.S_IFBLK, 0),
        "make_sym": lambda: os.symlink("file", f"{directory}/symlink"),
        "refer": lambda: os.rename(f"{directory}/a/file", f"{directory}/b/file"),
        "truncate": lambda: os.truncate(f"{directory}/file", 1),
    }
    return {name: _kernel.attempt(act)["errno"] for name, act in acts.items()}


def _execute(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o700))
    os.execv(path, [path])
