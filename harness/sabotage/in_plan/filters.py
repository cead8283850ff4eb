"""Knobs for how seccomp filters are installed."""

import os
import platform
import threading
from dataclasses import replace

from harness.runtime.seccomp import ARCHITECTURE, ARCHITECTURES, JUMP_EQUAL, LOAD, NATIVE, RETURN, pack
from harness.runtime.seccomp_numbers import ACTIONS
from harness.runtime.signals import exit_status
from harness.runtime.step import CHANNEL, Call, Plan, Program, Saved, Step
from harness.runtime.syscalls import SECCOMP, SECCOMP_FILTER_FLAG
from harness.sabotage.editing import before, make_calls, without

ALLOW = ACTIONS["SCMP_ACT_ALLOW"]
LEAKED = 9  # a descriptor that nothing else has


def seccomp_native_arch_only_allow(plan: Plan) -> Plan:
    """Filter the machine's own architecture, and let every other's calls through."""
    step, call, program = _filter(plan)
    foreign = pack(((LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, _audit()), (RETURN, 0, 0, ALLOW)))
    arguments = (*call.arguments[:2], Program(foreign + program.instructions))
    return plan.exchange("seccomp", replace(step, calls=(replace(call, arguments=arguments),)))


def seccomp_one_thread(plan: Plan) -> Plan:
    """Install the filter in another thread than the one that becomes the program, and without TSYNC."""
    _, call, _ = _filter(plan)

    def shim() -> None:
        thread = threading.Thread(target=make_calls, args=((call,),))
        thread.start()
        thread.join()
        if plan.shim:
            plan.shim()

    return replace(without(plan, "seccomp"), shim=shim)


def seccomp_late(plan: Plan) -> Plan:
    """Install the filter in the first process when it has forked the program already."""
    _, call, _ = _filter(plan)

    def shim() -> None:
        program = os.fork()
        if program == 0:
            return
        os.close(CHANNEL)
        make_calls((call,))
        _, status = os.waitpid(program, 0)
        os._exit(exit_status(status))

    return replace(without(plan, "seccomp"), shim=shim)


def leak_fd_notify(plan: Plan) -> Plan:
    """Leave the listener of a second filter, by which the calls of the program could be answered, open in it."""
    allow = Program(pack(((RETURN, 0, 0, ALLOW),)))
    listen = Call("seccomp", (SECCOMP.SET_MODE_FILTER, SECCOMP_FILTER_FLAG.NEW_LISTENER, allow), saves="listener")
    keep = Call("dup3", (Saved("listener"), LEAKED, 0))  # the kernel makes it close on execve(2), a copy is kept
    return before(plan, "execute", Step("leak-listener", "sabotage", (listen, keep)))


def _filter(plan: Plan) -> tuple[Step, Call, Program]:
    """Return the step that installs the filter, its call, and the program in it."""
    step = next(step for step in plan.steps if step.name == "seccomp")
    (call,) = step.calls
    program = call.arguments[2]
    assert isinstance(program, Program)
    return step, call, program


def _audit() -> int:
    return ARCHITECTURES[NATIVE[platform.machine()]].audit
