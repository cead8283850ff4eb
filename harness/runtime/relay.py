"""Pipes in the place of streams that are files, so that a program gets the bytes and not the file.

An open file is more than a stream: through /proc/self/fd/1 it can be opened anew, for reading and writing, and be read
from its beginning or truncated, wherever it lies; a directory leads on to all that is around it (proc_pid_fd(5),
openat(2)). Pipes, sockets and character devices are handed on as they are, for there is nothing more behind them.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

Streams = tuple[int, int, int]


@contextlib.contextmanager
def instead_of_files(streams: Streams) -> Iterator[tuple[Streams, Callable[[], None]]]:
    """Yield streams for a program, pipes in the place of files, and what begins to copy, to be called after the clone.

    What is written is copied as it comes, and all of it has been when the context has been left, so leave it when no
    program has the streams any more. Two streams into one file (`> log 2>&1`) stay one, and so in order. The copiers
    are threads, which a process that clones itself should not have, and which cost nothing until the program runs.
    """
    pipes: dict[tuple[int, int, bool], int] = {}  # of each file the end that is the program's
    copies: list[tuple[int, int, int]] = []
    given = []
    for number, stream in enumerate(streams):
        status = os.fstat(stream)
        if _is_stream(status.st_mode):
            given.append(stream)
            continue
        file = (status.st_dev, status.st_ino, number == 0)
        if file not in pipes:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            pipes[file], copy = (
                (reader, (stream, writer, writer)) if number == 0 else (writer, (reader, stream, reader))
            )
            copies.append(copy)
        given.append(pipes[file])
    if not pipes:
        yield streams, nothing
        return
    begin, end = _copiers(copies)
    try:
        yield (given[0], given[1], given[2]), begin
    finally:
        begin()  # a start that has failed may have written, too
        for pipe in pipes.values():
            os.close(pipe)
        end()


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


def _is_stream(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def _copy(source: int, target: int, pipe: int) -> None:
    """Copy until there is no more to read, or nobody who reads; close the end of the pipe, for the other waits."""
    with contextlib.suppress(OSError):
        while data := os.read(source, 1 << 16):
            while data:
                data = data[os.write(target, data) :]
    os.close(pipe)
