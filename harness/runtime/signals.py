"""Signals that are passed on to a container, and what its end means to a shell.

By the interpreter's own part of the standard module, which is there already: the rest of it, enumerations, takes 4 ms
to load.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

PASSED_ON = (
    _signal.SIGHUP,
    _signal.SIGINT,
    _signal.SIGQUIT,
    _signal.SIGTERM,
    _signal.SIGUSR1,
    _signal.SIGUSR2,
    _signal.SIGWINCH,
    _signal.SIGCONT,
)
FINAL = (_signal.SIGINT, _signal.SIGTERM)


class PassedOn:
    """The launcher's signals, which go to the process behind a pidfd while there is one, and are kept until then.

    What nobody has got comes back when the context is left. A program that runs as PID 1 does not get a signal for
    which it has no handler, SIGINT and SIGTERM included; so the second of these two kills it.

    What may take long before there is a process, as hooks do, is `interrupted` by one of the two instead: SystemExit.
    """

    def __init__(self, interrupted: bool = False) -> None:
        self._pidfd = -1
        self._interrupted = interrupted
        self._kept: list[int] = []
        self._final = 0

    def __enter__(self) -> "PassedOn":
        self._before = {number: _signal.signal(number, self._handle) for number in PASSED_ON}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, action in self._before.items():
            _signal.signal(number, action)
        for kept in self._kept:
            os.kill(os.getpid(), kept)

    def to(self, pidfd: int) -> None:
        """Pass on what has come, and all that comes from now on."""
        self._pidfd = pidfd
        self._interrupted = False
        while self._kept:
            self._send(self._kept.pop(0))

    def keep(self) -> None:
        """Keep what comes from now on: the pidfd is about to be closed."""
        self._pidfd = -1

    def _handle(self, number: int, _frame: object) -> None:
        if self._pidfd >= 0:
            self._send(number)
        elif self._interrupted and number in FINAL:
            raise SystemExit(128 + number)
        else:
            self._kept.append(number)

    def _send(self, number: int) -> None:
        self._final += number in FINAL
        try:
            _signal.pidfd_send_signal(self._pidfd, int(_signal.SIGKILL) if self._final > 1 else number)
        except ProcessLookupError:
            pass  # it has ended


def exit_status(status: int) -> int:
    """Return a status of wait(2) as shells do: the exit status, or 128 and the number of the signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
