"""The filter of system calls in LXC's own words: version 2 of the file in lxc.container.conf(5)."""

from collections.abc import Iterator
from errno import EPERM

from harness.backends import Config

ACTIONS = {"SCMP_ACT_ALLOW": "allow", "SCMP_ACT_TRAP": "trap", "SCMP_ACT_LOG": "log", "SCMP_ACT_KILL": "kill"}


def profile(seccomp: Config) -> str:
    """Return the text of the file.

    Its rules hold for all architectures of the machine: LXC lets calls of one that is not named pass.
    """
    default = _action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet", EPERM))
    lines = ["2", "denylist" if default == "allow" else f"allowlist {default}", "[all]"]
    for rule in seccomp.get("syscalls", []):
        action = _action(rule["action"], rule.get("errnoRet", EPERM))
        if action != default:  # libseccomp takes a rule that says the same for a mistake
            conditions = "".join(f" {_condition(argument)}" for argument in rule.get("args", []))
            lines += [f"{name} {action}{conditions}" for name in rule["names"]]
    return "".join(f"{line}\n" for line in lines)


def inexpressible(seccomp: Config) -> Iterator[str]:
    """Yield what of a filter cannot be said in that file."""
    actions = {seccomp["defaultAction"], *(rule["action"] for rule in seccomp.get("syscalls", []))}
    yield from (f"linux.seccomp with {action}" for action in sorted(actions) if not _action(action, EPERM))
    if seccomp.get("flags"):
        yield "linux.seccomp.flags"


def _action(action: str, errno: int) -> str:
    return f"errno {errno}" if action == "SCMP_ACT_ERRNO" else ACTIONS.get(action, "")


def _condition(argument: Config) -> str:
    """Return a condition: index, value, operator; and last the mask, which is what the config calls value."""
    if argument["op"] == "SCMP_CMP_MASKED_EQ":
        return f"[{argument['index']},{argument.get('valueTwo', 0)},SCMP_CMP_MASKED_EQ,{argument['value']}]"
    return f"[{argument['index']},{argument['value']},{argument['op']}]"
