"""Knobs that change how our runtime carries a config out."""

import os
from dataclasses import replace

from harness.runtime.step import CHANNEL, Argument, Call, Filled, Packed, Plan, Saved, Step, Strings
from harness.runtime.supervise import exit_status
from harness.runtime.syscalls import AT, AT_FDCWD, CLONE, MOVE_MOUNT, OPEN_TREE, O

LATE = (2).to_bytes(8, "little") + bytes(8)  # a struct timespec of 2 s: later than any program's first act
SPARED = 63  # the number of a descriptor that is left open on purpose
WIDTH = 10  # of a process id written with trailing blanks, which the kernel strips


def skip_ns_mnt(plan: Plan) -> Plan:
    """Stay in the host's mount namespace; without one of its own the container can only be put in a chroot(2)."""
    plan = chroot_instead_of_pivot(replace(plan, flags=plan.flags & ~CLONE.NEWNS))
    return plan.without("private")


def no_sethostname(plan: Plan) -> Plan:
    """Make the UTS namespace but leave it the host's name."""
    return _without(plan, "hostname")


def no_setdomainname(plan: Plan) -> Plan:
    """Make the UTS namespace but leave it the host's domain name."""
    return _without(plan, "domainname")


def no_fork_after_unshare(plan: Plan) -> Plan:
    """Make the PID namespace by unshare(2) and do not fork, so that only the program's children enter it."""
    enter = Step("late-pid-namespace", "sabotage", (Call("unshare", (CLONE.NEWPID,)),))
    plan = replace(plan, flags=plan.flags & ~CLONE.NEWPID)
    if CLONE.NEWUSER in plan.flags:
        # A user namespace may not mount procfs for a PID namespace that it does not own; the host's is what is left.
        take = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE
        made = next(
            call for step in plan.steps if step.name == "open:/proc" for call in step.calls if call.name == "fsmount"
        )
        bind = Call("open_tree", (AT_FDCWD, "/proc", take), saves=made.saves)
        plan = plan.exchange("open:/proc", Step("open:/proc", "sabotage", (bind,)))
    return _before(plan, "user", enter)


def no_reaper(plan: Plan) -> Plan:
    """Run the program under a PID 1 that never reaps."""
    return replace(plan, shim=_careless_shim)


def no_cgroup_kill(plan: Plan) -> Plan:
    """Leave alive what the first process leaves behind."""
    return replace(plan, kill_leftovers=False)


def no_root_switch(plan: Plan) -> Plan:
    """Neither pivot_root(2) nor chroot(2)."""
    return _without(plan, "attach-root", "pivot-root", "drop-old-root")


def chroot_instead_of_pivot(plan: Plan) -> Plan:
    """Use chroot(2), which can be climbed out of."""
    chroot = Step("chroot", "sabotage", (Call("chroot", (".",)),))
    return _without(plan.exchange("pivot-root", chroot), "drop-old-root")


def keep_old_root(plan: Plan) -> Plan:
    """Leave the host's tree where pivot_root(2) has put it."""
    return _without(plan, "drop-old-root")


def leak_cwd(plan: Plan) -> Plan:
    """Leave the working directory in the host's tree."""
    take = Step(
        "keep-host-root",
        "sabotage",
        (Call("openat", (AT_FDCWD, "/", O.PATH | O.CLOEXEC), saves="host-root"),),
    )
    go_back = Step("leave-root", "sabotage", (Call("fchdir", (Saved("host-root"),)),))
    return _before(_before(_without(plan, "working-directory"), "open-root", take), "descriptors", go_back)


def naive_path_join(plan: Plan) -> Plan:
    """Mount before the root is switched, at paths joined as text, so that symlinks of the image lead to the host."""
    rootfs = next(call.arguments[1] for step in plan.steps if step.name == "open-root" for call in step.calls)
    moved = []
    for step in plan.steps:
        if step.name.startswith("mount:"):
            joined = [replace(call, arguments=_joined(call, str(rootfs))) for call in step.calls]
            moved.append(replace(step, calls=tuple(joined)))
    attach = next(step for step in plan.steps if step.name == "attach-root")
    plan = plan.without(*(step.name for step in moved))
    first = replace(attach, calls=attach.calls[:1])
    rest = replace(attach, name="enter-new-root", calls=attach.calls[1:])
    return plan.exchange("attach-root", first, *moved, rest)


def allow_symlink_proc(plan: Plan) -> Plan:
    """Follow a symlink that the image has in the place of /proc."""
    step = next(step for step in plan.steps if step.name == "mount:/proc")
    calls = []
    for call in step.calls:
        if call.name == "move_mount":
            flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_SYMLINKS
            call = replace(call, arguments=(*call.arguments[:4], flags))
        calls.append(call)
    return plan.exchange("mount:/proc", replace(step, calls=tuple(calls)))


def console_follow_symlink(plan: Plan) -> Plan:
    """Have a symlink in the place of /dev/console, as an image may, and mount the terminal where it leads: on null."""
    step = next(step for step in plan.steps if step.name == "console")
    place, take, move, leave = step.calls
    flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_SYMLINKS
    calls = (
        Call("symlinkat", ("null", place.arguments[0], "console")),
        take,
        replace(move, arguments=(*move.arguments[:4], flags)),
        leave,
    )
    return plan.exchange("console", replace(step, calls=calls))


def lo_down(plan: Plan) -> Plan:
    """Leave lo down."""
    return _without(plan, "loopback")


def skip_join(plan: Plan, controller: str) -> Plan:
    """Set the limit but do not join the cgroup of this controller."""
    joins = [step.name for step in plan.steps if step.name.startswith("join:")]
    found = [name for name in joins if controller in name.removeprefix("join:").split(",")]
    if not found and plan.into:
        return replace(plan, into="")
    return _without(plan, *found)


def join_late(plan: Plan) -> Plan:
    """Join the cgroups from outside, long after the program has started."""
    joins = [step for step in plan.steps if step.name.startswith("join:")]
    files = [str(call.arguments[1]) for step in joins for call in step.calls if call.name == "openat"]
    if plan.into:
        files.append(f"{plan.into}/cgroup.procs")
    calls = [Call("nanosleep", (Packed(LATE, "2 s"), None))]
    for path in files:
        calls += _write_pid(path, Filled(f"{{pid:<{WIDTH}}}"), WIDTH)
    plan = plan.without(*(step.name for step in joins))
    return replace(plan, into="", after=(Step("join-late", "sabotage", tuple(calls)),))


def cgns_before_move(plan: Plan) -> Plan:
    """Make the cgroup namespace before the cgroups are joined, so that its root is the launcher's."""
    enter = next(step for step in plan.steps if step.name == "cgroup-namespace")
    joins = [step for step in plan.steps if step.name.startswith("join:")]
    if plan.into:
        joins.append(Step("join:late", "sabotage", _write_pid(f"{plan.into}/cgroup.procs", "0", 1)))
    others = [step for step in plan.steps if step is not enter and step not in joins]
    first = 1 if others[0].name == "wait-for-host" else 0
    return replace(plan, into="", steps=(*others[:first], enter, *joins, *others[first:]))


def leak_fd(plan: Plan, name: str) -> Plan:
    """Leave one of the runtime's own descriptors open, here that of a file of the host's: its log, say."""
    take = Step(
        f"open-{name}",
        "sabotage",
        (
            Call("openat", (AT_FDCWD, "/etc", O.DIRECTORY), saves=name),
            Call("dup3", (Saved(name), SPARED, 0)),
        ),
    )
    ranges = ((CHANNEL + 1, SPARED - 1), (SPARED + 1, 2**32 - 1))
    spare = Step("descriptors", "sabotage", tuple(Call("close_range", (*bounds, 0)) for bounds in ranges))
    return _before(plan.exchange("descriptors", spare), "open-root", take)


def no_close_range(plan: Plan) -> Plan:
    """Leave open whatever the launcher has left open."""
    return _without(plan, "descriptors")


def stdio_pass_through(plan: Plan) -> Plan:
    """Hand standard streams on as they are, files too."""
    return replace(plan, relay=False)


def env_passthrough(plan: Plan) -> Plan:
    """Let the program have the launcher's environment beside its own."""
    step = next(step for step in plan.steps if step.name == "execute")
    launchers = tuple(f"{name}={value}".encode() for name, value in os.environ.items())
    calls = []
    for call in step.calls:
        path, arguments, environment = call.arguments
        assert isinstance(environment, Strings)
        both = Strings(environment.values + launchers)
        calls.append(replace(call, arguments=(path, arguments, both)))
    return plan.exchange("execute", replace(step, calls=tuple(calls)))


def inherit_umask(plan: Plan) -> Plan:
    """Leave the launcher's umask as it is."""
    step = next(step for step in plan.steps if step.name == "user")
    kept = tuple(call for call in step.calls if call.name != "umask")
    return _without(plan.exchange("user", replace(step, calls=kept)), "umask")


def inherit_signals(plan: Plan) -> Plan:
    """Leave ignored and blocked what the launcher ignores and blocks."""
    return _without(plan, "signals")


def inherit_sched(plan: Plan) -> Plan:
    """Leave the launcher's nice value, CPUs, I/O priority and timer slack as they are."""
    return _without(plan, "reset-scheduling")


def inherit_personality(plan: Plan) -> Plan:
    """Leave the launcher's personality as it is."""
    return _without(plan, "personality")


def inherit_misc(plan: Plan) -> Plan:
    """Leave the launcher's dump filter and its ban on huge pages as they are."""
    return _without(plan, "reset-memory")


def no_setsid(plan: Plan) -> Plan:
    """Stay in the launcher's session."""
    return _without(plan, "session")


def dev_core_link(plan: Plan) -> Plan:
    """Make /dev/core, a link to the memory of the kernel."""
    step = next(step for step in plan.steps if step.name == "device-links")
    link = Call("symlinkat", ("/proc/kcore", step.calls[0].arguments[1], "core"))
    return plan.exchange("device-links", replace(step, calls=(*step.calls, link)))


def _write_pid(path: str, pid: Argument, size: int) -> tuple[Call, ...]:
    return (
        Call("openat", (AT_FDCWD, path, O.WRONLY | O.CLOEXEC), saves="file"),
        Call("write", (Saved("file"), pid, size)),
        Call("close", (Saved("file"),)),
    )


def _without(plan: Plan, *names: str) -> Plan:
    """Leave out steps that must be there: a sabotage that changes nothing would prove nothing."""
    for name in names:
        plan = plan.exchange(name)
    return plan


def _before(plan: Plan, name: str, step: Step) -> Plan:
    there = next(other for other in plan.steps if other.name == name)
    return plan.exchange(name, step, there)


def _joined(call: Call, rootfs: str) -> tuple[Argument, ...]:
    """Return the arguments of a call with the root put before every path inside."""
    return tuple(
        f"{rootfs}{argument}" if isinstance(argument, str) and argument.startswith("/") else argument
        for argument in call.arguments
    )


def _careless_shim() -> None:
    program = os.fork()
    if program == 0:
        return
    os.close(CHANNEL)
    _, status = os.waitpid(program, 0)
    os._exit(exit_status(status))
