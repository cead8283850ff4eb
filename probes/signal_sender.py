"""Who a signal from the host says it is from: the si_pid of a SIGUSR1 that the host sends (sigwaitinfo(2)).

A sender that has no number in this pid namespace is 0 (pid_namespaces(7)).
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

SECONDS = 3.0


def observe() -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    yield {"pid": os.getpid()}
    information = signal.sigtimedwait({signal.SIGUSR1}, SECONDS)
    if information is None:
        return {"received": False, "sender": None, "uid": None}
    return {"received": True, "sender": information.si_pid, "uid": information.si_uid}
