"""The process that outer sandboxes are copies of, so that none of them has to start an interpreter.

An interpreter that has loaded the host role (`harness.host`) takes longer to start than most runs last; a copy of one
is there in a millisecond, and shares its memory. The zygote does nothing but load and wait. For each sandbox it forks a
launcher; what that clones as the first process of the sandbox is a copy once more, and plays the host role where others
would execute a program. The namespaces, mounts and cgroups of a sandbox are as fresh as those of any container.

A request is one message on the zygote's standard input, a socket (unix(7)): a JSON object with the `config` of the
sandbox and its `root`, and the three standard streams. The answer brings a pidfd of the launcher. When there are no
more requests the zygote waits for all sandboxes to end, and ends.
"""

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from harness import backends, host
from harness.outer import remove_root
from harness.runtime import launch
from harness.runtime.config import Config, read
from harness.runtime.errors import IsoproofError
from harness.runtime.step import CHANNEL, Plan
from harness.runtime.syscalls import PR, libc

LONGEST = 1 << 20  # bytes of a request


def main() -> None:
    """Answer requests until there are no more, or whoever makes them is gone; then wait for what has been launched."""
    libc.prctl(PR.SET_PDEATHSIG.value, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    for name in backends.names():
        backends.load(name)  # in its own module each, which no copy should have to load
    gc.freeze()  # what a collection writes to would be copied in every copy
    with socket.socket(fileno=0) as requests:
        while True:
            message, streams, _flags, _address = socket.recv_fds(requests, LONGEST, 3)
            if not message:
                break
            _reap(os.WNOHANG)
            launcher = os.fork()
            if launcher == 0:
                _be_the_launcher(json.loads(message), streams)
            pidfd = os.pidfd_open(launcher)  # a child that has not been reaped, so the number is still its own
            socket.send_fds(requests, [b"."], [pidfd])
            for descriptor in (pidfd, *streams):
                os.close(descriptor)
        _reap(0)


def _reap(options: int) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _be_the_launcher(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Launch a sandbox, and undo everything and remove its root when it has ended, or this process is told to end it.

    Told so, it tells the host role. Before that can be heard, and while everything is undone, there is nothing to tell:
    a signal must not come between a deed and its undoing, and the host role ends by itself when nobody makes requests.
    """
    root = Path(request["root"])
    try:
        zygote = os.getppid()
        os.setsid()
        for handled in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(handled, lambda *_: None)  # no SIG_IGN, which copies would inherit
        libc.prctl(PR.SET_PDEATHSIG.value, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        if os.getppid() == zygote:  # else it died before we asked to be told
            config = read(request["config"])
            launch.run(config, root, (0, 1, 2), alter=partial(_with_host_role, config), pass_signals=True)
    except IsoproofError as error:
        print(error, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        remove_root(root)
        os._exit(0)


def _with_host_role(config: Config, plan: Plan) -> Plan:
    """Return the plan of a sandbox whose first process plays the host where others execute a program."""
    return replace(plan, shim=partial(_be_the_host, host.main, config["process"]["env"]))


def _be_the_host(role: Callable[[], None], environment: list[str]) -> NoReturn:
    """Be to this process what execve(2) would have been to a program, and play the role to its end."""
    try:
        os.close(CHANNEL)
        libc.prctl(PR.SET_DUMPABLE.value, ctypes.c_ulong(1), 0, 0, 0)
        os.environ.clear()
        for variable in environment:
            name, _, os.environ[name] = variable.partition("=")
        role()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
