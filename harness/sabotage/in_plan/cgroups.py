"""Knobs for control groups, and for what is left in the end."""

import errno
import os
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness.runtime import folders, members
from harness.runtime.step import Call, Filled, Packed, Plan, Record, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, MS
from harness.sabotage.editing import WIDTH, rootfs_of, without, write_pid

LATEST = (20).to_bytes(8, "little") + bytes(8)  # a struct timespec: longer than any program of a check lives
POLLIN = 1


def skip_join(plan: Plan, controller: str) -> Plan:
    """Set the limit but do not join the cgroup of this controller."""
    joins = [step.name for step in plan.steps if step.name.startswith("join:")]
    found = [name for name in joins if controller in name.removeprefix("join:").split(",")]
    if not found and plan.into:
        return replace(plan, into="")
    return without(plan, *found)


def join_late(plan: Plan) -> Plan:
    """Join the cgroups from outside, when the program has done all that it does: at its end, or after 20 seconds."""
    joins = [step for step in plan.steps if step.name.startswith("join:")]
    files = [str(call.arguments[1]) for step in joins for call in step.calls if call.name == "openat"]
    if plan.into:
        files.append(f"{plan.into}/cgroup.procs")
    if not files:
        raise ValueError("no cgroup is joined")
    ended = Record((("i", Saved("program")), ("H", POLLIN), ("2x", None)))  # a struct pollfd: poll(2)
    calls = [
        Call("pidfd_open", (Saved("pid"), 0), saves="program"),
        Call("ppoll", (ended, 1, Packed(LATEST, "20 s"), None, 0)),
        Call("close", (Saved("program"),)),
    ]
    for path in files:
        calls += write_pid(path, Filled(f"{{pid:<{WIDTH}}}"), WIDTH, errno.ESRCH)
    plan = plan.without(*(step.name for step in joins))
    return replace(plan, into="", after=(Step("join-late", "sabotage", tuple(calls)),))


def cgns_before_move(plan: Plan) -> Plan:
    """Make the cgroup namespace before the cgroups are joined, so that its root is the launcher's."""
    enter = next(step for step in plan.steps if step.name == "cgroup-namespace")
    joins = [step for step in plan.steps if step.name.startswith("join:")]
    if plan.into:
        joins.append(Step("join:late", "sabotage", write_pid(f"{plan.into}/cgroup.procs", "0", 1)))
    others = [step for step in plan.steps if step is not enter and step not in joins]
    first = next((at for at, step in enumerate(others, 1) if step.name == "wait-for-host"), 0)
    return replace(plan, into="", steps=(*others[:first], enter, *joins, *others[first:]))


def no_cgroup_kill(plan: Plan) -> Plan:
    """Leave alive what the first process leaves behind."""
    return replace(plan, kill=lambda cgroup, others: True)


def kill_without_thaw(plan: Plan) -> Plan:
    """Kill what the first process leaves behind, and let what is frozen be; only the freezer's cgroup is taken away."""

    def kill(cgroup: Path, others: Iterable[Path]) -> bool:
        for pid in members.processes(cgroup):
            os.kill(pid, signal.SIGKILL)
        return True

    # Each that is left would be waited for until the kernel might have let it go.
    before = tuple(step if "freezer" in step.name else replace(step, undo=()) for step in plan.before)
    return replace(plan, kill=kill, before=before)


def state_dir_mode(plan: Plan, mode: str) -> Plan:
    """Give the folder in which the runtime keeps its records another mode."""
    calls = [
        Call("fchmodat", (AT_FDCWD, folder, int(mode, 8)), (errno.ENOENT, errno.EROFS)) for folder in folders.folders()
    ]
    return replace(plan, before=(*plan.before, Step("state-folder", "sabotage", tuple(calls))))


def skip_teardown_mounts(plan: Plan) -> Plan:
    """Leave a mount on the host: the root bound to itself, as many runtimes begin."""
    root = rootfs_of(plan)
    bind = Step("leave-mount", "sabotage", (Call("mount", (root, root, None, MS.BIND, None)),))
    return replace(plan, before=(*plan.before, bind))


def skip_teardown_cgroup(plan: Plan) -> Plan:
    """Leave the cgroups that were made for the container."""
    return replace(plan, before=tuple(replace(step, undo=()) for step in plan.before))


def skip_teardown_state(plan: Plan) -> Plan:
    """Leave a file in the root."""
    path = f"{rootfs_of(plan)}/left-behind"
    leave = Step("leave-file", "sabotage", (Call("mkdirat", (AT_FDCWD, path, 0o755)),))
    return replace(plan, before=(*plan.before, leave))
