"""The processes that /proc shows, and which of them hold a canary's token.

`self` is the probe's own process, `pids` are all numbers in /proc, `names` what they are called.
`holders` are those whose arguments or environment contain `isoproof-canary=TOKEN`: the word before the
token matters, because the bare token stands in the runner's own request.
"""

from __future__ import annotations

import os

import _kernel


def observe(token: str = "") -> dict[str, object]:
    pids = sorted(map(int, _kernel.processes()))
    mark = f"isoproof-canary={token}"
    return {
        "self": os.getpid(),
        "pids": pids,
        "names": {str(pid): _kernel.read_text(f"/proc/{pid}/comm").strip() for pid in pids},
        "holders": [pid for pid in pids if token and mark in _words(pid)],
    }


def _words(pid: int) -> str:
    return _kernel.read_text(f"/proc/{pid}/cmdline") + _kernel.read_text(f"/proc/{pid}/environ")
