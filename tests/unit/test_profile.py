"""The usual filter: the verdicts of podman's profile for every call, and stricter only where the data says so."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness.filters import emulate
from harness.runtime.config import CAPABILITIES
from harness.runtime.profile import ALLOWED, CONDITIONAL, DENIED, FAMILY, STRICTER, WITH_CAPABILITY, profile
from harness.runtime.seccomp import ARCHITECTURES, Code, compile_filter
from harness.runtime.seccomp_numbers import ACTIONS, X32_SYSCALL_BIT, numbers

PODMAN = Path("/usr/share/containers/seccomp.json")
# Of the one that Debian 12 has. Later ones name newer calls; what we do not name is compared with this alone.
DEBIAN_12 = "cc374cf23846ce1f62f4dc807a8e2b8673c783c6f56cb475467621035d281e6c"
GO = {"x86_64": "amd64", "aarch64": "arm64"}  # how podman spells a machine
OPENING = {name for group in (*WITH_CAPABILITY, *STRICTER) for name in group.capabilities}
HELD = {
    "none": (),
    "docker": ("CAP_SYS_CHROOT", "CAP_AUDIT_WRITE", "CAP_NET_RAW"),
    "all": CAPABILITIES,
    **{
        name: (name,)
        for name in sorted({name for group in (*WITH_CAPABILITY, *STRICTER) for name in group.capabilities})
    },
    "CAP_AUDIT_WRITE": ("CAP_AUDIT_WRITE",),
}
WORDS = [
    0,
    1,
    2,
    8,
    9,
    16,
    38,
    40,
    0x20008,
    0xFFFFFFFF,
    *(1 << bit for bit in range(7, 64, 4)),
    1 << 32 | 9,
    1 << 32 | 16,
]
ALLOW, ENOSYS = ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_ERRNO"] | 38
EDGES = [999, 0x3FFFFFFF, X32_SYSCALL_BIT + 999, 0xFFFFFFFE]


@pytest.fixture(scope="module")
def podman(missing: Callable[[str], NoReturn]) -> dict[str, Any]:
    if not PODMAN.exists():
        missing(f"{PODMAN} is not there; Debian's package golang-github-containers-common has it")
    found: dict[str, Any] = json.loads(PODMAN.read_text())
    return found


def resolved(template: dict[str, Any], capabilities: Iterable[str], machine: str) -> dict[str, Any]:
    """Return `linux.seccomp` as podman makes it of its profile: containers-common, pkg/seccomp/seccomp_linux.go."""
    held = set(capabilities)
    architectures = next(
        [entry["architecture"], *entry["subArchitectures"]]
        for entry in template["archMap"]
        if entry["architecture"] == f"SCMP_ARCH_{machine.upper()}"
    )
    rules = []
    for entry in template["syscalls"]:
        includes, excludes = entry["includes"], entry["excludes"]
        assert set(includes) | set(excludes) <= {"arches", "caps"}
        if GO[machine] in excludes.get("arches", ()) or held & set(excludes.get("caps", ())):
            continue
        if GO[machine] not in includes.get("arches", [GO[machine]]) or not set(includes.get("caps", ())) <= held:
            continue
        kept = {key: entry[key] for key in ("names", "action", "errnoRet") if key in entry}
        rules.append(kept | {"args": entry["args"] or []})
    defaults = {key: template[key] for key in ("defaultAction", "defaultErrnoRet")}
    return defaults | {"architectures": architectures, "syscalls": rules}


def differing(ours: Code, theirs: Code, machine: str) -> dict[str, list[tuple[int, int]]]:
    """Return the calls for which two filters differ: the name, and each pair of answers."""
    found: dict[str, list[tuple[int, int]]] = {}
    for architecture in FAMILY[machine]:
        audit = ARCHITECTURES[architecture].audit
        for name, number in [*numbers(architecture).items(), *((hex(number), number) for number in EDGES)]:
            with_conditions = name in CONDITIONAL
            for first in WORDS if with_conditions else [0, 3]:
                for third in WORDS if name == "socket" else [0]:
                    call = (first, 0, third, 0, 0, 0)
                    answers = emulate(ours, audit, number, call), emulate(theirs, audit, number, call)
                    if len(set(answers)) > 1:
                        found.setdefault(name, []).append(answers)
    return found


@pytest.mark.parametrize("machine", FAMILY)
@pytest.mark.parametrize("held", HELD)
def test_the_verdicts_are_podmans_but_where_we_are_stricter(held: str, machine: str, podman: dict[str, Any]) -> None:
    ours = compile_filter(profile(HELD[held], machine), machine)
    theirs = compile_filter(resolved(podman, HELD[held], machine), machine)
    named = {name for group in (*ALLOWED, *WITH_CAPABILITY, *DENIED) for name in group.names.split()}
    is_known = hashlib.sha256(PODMAN.read_bytes()).hexdigest() == DEBIAN_12
    stricter = {name for group in STRICTER for name in group.names.split()} | CONDITIONAL - {"personality"}
    found = differing(ours, theirs, machine)
    assert (set(found) if is_known else set(found) & named) - stricter == set()
    allowed = {name for name, answers in found.items() if any(our == ALLOW for our, _ in answers)}
    assert allowed == set()
    if held == "none" and is_known:
        # A name on the list that changes nothing would be a wrong reason.
        assert set(found) == stricter & {name for architecture in FAMILY[machine] for name in numbers(architecture)}


def test_each_call_is_in_one_group() -> None:
    names = [name for group in (*ALLOWED, *WITH_CAPABILITY, *STRICTER, *DENIED) for name in group.names.split()]
    assert sorted(names) == sorted(set(names))
    assert not CONDITIONAL & set(names)
    known = {name for architecture in ARCHITECTURES for name in numbers(architecture)}
    assert set(names) - known == set()
