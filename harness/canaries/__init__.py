"""Bait on the host: a process, a file, a socket, a cgroup … that a container must not reach.

A claim of absence proves something only if the thing is really there. So the host role places a canary,
the host's own probe finds it, and the probe inside does not. Afterwards the canary tells what happened to
it: which signals arrived, who connected, what was written.

One class per kind; the kind is the class's name in lower case, words joined by hyphens (`MemoryNest` is
`memory-nest`); the modules here sort them by what they are. Everything here runs in the host role, inside
the outer sandbox: standard library only.
"""

import re
import tempfile
from pathlib import Path

from harness.canaries import files, ipc, keys, launcher, processes, sockets
from harness.canaries.base import Canary
from harness.errors import HarnessError

MODULES = (files, ipc, keys, launcher, processes, sockets)


def kinds() -> dict[str, type[Canary]]:
    """Every kind by the name that scenarios use."""
    found = [kind for module in MODULES for kind in vars(module).values() if isinstance(kind, type)]
    return {
        re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind
        for kind in found
        if issubclass(kind, Canary) and kind is not Canary
    }


def place(kind: str, arguments: dict[str, object], workdir: str | Path, nonce: str) -> Canary:
    """Places a canary of `kind` in a directory of its own below `workdir`.

    `nonce` is the launch's, by which the container's processes are known. Raises HarnessError if it
    cannot be placed.
    """
    if kind not in kinds():
        raise HarnessError(f"place canary {kind}: no such kind; there are {', '.join(sorted(kinds()))}")
    directory = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=workdir))
    directory.chmod(0o755)
    canary = kinds()[kind](directory, nonce)
    try:
        canary.place(**arguments)
    except BaseException as failure:
        canary.close()
        if isinstance(failure, (OSError, TypeError)):
            raise HarnessError(f"place canary {kind}: {failure}") from failure
        raise
    return canary
