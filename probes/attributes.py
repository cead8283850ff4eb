"""Reads what a process has from its parent without asking: limits, scheduling, signals, personality and the rest."""

from __future__ import annotations

import os

import _kernel

PR_GET_DUMPABLE = 3
MOST_NODES = 1024  # that any kernel can have: CONFIG_NODES_SHIFT
# In the order of their numbers: getrlimit(2).
RLIMITS = ("CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME").split()


def observe(pid: int | None = None) -> dict[str, object]:
    """Report the attributes of this process, or on the host those of another one.

    Names follow proc_pid_status(5) and proc_pid_stat(5). A limit is a pair of soft and hard, 2**64 - 1 for none;
    `memory_policy` is the mode with its flags, and the nodes: get_mempolicy(2). `directory` is the working directory.
    What cannot be read is null; these two and `dumpable` are only known of oneself.
    """
    process = "self" if pid is None else str(pid)
    status = _kernel.parse_status(_kernel.read_text(f"/proc/{process}/status"))
    stat = _kernel.stat_fields(process)
    return {
        "umask": int(status["Umask"], 8) if "Umask" in status else None,
        "ignored": _signals(status, "SigIgn"),
        "blocked": _signals(status, "SigBlk"),
        "pending": _signals(status, "SigPnd") + _signals(status, "ShdPnd"),
        "rlimits": _rlimits(pid or 0),
        "nice": int(stat[16]) if stat else None,
        "policy": int(stat[38]) if stat else None,
        "cpus": sorted(os.sched_getaffinity(pid or 0)),
        "io_priority": _kernel.syscall("ioprio_get", _kernel.IOPRIO_WHO_PROCESS, pid or 0),
        "timer_slack": _number(_kernel.read_text(f"/proc/{process}/timerslack_ns")),
        "personality": _number(_kernel.read_text(f"/proc/{process}/personality"), 16),
        "dump_filter": _number(_kernel.read_text(f"/proc/{process}/coredump_filter"), 16),
        "huge_pages": _number(status.get("THP_enabled", "")),
        "oom_score_adj": _number(_kernel.read_text(f"/proc/{process}/oom_score_adj")),
        "dumpable": _kernel.syscall("prctl", PR_GET_DUMPABLE, 0, 0, 0, 0) if pid is None else None,
        "memory_policy": _memory_policy() if pid is None else None,
        "directory": _directory() if pid is None else None,
        "tracer": _number(status.get("TracerPid", "")),
        "terminal": int(stat[4]) if stat else None,
        "descriptors": sorted(map(int, _kernel.entries(f"/proc/{process}/fd"))),
    }


def _signals(status: dict[str, str], name: str) -> list[str]:
    mask = int(status.get(name, "0"), 16)
    return [_kernel.signal_name(number) for number in range(1, 65) if mask >> (number - 1) & 1]


def _rlimits(pid: int) -> dict[str, list[int]]:
    found = {}
    for number, name in enumerate(RLIMITS):
        pair = bytearray(16)
        _kernel.syscall("prlimit64", pid, number, None, pair)
        found[f"RLIMIT_{name}"] = [int.from_bytes(pair[:8], "little"), int.from_bytes(pair[8:], "little")]
    return found


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _number(text: str, base: int = 10) -> int | None:
    return int(text, base) if text.strip() else None


def _memory_policy() -> list[object] | None:
    mode, nodes = bytearray(4), bytearray(MOST_NODES // 8)
    if _kernel.attempt_syscall("get_mempolicy", mode, nodes, MOST_NODES, None, 0)["errno"] is not None:
        return None
    mask = int.from_bytes(nodes, "little")
    return [int.from_bytes(mode, "little"), [node for node in range(MOST_NODES) if mask >> node & 1]]
