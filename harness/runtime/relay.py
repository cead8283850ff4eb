"""Pipes in the place of streams that are files, so that a program gets the bytes and not the file.

An open file is more than a stream: through /proc/self/fd/1 it can be opened anew, for reading and writing, and be read
from its beginning or truncated, wherever it lies; a directory leads on to all that is around it (proc_pid_fd(5),
openat(2)). Pipes, sockets and character devices are handed on as they are, for there is nothing more behind them.
"""

import contextlib
import os
import signal
import stat
from collections.abc import Iterator

Streams = tuple[int, int, int]
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)  # a copier ends when the streams do, and loses nothing before


@contextlib.contextmanager
def instead_of_files(streams: Streams) -> Iterator[Streams]:
    """Return streams for a program: pipes in the place of files; leave the context when no program has them any more.

    What is written is copied as it comes, and all of it has been when the context has been left. Two streams into one
    file (`> log 2>&1`) stay one, and so in order.
    """
    pipes: dict[tuple[int, int, bool], int] = {}
    copiers = []
    given = []
    try:
        for number, stream in enumerate(streams):
            status = os.fstat(stream)
            file = (status.st_dev, status.st_ino, number == 0)
            if _is_stream(status.st_mode):
                given.append(stream)
                continue
            if file not in pipes:
                reader, writer = os.pipe2(os.O_CLOEXEC)
                pipes[file], far = (reader, writer) if number == 0 else (writer, reader)
                copiers.append(_fork_copier(stream, writer) if number == 0 else _fork_copier(reader, stream))
                os.close(far)
            given.append(pipes[file])
        yield given[0], given[1], given[2]
    finally:
        for pipe in pipes.values():
            os.close(pipe)
        for copier in copiers:
            os.waitpid(copier, 0)


def _is_stream(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def _fork_copier(source: int, target: int) -> int:
    """Fork a process that copies until there is no more to read, or nobody who reads."""
    copier = os.fork()
    if copier:
        return copier
    try:
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        source, target = os.dup(source), os.dup(target)
        os.dup2(source, 0)
        os.dup2(target, 1)
        os.closerange(2, os.sysconf("SC_OPEN_MAX"))  # or a pipe that only a copier holds would never end
        while data := os.read(0, 1 << 16):
            while data:
                data = data[os.write(1, data) :]
    finally:
        os._exit(0)
