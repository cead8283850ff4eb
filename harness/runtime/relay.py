"""Pipes in the place of streams that are files, so that a program gets the bytes and not the file.

An open file is more than a stream: through /proc/self/fd/1 it can be opened anew, for reading and writing, and be read
from its beginning or truncated, wherever it lies; a directory leads on to all that is around it (proc_pid_fd(5),
openat(2)). Pipes, sockets and character devices are handed on as they are, for there is nothing more behind them.
"""

import contextlib
import os
import stat
from collections.abc import Callable

Streams = tuple[int, int, int]
STREAMS = (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR)


def instead_of_files(streams: Streams, undo: contextlib.ExitStack) -> tuple[Streams, Callable[[], None]]:
    """Return streams for a program, pipes in the place of files, and what begins to copy, to be called after the clone.

    What is written is copied as it comes, and all of it has been when `undo` is over, so let that be when no program
    has the streams any more. Two streams into one file (`> log 2>&1`) stay one, and so in order. The copiers are
    threads, which a process that clones itself should not have, and which cost nothing until the program runs.
    """
    for stream in streams:
        if stat.S_IFMT(os.fstat(stream).st_mode) not in STREAMS:
            break
    else:  # as most are
        return streams, nothing
    pipes: dict[tuple[int, int, bool], int] = {}  # of each file the end that is the program's
    copies: list[tuple[int, int, int]] = []
    given = list(streams)
    for number, stream in enumerate(streams):
        status = os.fstat(stream)
        if stat.S_IFMT(status.st_mode) in STREAMS:
            continue
        file = (status.st_dev, status.st_ino, number == 0)
        if file not in pipes:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            pipes[file] = reader if number == 0 else writer
            copies.append((stream, writer, writer) if number == 0 else (reader, stream, reader))
        given[number] = pipes[file]
    begin, end = _copiers(copies)
    undo.callback(end)
    for pipe in pipes.values():
        undo.callback(os.close, pipe)
    undo.callback(begin)  # a start that has failed may have written, too
    return (given[0], given[1], given[2]), begin


def _copiers(copies: list[tuple[int, int, int]]) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return what begins to copy, once, each in a thread of its own, and what waits for the end of it."""
    import threading  # only here: the streams of most containers are no files

    waiting = [threading.Thread(target=_copy, args=copy) for copy in copies]
    begun: list[threading.Thread] = []

    def begin() -> None:
        while waiting:
            begun.append(waiting.pop())
            begun[-1].start()

    def end() -> None:
        for thread in begun:
            thread.join()

    return begin, end


def nothing() -> None:
    """Begin nothing."""


def _copy(source: int, target: int, pipe: int) -> None:
    """Copy until there is no more to read, or nobody who reads; close the end of the pipe, for the other waits."""
    with contextlib.suppress(OSError):
        while data := os.read(source, 1 << 16):
            while data:
                data = data[os.write(target, data) :]
    os.close(pipe)
