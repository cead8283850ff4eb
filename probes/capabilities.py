"""The capability sets of the first process and of its child, and whether execve(2) may add to them."""

from __future__ import annotations

import _kernel

PR_CAPBSET_READ = 23
HIGHEST = 63  # that a set has room for

# In the order of their numbers, from 0: include/uapi/linux/capability.h
NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
    "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
SETS = {
    "CapBnd": "bounding",
    "CapEff": "effective",
    "CapPrm": "permitted",
    "CapInh": "inheritable",
    "CapAmb": "ambient",
}


def observe() -> dict[str, object]:
    """Report `first` and `child`: each set by the config's name of it, and `no_new_privileges`.

    Names are in the order of their numbers; a number without a name here stands for itself. `bounding_by_prctl` is
    the child's bounding set as prctl(2) tells it, number by number, and `last` the highest that the kernel knows.
    """
    return {
        "first": _of("1"),
        "child": _of("self"),
        "bounding_by_prctl": _names(sum(1 << number for number in range(HIGHEST + 1) if _is_bounding(number))),
        "last": int(_kernel.read_text("/proc/sys/kernel/cap_last_cap") or -1),
    }


def _of(process: str) -> dict[str, object]:
    fields = _kernel.parse_status(_kernel.read_text(f"/proc/{process}/status"))
    facts: dict[str, object] = {kind: _names(int(fields[field], 16)) for field, kind in SETS.items()}
    facts["no_new_privileges"] = int(fields["NoNewPrivs"])
    return facts


def _names(mask: int) -> list[str]:
    """The capabilities of a mask, in the order of their numbers."""
    return [
        f"CAP_{NAMES[number]}" if number < len(NAMES) else str(number)
        for number in range(HIGHEST + 1)
        if mask >> number & 1
    ]


def _is_bounding(number: int) -> bool:
    """Whether a number is in the bounding set; EINVAL is the answer for one that the kernel does not know."""
    return _kernel.attempt_syscall("prctl", PR_CAPBSET_READ, number, 0, 0, 0).get("result") == 1
