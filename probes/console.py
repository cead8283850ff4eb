"""Looks at /dev/console, the terminal of the first process, and the null device beside it."""

from __future__ import annotations

import os

import _kernel

CONTROLLING = 4  # the field tty_nr behind the name of the program: proc_pid_stat(5)


def observe() -> dict[str, object]:
    """Report what `/dev/console` and `/dev/null` are, themselves and not what a link leads to, the `streams` of the
    first process, its `controlling` terminal as major:minor and the `size` of that in rows and columns, and the
    `instance` of devpts at /dev/pts.

    The first process is the runner, whose streams are not the probe's.
    """
    runner = os.getppid()
    number = int(_kernel.stat_fields(runner)[CONTROLLING])
    return {
        "console": _look("/dev/console", follow=False),
        "null": _look("/dev/null", follow=False),
        "streams": [_look(f"/proc/{runner}/fd/{stream}") for stream in range(3)],
        "controlling": f"{os.major(number)}:{os.minor(number)}",
        "size": _size(f"/proc/{runner}/fd/1"),
        "instance": os.stat("/dev/pts").st_dev,
    }


def _look(path: str, follow: bool = True) -> dict[str, object]:
    try:
        status = os.stat(path, follow_symlinks=follow)
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno)}
    return {
        "kind": _kernel.kind(status.st_mode),
        "number": _kernel.device_number(status),
        "device": status.st_dev,
    }


def _size(terminal: str) -> list[int] | None:
    """What TIOCGWINSZ says of a terminal, None where there is none."""
    try:
        file = os.open(terminal, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        columns, rows = os.get_terminal_size(file)
    except OSError:
        return None
    os.close(file)
    return [rows, columns]
