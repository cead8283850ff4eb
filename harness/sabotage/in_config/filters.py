"""Knobs for the seccomp filter."""

import errno

from harness.runtime.config import Config


def skip_seccomp(config: Config) -> None:
    """Install no filter."""
    del config["linux"]["seccomp"]


def seccomp_allow(config: Config, names: str) -> None:
    """Let these system calls through the filter, whatever their arguments."""
    _answer(config, names, {"action": "SCMP_ACT_ALLOW"})


def seccomp_deny(config: Config, names: str) -> None:
    """Have the filter deny these system calls, whatever their arguments."""
    config["linux"].setdefault("seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []})
    _answer(config, names, {"action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM})


def seccomp_allow_but(config: Config, call: str) -> None:
    """Let a call through unless its first argument, all 64 bits of it, is this: `socket@40`."""
    name, _, value = call.partition("@")
    unless = {"index": 0, "value": int(value, 0), "op": "SCMP_CMP_NE"}
    _answer(config, name, {"action": "SCMP_ACT_ALLOW", "args": [unless]})


def seccomp_errno(config: Config, name: str) -> None:
    """Have the filter deny with another errno."""
    for rule in config["linux"]["seccomp"]["syscalls"]:
        if rule["action"] == "SCMP_ACT_ERRNO":
            rule["errnoRet"] = getattr(errno, name)


def seccomp_pretend(config: Config, call: str) -> None:
    """Have a call succeed that is not made, if one of its arguments is this: `waitid@2=0xffff888000000000`."""
    name, _, condition = call.partition("@")
    index, _, value = condition.partition("=")
    when = {"index": int(index), "value": int(value, 0), "op": "SCMP_CMP_EQ"}
    config["linux"].setdefault("seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []})
    _answer(config, name, {"action": "SCMP_ACT_ERRNO", "errnoRet": 0, "args": [when]})


def _answer(config: Config, names: str, answer: Config) -> None:
    section = config["linux"]["seccomp"]
    chosen = names.split(",")
    kept = [rule | {"names": [name for name in rule["names"] if name not in chosen]} for rule in section["syscalls"]]
    # First, for libseccomp takes no rule for all calls of a multiplexer after one for some.
    section["syscalls"] = [{"names": chosen} | answer, *(rule for rule in kept if rule["names"])]
