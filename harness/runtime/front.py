"""What stands in front of a container's terminal: its launcher, who copies between it and his own streams. pty(7)."""

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import time
import tty
from collections import defaultdict
from collections.abc import Iterator

CHUNK = 4096  # what a pipe that poll(2) calls writable takes without blocking: PIPE_BUF
END_OF_INPUT = b"\x04"  # Ctrl-D
PAUSE = 0.1  # seconds until a terminal that nobody has open is looked at again
NO_SIZE = struct.pack("=4H", 0, 0, 0, 0)


class Front:
    """The launcher's end of a terminal, which it is handed at a meeting; see `harness.runtime.terminal`."""

    def __init__(self, streams: tuple[int, int, int]) -> None:
        self.source, self.sink, _ = streams
        self.master = -1

    def meet(self, _pid: int, descriptors: list[int]) -> None:
        """Take the master, and give the terminal the size of the user's unless the config has given it one."""
        (handed,) = descriptors
        self.master = fcntl.fcntl(handed, fcntl.F_DUPFD_CLOEXEC, 0)
        os.set_blocking(self.master, False)
        if fcntl.ioctl(self.master, termios.TIOCGWINSZ, NO_SIZE) == NO_SIZE:
            self.pass_size_on()

    def pass_size_on(self, *_signal: object) -> None:
        """Give the terminal the size of the user's, if there is one."""
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(self.source, termios.TIOCGWINSZ, NO_SIZE)
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def close(self) -> None:
        """Hang up."""
        if self.master >= 0:
            os.close(self.master)

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Let the user's terminal pass every byte through while the context lasts, and its changes of size.

        What Ctrl-C means is then decided inside.
        """
        if not os.isatty(self.source):
            yield
            return
        before = termios.tcgetattr(self.source)
        action = signal.signal(signal.SIGWINCH, self.pass_size_on)
        try:
            tty.setraw(self.source, termios.TCSANOW)
            yield
        finally:
            signal.signal(signal.SIGWINCH, action)
            with contextlib.suppress(termios.error):  # it may be gone
                termios.tcsetattr(self.source, termios.TCSANOW, before)

    def copy(self, pidfd: int, end: float | None) -> None:
        """Copy both ways until the process has ended and all its output is copied, or until `end` (time.monotonic).

        Raises BrokenPipeError where nobody takes the output any more.
        """
        inwards, outwards = b"", b""
        more, ended, line_begun = True, False, False
        while end is None or time.monotonic() < end:
            wanted: dict[int, int] = defaultdict(int)
            if not ended:
                wanted[pidfd] |= select.POLLIN
            if outwards:
                wanted[self.sink] |= select.POLLOUT
            else:
                wanted[self.master] |= select.POLLIN
            if inwards and not ended:
                wanted[self.master] |= select.POLLOUT
            elif more and not ended:
                wanted[self.source] |= select.POLLIN
            ready = _poll(wanted, 0 if ended and not outwards else None if end is None else end - time.monotonic())
            if ended and not ready:
                return
            ended = ended or pidfd in ready
            if outwards and self.sink in ready:
                outwards = outwards[_write(self.sink, outwards) :]
            elif not outwards and self.master in ready:
                outwards, hung_up = self._read_master()
                if hung_up and ended:
                    return
                if hung_up:
                    _poll({pidfd: select.POLLIN}, PAUSE)
            if inwards and ready.get(self.master, 0) & select.POLLOUT:
                with contextlib.suppress(BlockingIOError):
                    inwards = inwards[os.write(self.master, inwards) :]
            elif more and not inwards and self.source in ready:
                inwards = _read(self.source)
                more = bool(inwards)
                if more:
                    line_begun = not inwards.endswith(b"\n")
                else:  # the first ends the line, where one has begun
                    inwards = END_OF_INPUT * (1 + line_begun)

    def _read_master(self) -> tuple[bytes, bool]:
        """Return what the container has written, and whether nobody has the terminal open."""
        try:
            return os.read(self.master, CHUNK), False
        except BlockingIOError:
            return b"", False
        except OSError:
            return b"", True


def _poll(wanted: dict[int, int], timeout: float | None) -> dict[int, int]:
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    return dict(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))


def _read(descriptor: int) -> bytes:
    """Read from the user's side; a terminal that is gone is at its end, too."""
    try:
        return os.read(descriptor, CHUNK)
    except BlockingIOError:
        return b""
    except OSError:
        return b""


def _write(descriptor: int, data: bytes) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise BrokenPipeError(error.errno, "nobody takes the terminal's output any more") from error
