"""What a process has from its parent without asking: scheduling, personality, keyring, flags of its memory.

All of it outlives clone(2) and execve(2), so without these steps a container would run as whoever started it happened
to: niced, pinned to one CPU, without address space randomization. The defaults are the kernel's for a process that
nobody has touched. One attribute needs no step: execve(2) makes every program dumpable that its user may read, whatever
the launcher was (PR_SET_DUMPABLE).

Two things an ordinary user may not take back, and there the container keeps them: a nice value that was raised, and
SCHED_IDLE (sched(7), RLIMIT_NICE). Both make it slower and give it nothing. Nor may root in a user namespace, but its
launcher can from outside.
"""

import errno
import struct
import sys

from harness.runtime import idmap, supervise
from harness.runtime.config import Config, joined
from harness.runtime.errors import ConfigError
from harness.runtime.fields import MEMORY_POLICIES, MEMORY_POLICY_FLAGS
from harness.runtime.step import Call, Host, Packed, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, IO_CLASSES, PERSONALITIES, PR, SCHEDULER_FLAGS, SCHEDULERS, O

DEFAULT_DUMP_FILTER = "0x33"  # anonymous and huge private memory, and ELF headers: core(5)
DEFAULT_TIMER_SLACK = 50_000  # nanoseconds; 0 would not do, it stands for what the launcher had: prctl(2)
ALL_CPUS = b"\xff" * 1024  # as many as any kernel can have (NR_CPUS); the kernel leaves out those that are not allowed
PRIO_PROCESS = 0
IOPRIO_WHO_PROCESS = 1
IOPRIO_CLASS_SHIFT = 13
KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_CHOWN = 1, 4


def reset_memory(config: Config) -> Step:
    """Take back the flags that a new address space gets from its parent's.

    Whoever joins a user namespace hides from those inside (prctl(2), PR_SET_DUMPABLE), and is then denied his own files
    in /proc himself; there the dump filter stays as it was inherited.
    """
    opened = Saved("file")
    hidden = "user" in joined(config)
    denied, unopened = ((errno.EACCES,), (errno.EBADF,)) if hidden else ((), ())
    calls = (
        Call("openat", (AT_FDCWD, "/proc/self/coredump_filter", O.WRONLY | O.CLOEXEC), denied, saves="file"),
        Call("write", (opened, DEFAULT_DUMP_FILTER, len(DEFAULT_DUMP_FILTER)), unopened),
        Call("close", (opened,), unopened),
        Call("prctl", (PR.SET_THP_DISABLE, 0, 0, 0, 0)),
    )
    return Step("reset-memory", "the dump filter and the ban on huge pages outlive execve(2): core(5), prctl(2)", calls)


def reset_scheduling() -> Step:
    """Take back everything that makes the launcher run sooner, later or elsewhere than others."""
    calls = (
        *_like_any_other(0),
        Call("sched_setaffinity", (0, len(ALL_CPUS), Packed(ALL_CPUS, "every CPU"))),
        Call("ioprio_set", (IOPRIO_WHO_PROCESS, 0, 0)),
        Call("prctl", (PR.SET_TIMERSLACK, DEFAULT_TIMER_SLACK, 0, 0, 0)),
    )
    return Step("reset-scheduling", "the launcher's nice value, CPUs and slack are inherited: sched(7)", calls)


def reset_priority(config: Config, host: Host) -> list[Step]:
    """Take back from outside what nobody in a user namespace may: a nice value that was raised, and SCHED_IDLE."""
    if not idmap.launcher_may_more(config, host):
        return []
    why = "the child may not lower its nice value: CAP_SYS_NICE counts in the first user namespace only: sched(7)"
    return [Step("reset-priority", why, _like_any_other(Saved("pid")))]


def _like_any_other(pid: int | Saved) -> tuple[Call, ...]:
    priority = Packed(bytes(4), "priority=0")
    return (
        Call("sched_setscheduler", (pid, SCHEDULERS["SCHED_OTHER"], priority), (errno.EPERM,)),
        Call("setpriority", (PRIO_PROCESS, pid, 0), (errno.EACCES, errno.EPERM)),
    )


def set_personality(config: Config) -> Step:
    """Take the execution domain of the config, or Linux's, and none of the flags that the launcher may have."""
    wanted = config.get("linux", {}).get("personality", {})
    calls = (Call("personality", (PERSONALITIES[wanted.get("domain", "LINUX")],)),)
    return Step("personality", "or the launcher's could switch off address space randomization: personality(2)", calls)


def set_memory_policy(config: Config) -> list[Step]:
    """Set the NUMA policy of the config, which execve(2) keeps."""
    wanted = config.get("linux", {}).get("memoryPolicy")
    if wanted is None:
        return []
    mode = MEMORY_POLICIES.index(wanted["mode"]) | sum(MEMORY_POLICY_FLAGS[name] for name in wanted.get("flags", []))
    nodes = 0
    for part in wanted.get("nodes", "").split(","):
        first, _, last = part.partition("-")
        for node in range(int(first), int(last or first) + 1) if part else ():
            nodes |= 1 << node
    words = -(-nodes.bit_length() // 64)
    mask = Packed(nodes.to_bytes(words * 8, sys.byteorder), wanted.get("nodes", ""))
    # The kernel takes one bit less than it is told.
    calls = (Call("set_mempolicy", (mode, mask if nodes else None, words * 64 + 1 if nodes else 0)),)
    return [Step("memory-policy", "inherited from the launcher otherwise: set_mempolicy(2)", calls)]


def set_scheduler(config: Config) -> list[Step]:
    """Set the scheduling policy of the config.

    Raises ConfigError for a value that its policy does not know, which the kernel would refuse or leave out of account.
    """
    wanted = config["process"].get("scheduler")
    if wanted is None:
        return []
    _check(wanted, config)
    flags = sum(SCHEDULER_FLAGS[name] for name in wanted.get("flags", []))
    nice, priority = wanted.get("nice", 0), wanted.get("priority", 0)
    times = [wanted.get(name, 0) for name in ("runtime", "deadline", "period")]
    value = struct.pack("=IIQiI3Q", 48, SCHEDULERS[wanted["policy"]], flags, nice, priority, *times)
    shown = ", ".join(f"{name}={wanted[name]}" for name in wanted if name != "flags")
    calls = (Call("sched_setattr", (0, Packed(value, f"{shown}, flags={flags:#x}"), 0)),)
    return [Step("scheduler", "while CAP_SYS_NICE is still there: sched(7)", calls)]


# Which values a policy has, next to the flags: sched(7).
VALUES = {
    "SCHED_OTHER": {"nice"},
    "SCHED_BATCH": {"nice"},
    "SCHED_IDLE": set[str](),
    "SCHED_FIFO": {"priority"},
    "SCHED_RR": {"priority"},
    "SCHED_DEADLINE": {"runtime", "deadline", "period"},
}


def _check(wanted: Config, config: Config) -> None:
    where = "config.json: process.scheduler"
    policy = wanted["policy"]
    for name in ("nice", "priority", "runtime", "deadline", "period"):
        if wanted.get(name) and name not in VALUES[policy]:
            raise ConfigError(f"{where}.{name}: {policy} has none")
    if "priority" in VALUES[policy] and not wanted.get("priority"):
        raise ConfigError(f"{where}.priority: {policy} needs one, from 1 to 99")
    if "runtime" in VALUES[policy]:
        runtime, deadline = wanted.get("runtime", 0), wanted.get("deadline", 0)
        if not 1024 <= runtime <= deadline <= (wanted.get("period") or deadline):
            raise ConfigError(f"{where}: {policy} needs 1024 <= runtime <= deadline <= period")
    if supervise.shim_wanted(config) and (
        policy == "SCHED_DEADLINE" or "SCHED_FLAG_RESET_ON_FORK" in wanted.get("flags", [])
    ):
        raise ConfigError(f"{where}: cannot be handed on to a child, as isoproof.init has to do")


def set_io_priority(config: Config) -> list[Step]:
    """Set the I/O priority of the config."""
    wanted = config["process"].get("ioPriority")
    if wanted is None:
        return []
    value = IO_CLASSES.index(wanted["class"]) << IOPRIO_CLASS_SHIFT | wanted["priority"]
    calls = (Call("ioprio_set", (IOPRIO_WHO_PROCESS, 0, value)),)
    return [Step("io-priority", "while CAP_SYS_NICE is still there, for the real-time class: ioprio_set(2)", calls)]


def join_session_keyring(config: Config) -> Step:
    """Get a new, empty session keyring; through the launcher's its keys could be read and used.

    It is given to the user, whose quota it counts against then; where only the machine's root may do that (EACCES), it
    stays root's, and the user possesses it all the same. A kernel without keys says ENOSYS. EPERM comes from a filter
    around the launcher (Docker's default one); it stays around the container, which then has no keyctl(2) to reach any
    key with, so the start goes on.
    """
    user = config["process"].get("user", {})
    owner = user.get("uid", 0), user.get("gid", 0)
    none = (errno.ENOSYS, errno.EPERM)
    calls = [Call("keyctl", (KEYCTL_JOIN_SESSION_KEYRING, None), none, saves="keyring")]
    if any(owner):
        calls.append(Call("keyctl", (KEYCTL_CHOWN, Saved("keyring"), *owner), (*none, errno.EACCES, errno.EINVAL)))
    return Step("session-keyring", "or the program would possess the launcher's keys: session-keyring(7)", tuple(calls))
