"""Knobs for what the program inherits, and for its rights."""

import os
from dataclasses import replace

from harness.runtime.step import CHANNEL, Call, Plan, Saved, Step, Strings
from harness.runtime.syscalls import AT_FDCWD, O
from harness.sabotage.editing import before, rootfs_of, without

SPARED = 7  # the number of a descriptor that is left open on purpose; CVE-2024-21626 had this one


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
    return before(plan.exchange("descriptors", spare), "open-root", take)


def no_close_range(plan: Plan) -> Plan:
    """Leave open whatever the launcher has left open."""
    return without(plan, "descriptors")


def stdio_pass_through(plan: Plan) -> Plan:
    """Hand standard streams on as they are, files too."""
    return replace(plan, relay=False)


def open_stdio_late_by_path(plan: Plan) -> Plan:
    """Open standard error anew, by the path that it has below the root, while that is still the image's."""
    path = f"{rootfs_of(plan)}/proc/self/fd/2"
    calls = (
        Call("openat", (AT_FDCWD, path, O.WRONLY | O.CLOEXEC), saves="stderr"),
        Call("dup3", (Saved("stderr"), 2, 0)),
    )
    return before(plan, "open-root", Step("open-stderr", "sabotage", calls))


def no_exe_clone(plan: Plan) -> Plan:
    """Execute the program whatever it is, the launcher's own executable too."""
    # Nobody looks at what has been started in the place of a shim.
    return replace(without(plan, "program"), shim=lambda: None)


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
    """Leave the program the launcher's umask; what the runtime itself makes has the modes that were asked for."""
    clear = next(step for step in plan.steps if step.name == "umask")
    user = next(step for step in plan.steps if step.name == "user")
    saved = tuple(replace(call, saves="launchers-umask") for call in clear.calls)
    restore = Call("umask", (Saved("launchers-umask"),))
    calls = tuple(restore if call.name == "umask" else call for call in user.calls)
    return plan.exchange("umask", replace(clear, calls=saved)).exchange("user", replace(user, calls=calls))


def inherit_signals(plan: Plan) -> Plan:
    """Leave ignored and blocked what the launcher ignores and blocks."""
    return without(plan, "signals")


def inherit_sched(plan: Plan) -> Plan:
    """Leave the launcher's nice value, CPUs, I/O priority and timer slack as they are."""
    return without(plan, "reset-scheduling")


def inherit_personality(plan: Plan) -> Plan:
    """Leave the launcher's personality as it is."""
    return without(plan, "personality")


def inherit_misc(plan: Plan) -> Plan:
    """Leave the launcher's dump filter and its ban on huge pages as they are."""
    return without(plan, "reset-memory")


def skip_join_session(plan: Plan) -> Plan:
    """Stay in the launcher's session keyring."""
    return without(plan, "session-keyring")


def no_pdeathsig(plan: Plan) -> Plan:
    """Do not ask the kernel to kill the container when its launcher dies."""
    return without(plan, "early-parent-death", "parent-death")


def dumpable_init(plan: Plan) -> Plan:
    """Let the first process be traced before it has become the program."""
    return without(plan, "hidden")


def no_setsid(plan: Plan) -> Plan:
    """Stay in the launcher's session."""
    return without(plan, "session")


def skip_setgroups(plan: Plan) -> Plan:
    """Leave the program the launcher's supplementary groups."""
    user = next(step for step in plan.steps if step.name == "user")
    calls = tuple(call for call in user.calls if call.name != "setgroups")
    return plan.exchange("user", replace(user, calls=calls))


def keep_caps(plan: Plan) -> Plan:
    """Leave the program whatever capabilities its launcher has."""
    return without(plan, "bounding-set", "capabilities")


def drop_only_known(plan: Plan, last: str) -> Plan:
    """Drop from the bounding set no capability beyond this number, as one that was written for an old kernel."""
    step = next(step for step in plan.steps if step.name == "bounding-set")
    known = tuple(call for call in step.calls if isinstance(call.arguments[1], int) and call.arguments[1] <= int(last))
    return plan.exchange(step.name, replace(step, calls=known))
