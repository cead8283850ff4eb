"""What knobs have in common when they change a plan or a config."""

import os
from collections.abc import Iterable

from harness.runtime.config import Config
from harness.runtime.forked import perform, prepare
from harness.runtime.step import Argument, Call, Plan, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, O

WIDTH = 10  # of a process id written with trailing blanks, which the kernel strips


def write_pid(path: str, pid: Argument, size: int, *allowed: int) -> tuple[Call, ...]:
    return (
        Call("openat", (AT_FDCWD, path, O.WRONLY | O.CLOEXEC), saves="file"),
        Call("write", (Saved("file"), pid, size), allowed),
        Call("close", (Saved("file"),)),
    )


def rootfs_of(plan: Plan) -> str:
    return next(str(call.arguments[1]) for step in plan.steps if step.name == "open-root" for call in step.calls)


def without(plan: Plan, *names: str) -> Plan:
    """Leave out steps that must be there: a sabotage that changes nothing would prove nothing."""
    for name in names:
        plan = plan.exchange(name)
    return plan


def before(plan: Plan, name: str, step: Step) -> Plan:
    there = next(other for other in plan.steps if other.name == name)
    return plan.exchange(name, step, there)


def make_calls(calls: Iterable[Call]) -> None:
    """Make calls now that no step makes; what fails would make the sabotage a lie."""
    results: dict[str, int] = {}
    for call in calls:
        code = perform(prepare(call), results)
        if code and code not in call.allowed:
            raise OSError(code, os.strerror(code), str(call))


def mount_at(config: Config, destination: str) -> Config:
    for mount in config["mounts"]:
        if mount["destination"] == destination:
            found: Config = mount
            return found
    raise ValueError(f"the config has no mount at {destination} to sabotage")


def bind_instead(config: Config, destination: str, source: str, how: str) -> None:
    mount = mount_at(config, destination)
    recursive = "rro" if how == "rbind" else "ro"
    kept = [
        recursive if option == "ro" else option
        for option in mount["options"]
        if "=" not in option and option not in ("relatime", "strictatime", "newinstance")
    ]
    mount.update({"type": "bind", "source": source, "options": [how, "rprivate", *kept]})
