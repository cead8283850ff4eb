"""Knobs for namespaces, names and the first process."""

import os
from dataclasses import replace
from typing import NoReturn

from harness.runtime.signals import exit_status
from harness.runtime.step import CHANNEL, Call, Plan, Step
from harness.runtime.syscalls import AT, AT_FDCWD, CLONE, OPEN_TREE
from harness.sabotage.editing import before, make_calls, without
from harness.sabotage.in_plan.roots import chroot_instead_of_pivot


def skip_ns_mnt(plan: Plan) -> Plan:
    """Stay in the host's mount namespace; without one of its own the container can only be put in a chroot(2)."""
    plan = chroot_instead_of_pivot(replace(plan, flags=plan.flags & ~CLONE.NEWNS))
    return plan.without("private")


def wrong_ns_order(plan: Plan) -> Plan:
    """Make the UTS namespace, and name it, before the user namespace, so that the host's owns it."""
    name = next(step for step in plan.steps if step.name == "hostname")
    make = Step("early-uts-namespace", "sabotage", (Call("unshare", (CLONE.NEWUTS,)),))
    return replace(without(plan, "hostname"), flags=plan.flags & ~CLONE.NEWUTS, enter=(*plan.enter, make, name))


def no_sethostname(plan: Plan) -> Plan:
    """Make the UTS namespace but leave it the host's name."""
    return without(plan, "hostname")


def no_setdomainname(plan: Plan) -> Plan:
    """Make the UTS namespace but leave it the host's domain name."""
    return without(plan, "domainname")


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
    return before(plan, "user", enter)


def careless_init(plan: Plan) -> Plan:
    """Run the program under a PID 1 that never reaps, and that shows what the launcher was started with."""

    def shim() -> None:
        program = os.fork()
        if program:
            _wait_for(program)

    return replace(plan, shim=shim)


def init_outside_mntns(plan: Plan) -> Plan:
    """Leave PID 1 in the host's mount namespace, with the rights of the program, and make one for the program alone."""
    at = next(index for index, step in enumerate(plan.steps) if step.name == "open-root")
    *later, execute = plan.steps[at:]

    def shim() -> None:
        program = os.fork()
        if program == 0:
            make_calls((Call("unshare", (CLONE.NEWNS,)), *(call for step in later for call in step.calls)))
            return
        make_calls(call for step in later if step.name in ("user", "capabilities") for call in step.calls)
        _wait_for(program)

    return replace(plan, flags=plan.flags & ~CLONE.NEWNS, steps=(*plan.steps[:at], execute), shim=shim)


def no_procfs_check(plan: Plan) -> Plan:
    """Write kernel parameters, and the preference of the out-of-memory killer, by the container's own /proc."""
    late = [step for step in plan.steps if step.name in ("oom-score", "sysctl")]
    plan = without(plan, *(step.name for step in late))
    for step in late:
        plan = before(plan, "enter-dev", step)
    return plan


def lo_down(plan: Plan) -> Plan:
    """Leave lo down."""
    return without(plan, "loopback")


def _wait_for(program: int) -> NoReturn:
    """Do what a PID 1 must do that never reaps."""
    os.close(CHANNEL)
    _, status = os.waitpid(program, 0)
    os._exit(exit_status(status))
