"""What a process inherits without asking: the launcher is baited with odd values, and none of them shows inside."""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import rootfs
from harness.runtime.config import read
from harness.runtime.errors import StartError
from harness.runtime.syscalls import PR, invoke
from tests.kernel.bundles import bundle, output_of

pytestmark = pytest.mark.usefixtures("needs_namespaces")
ROOTLESS = os.geteuid() != 0

SCHED_BATCH = 3
ADDR_NO_RANDOMIZE = 0x40000
IOPRIO_IDLE = 3 << 13
ASK = 0xFFFFFFFF
PR_SET_DUMPABLE, PR_GET_DUMPABLE = 4, 3
PR_GET_TIMERSLACK, PR_GET_THP_DISABLE = 30, 42
KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_DESCRIBE, KEYCTL_READ, SESSION_KEYRING = 1, 6, 11, -3
SYSCALLS = {
    name: numbers[os.uname().machine == "aarch64"]
    for name, numbers in {
        "add_key": (248, 217),
        "ioprio_get": (252, 31),
        "keyctl": (250, 219),
        "personality": (135, 92),
    }.items()
}

# Runs inside as well as here; it prints what the process has.
LOOK = f"""
import _json, ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
keys = (ctypes.c_int * 64)()
length = libc.syscall({SYSCALLS["keyctl"]}, {KEYCTL_READ}, {SESSION_KEYRING}, keys, 256)
told = ctypes.create_string_buffer(256)
libc.syscall({SYSCALLS["keyctl"]}, {KEYCTL_DESCRIBE}, {SESSION_KEYRING}, told, 256)
facts = {{
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "policy": os.sched_getscheduler(0),
    "priority": os.sched_getparam(0).sched_priority,
    "cpus": len(os.sched_getaffinity(0)),
    "ioprio": libc.syscall({SYSCALLS["ioprio_get"]}, 1, 0),
    "personality": libc.syscall({SYSCALLS["personality"]}, ctypes.c_ulong({ASK})),
    "timer slack": libc.prctl({PR_GET_TIMERSLACK}, 0, 0, 0, 0),
    "huge pages off": libc.prctl({PR_GET_THP_DISABLE}, 0, 0, 0, 0),
    "dumpable": libc.prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0),
    "core dump": int(open("/proc/self/coredump_filter").read(), 16),
    "session keyring": libc.syscall({SYSCALLS["keyctl"]}, 0, {SESSION_KEYRING}, 0),
    "session keys": length // 4,
    "owner of the keyring": told.value.decode().split(";")[1:3],
    "machine": os.uname().machine,
    "umask": os.umask(0),
}}
sys.stdout.write(str(facts).replace("'", '"'))
"""
DEFAULTS = {
    "nice": 0,
    "policy": os.SCHED_OTHER,
    "priority": 0,
    "cpus": os.cpu_count(),
    "ioprio": 0,
    "personality": 0,
    "timer slack": 50_000,
    "huge pages off": 0,
    "dumpable": 1,
    "core dump": 0x33,
    "session keys": 0,
    "owner of the keyring": ["0", "0"],
    "machine": os.uname().machine,
    "umask": 0o022,
}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rootfs.build_kit(tmp_path_factory.mktemp("kit"))


def looked(directory: Path, kit: Path, process: dict[str, Any] | None = None, **linux: Any) -> dict[str, Any]:
    """Return what a Python inside finds itself to have."""
    directory, config = bundle(directory, *rootfs.command("")[:-2], "-c", LOOK)
    config["mounts"].append({"destination": rootfs.KIT, "source": str(kit), "options": ["rbind", "ro"]})
    config["process"] |= process or {}
    config["linux"] |= linux
    status, text = output_of(directory, read(config))
    assert status == 0, text
    facts: dict[str, Any] = json.loads(text)
    return facts


def bait() -> None:
    """Give this process odd values of everything that it would hand on."""
    Path("/proc/self/coredump_filter").write_text("0x7f")
    invoke("personality", ADDR_NO_RANDOMIZE)
    invoke("prctl", PR.SET_TIMERSLACK, 123_456, 0, 0, 0)
    invoke("prctl", PR.SET_THP_DISABLE, 1, 0, 0, 0)
    invoke("ioprio_set", 1, 0, IOPRIO_IDLE)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, SCHED_BATCH, os.sched_param(0))
    os.umask(0o007)
    os.nice(5)
    with contextlib.suppress(OSError):
        ring = invoke("keyctl", KEYCTL_JOIN_SESSION_KEYRING, 0)
        ctypes.CDLL(None).syscall(SYSCALLS["add_key"], b"user", b"bait", b"secret", 6, ring)
    if not ROOTLESS:  # an ordinary user who is not dumpable cannot open the files of his own in /proc
        invoke("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)


def by_a_baited_launcher(work: Callable[[], Any]) -> Any:
    """Do something in a child with odd values, and return what it has returned."""
    reader, writer = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        try:
            bait()
            os.write(writer, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writer, json.dumps(repr(error)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(launcher, 0)
    return json.loads(text)


def handed_on() -> Any:
    """Return what an ordinary child, which resets nothing, has."""
    return json.loads(subprocess.run([sys.executable, "-c", LOOK], capture_output=True, check=True).stdout)


def test_nothing_odd_of_the_launcher_shows_inside(tmp_path: Path, kit: Path) -> None:
    inside = by_a_baited_launcher(lambda: looked(tmp_path, kit))
    ring = inside.pop("session keyring")
    assert inside == DEFAULTS | ({"nice": 5} if ROOTLESS else {})
    outside = by_a_baited_launcher(handed_on)
    assert ring == -1 or ring not in (outside["session keyring"], handed_on()["session keyring"])


@pytest.mark.parametrize("uid", [0, *([] if ROOTLESS else [1000])])
def test_a_filter_that_denies_keyrings_does_not_leave_the_launchers(tmp_path: Path, kit: Path, uid: int) -> None:
    join = {"index": 0, "value": KEYCTL_JOIN_SESSION_KEYRING, "op": "SCMP_CMP_EQ"}
    denied = {"names": ["keyctl"], "action": "SCMP_ACT_ERRNO", "args": [join]}
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]}
    process = {"noNewPrivileges": False, "user": {"uid": uid, "gid": uid}}

    def look() -> dict[str, Any]:
        os.umask(0o022)  # or the user might not enter the image that is made here
        return looked(tmp_path, kit, process, seccomp=seccomp)

    inside = by_a_baited_launcher(look)
    assert inside["session keys"] == 0
    assert inside["owner of the keyring"] == [str(uid), str(uid)]


def test_nor_does_it_in_a_user_namespace_that_root_has_made(place: Path) -> None:
    if ROOTLESS:
        pytest.skip("an ordinary user's containers are all of this kind")
    kit = rootfs.build_kit(place)
    for name in ("proc", "dev", "sys", "isoproof"):  # which that root may not make
        (place / "rootfs" / name).mkdir(parents=True)
    maps = [{"containerID": 0, "hostID": 100_000, "size": 1000}]
    spaces = [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")]
    user: dict[str, Any] = {"namespaces": spaces, "uidMappings": maps, "gidMappings": maps}
    inside = by_a_baited_launcher(lambda: looked(place, kit, **user))
    assert isinstance(inside, dict), inside
    assert {name: inside[name] for name in DEFAULTS} == DEFAULTS


def test_the_bait_is_one(tmp_path: Path) -> None:
    baited = by_a_baited_launcher(handed_on)
    same = {name for name, value in DEFAULTS.items() if baited[name] == value}
    assert same <= {"priority", "dumpable", "machine", "owner of the keyring"} | (
        {"cpus"} if os.cpu_count() == 1 else set()
    )


@pytest.mark.parametrize(
    ("scheduler", "facts"),
    [
        ({"policy": "SCHED_BATCH", "nice": 7}, {"policy": 3, "nice": 7}),
        ({"policy": "SCHED_IDLE"}, {"policy": 5}),
        ({"policy": "SCHED_OTHER", "nice": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, {"policy": 0, "nice": 3}),
    ],
)
def test_the_scheduler_is_the_configs(
    tmp_path: Path, kit: Path, scheduler: dict[str, Any], facts: dict[str, Any]
) -> None:
    inside = looked(tmp_path, kit, {"scheduler": scheduler})
    inside["policy"] &= ~os.SCHED_RESET_ON_FORK
    assert {name: inside[name] for name in facts} == facts


def test_a_real_time_policy_is_roots_alone(tmp_path: Path, kit: Path) -> None:
    scheduler = {"scheduler": {"policy": "SCHED_RR", "priority": 7}}
    if ROOTLESS:
        with pytest.raises(StartError, match=r"scheduler: sched_setattr.*EPERM.*CAP_SYS_NICE"):
            looked(tmp_path, kit, scheduler)
    else:
        inside = looked(tmp_path, kit, scheduler)
        assert (inside["policy"], inside["priority"]) == (os.SCHED_RR, 7)


def test_a_deadline_is_a_deadline(tmp_path: Path, kit: Path) -> None:
    if ROOTLESS:
        pytest.skip("SCHED_DEADLINE is root's alone")
    times = {"runtime": 10_000_000, "deadline": 20_000_000, "period": 30_000_000}
    inside = looked(tmp_path, kit, {"scheduler": {"policy": "SCHED_DEADLINE", **times}})
    assert inside["policy"] == 6


def test_the_io_priority_is_the_configs(tmp_path: Path, kit: Path) -> None:
    wanted = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    assert looked(tmp_path, kit, {"ioPriority": wanted})["ioprio"] == 2 << 13 | 6


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="not every arm64 machine can run 32-bit programs")
def test_the_domain_is_the_configs(tmp_path: Path, kit: Path) -> None:
    inside = looked(tmp_path, kit, personality={"domain": "LINUX32"})
    assert (inside["personality"], inside["machine"]) == (8, "i686")
