"""A daemon left behind: forked twice, in a session of its own, holding nothing open, asleep for `seconds`.

Its arguments are those of the runner, so it bears the launch's nonce and the host can look for it
afterwards.
"""

from __future__ import annotations

import os
import time


def observe(seconds: float = 30.0) -> dict[str, object]:
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                os.setsid()
                os.write(sender, f"{os.getpid()} {os.getsid(0)}".encode())
                os.closerange(0, os.sysconf("SC_OPEN_MAX"))
                time.sleep(seconds)
        finally:
            os._exit(0)
    os.close(sender)
    os.waitpid(child, 0)
    pid, session = os.read(receiver, 64).split()
    os.close(receiver)
    return {"pid": int(pid), "session": int(session)}
