"""Namespaces against the real kernel: joined ones, clocks of one's own, id maps, and who owns what."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.runtime import inspect, launch
from harness.runtime.config import Config, read
from harness.runtime.errors import BadInput, ConfigError, StartError
from harness.runtime.plan import plan
from harness.runtime.step import Call, Plan, Saved, Step
from harness.runtime.syscalls import CLONE, MS, invoke, libc
from tests.kernel.bundles import bundle, output_of, snapshot
from tests.kernel.test_launch import failing_at

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

USER = 12345  # an id that nobody has
NS_GET_USERNS = 0xB701
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
TYPES = {
    "uts": CLONE.NEWUTS,
    "ipc": CLONE.NEWIPC,
    "network": CLONE.NEWNET,
    "cgroup": CLONE.NEWCGROUP,
    "user": CLONE.NEWUSER,
    "pid": CLONE.NEWPID,
    "time": CLONE.NEWTIME,
}
FILES = {"network": "net", "pid": "pid_for_children", "time": "time_for_children"}
NET_AND_USER = "for name in net user; do /bin/busybox readlink /proc/self/ns/$name; done"


@contextlib.contextmanager
def foreign(*types: str, uid: int = 0, maps: str = "0 0 65536\n") -> Iterator[dict[str, str]]:
    """Hold namespaces of these types, made by a process of this user; yield their paths by type.

    The PID namespace has a first process, without which nobody could join it.
    """
    ready, say = os.pipe()
    go, let_go = os.pipe()
    holder = os.fork()
    if holder == 0:
        if uid:
            become(uid)
        for name in sorted(types, key=lambda name: name != "user"):
            invoke("unshare", TYPES[name])
        os.write(say, b"!")
        os.read(go, 1)
        if "uts" in types:
            invoke("sethostname", b"foreign\0", 7)
        if os.fork() == 0:
            invoke("prctl", 1, signal.SIGKILL, 0, 0, 0)
            os.write(say, b"!")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"!"
        if "user" in types:
            if uid:
                Path(f"/proc/{holder}/setgroups").write_text("deny")
            for kind in ("gid", "uid"):
                Path(f"/proc/{holder}/{kind}_map").write_text(maps)
        os.write(let_go, b"!")
        assert os.read(ready, 1) == b"!"
        yield {name: f"/proc/{holder}/ns/{FILES.get(name, name)}" for name in types}
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        for end in (ready, say, go, let_go):
            os.close(end)


def become(uid: int) -> None:
    """Become an ordinary user for good, but one who may still look into his own /proc entries."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def give(directory: Path, uid: int) -> None:
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, uid, uid, follow_symlinks=False)


def join(config: Config, paths: dict[str, str]) -> Config:
    """Replace namespaces of a config by those at these paths."""
    kept = [entry for entry in config["linux"]["namespaces"] if entry["type"] not in paths]
    config["linux"]["namespaces"] = kept + [{"type": name, "path": path} for name, path in paths.items()]
    return config


def identity(path: str) -> str:
    return os.readlink(path)


@pytest.mark.parametrize("name", TYPES)
def test_a_namespace_that_is_there_already_is_joined(tmp_path: Path, name: str) -> None:
    file = FILES.get(name, name).removesuffix("_for_children")
    directory, config = bundle(tmp_path, "/bin/busybox", "readlink", f"/proc/self/ns/{file}")
    if name == "uts":
        del config["hostname"]
    before = snapshot()
    with foreign(name) as paths:
        wanted = identity(paths[name])
        assert output_of(directory, read(join(config, paths))) == (0, wanted + "\n")
        assert wanted != identity(f"/proc/self/ns/{file}")
    assert snapshot() == before


def test_all_are_joined_at_once_in_an_order_that_the_kernel_accepts(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "cd /proc/self/ns; for n in *; do busybox readlink $n; done")
    config["process"]["args"][2] = config["process"]["args"][2].replace("busybox", "/bin/busybox")
    del config["hostname"]
    with foreign(*TYPES) as paths:
        status, text = output_of(directory, read(join(config, paths)))
        assert status == 0, text
        assert {identity(path) for path in paths.values()} <= set(text.split())


def test_root_joins_what_the_joined_user_namespace_does_not_own(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "/bin/busybox", "sh", "-c", NET_AND_USER)
    config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/sys"]  # is its owner's only
    with foreign("user") as user, foreign("network") as network:
        wanted = [identity(network["network"]), identity(user["user"])]
        status, text = output_of(directory, read(join(config, user | network)))
    assert (status, text.split()) == (0, wanted)


def test_a_joined_pid_namespace_shows_its_processes(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "echo $$; ls -d /proc/1")
    with foreign("pid") as paths:
        status, text = output_of(directory, read(join(config, paths)))
    assert status == 0
    assert int(text.split()[0]) > 1
    assert text.split()[1] == "/proc/1"


def test_the_launcher_stays_where_it_is(tmp_path: Path) -> None:
    names = sorted(os.listdir("/proc/self/ns"))
    before = [identity(f"/proc/self/ns/{name}") for name in names]
    directory, config = bundle(tmp_path)
    with foreign("pid", "network", "time") as paths:
        assert output_of(directory, read(join(config, paths)))[0] == 0
    assert [identity(f"/proc/self/ns/{name}") for name in names] == before


@pytest.mark.parametrize(
    ("name", "path", "sentence"),
    [
        ("network", "/proc/self/ns/uts", "network: /proc/self/ns/uts: is a namespace of type uts"),
        ("pid", "/etc/hostname", "pid: /etc/hostname: is no namespace"),
        ("uts", "/dev/null", "uts: /dev/null: is no namespace"),
        ("ipc", "/nowhere", r"ipc: /nowhere: ENOENT \(No such file"),
        ("user", "/proc/self/ns/user", "user: the path is the launcher's own"),
    ],
)
def test_a_path_that_is_no_such_namespace_is_refused_before_anything_is_done(
    tmp_path: Path, name: str, path: str, sentence: str
) -> None:
    directory, config = bundle(tmp_path)
    altered: list[object] = []
    with pytest.raises(BadInput, match=sentence) as caught:
        output_of(directory, read(join(config, {name: path})), alter=altered.append)
    assert "\n" not in str(caught.value)
    assert altered == []


def test_a_fifo_in_the_place_of_a_namespace_does_not_hold_up_the_launcher(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BadInput, match="is no namespace"):
        output_of(directory, read(join(config, {"network": str(tmp_path / "fifo")})))


def test_the_launchers_own_names_and_parameters_are_not_changed_through_a_joined_namespace(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    with pytest.raises(ConfigError, match="hostname: the uts namespace to join is the launcher's"):
        output_of(directory, read(join(config, {"uts": "/proc/self/ns/uts"})))
    directory, config = bundle(tmp_path / "ipc")
    config["linux"]["sysctl"] = {"kernel.shm_rmid_forced": "1"}
    with pytest.raises(ConfigError, match="needs a namespace of type ipc that is not the launcher's"):
        output_of(directory, read(join(config, {"ipc": "/proc/self/ns/ipc"})))


def test_a_foreign_uts_namespace_may_be_renamed_and_the_host_is_not(tmp_path: Path) -> None:
    name = os.uname().nodename
    with foreign("uts") as paths:
        directory, config = bundle(tmp_path / "unnamed", "hostname")
        del config["hostname"]
        assert output_of(directory, read(join(config, paths))) == (0, "foreign\n")
        directory, config = bundle(tmp_path / "named", "hostname")
        assert output_of(directory, read(join(config, paths))) == (0, "cell\n")
    assert os.uname().nodename == name


def test_the_loopback_of_a_joined_network_namespace_is_left_alone(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "cat", "/sys/class/net/lo/flags")
    with foreign("network") as paths:
        status, text = output_of(directory, read(join(config, paths)))
    assert (status, int(text, 16) & 1) == (0, 0)


def test_whatever_step_of_joining_fails_nothing_stays_behind(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    with foreign("network", "pid") as paths:
        config = read(join(config, paths))
        wanted = plan(config, inspect.host(config, directory))
        assert [step.name for step in wanted.enter] == ["open-namespaces", "undumpable", "enter:network", "enter:pid"]
        before = snapshot()
        for index, step in enumerate(wanted.enter):
            with pytest.raises(StartError, match="ENOENT") as caught:
                output_of(directory, config, alter=lambda made, at=index: failing_at(made, "enter", at))
            assert caught.value.step == step.name
            assert snapshot() == before


def test_those_in_a_joined_namespace_cannot_reach_into_the_process_that_joins(tmp_path: Path) -> None:
    """The catalogue's sig-setup-process-opaque, of a container that joins another one's PID namespace."""
    # dup3(2) of a descriptor onto itself is EINVAL: so is a start with PR_GET_DUMPABLE 0.
    calls = (Call("prctl", (PR_GET_DUMPABLE, 0, 0, 0, 0), saves="dumpable"), Call("dup3", (Saved("dumpable"), 0, 0)))

    def asking(made: Plan) -> Plan:
        made = replace(made, replay=False)  # nobody can reach into a replayed one, wherever it is
        return made.exchange("execute", Step("dumpable", "", calls), made.steps[-1])

    directory, config = bundle(tmp_path)
    assert output_of(directory, read(config), alter=asking)[0] == 0
    with foreign("user", "pid") as paths, pytest.raises(StartError, match=r"dumpable: dup3.*EINVAL"):
        output_of(directory, read(join(config, paths)), alter=asking)


def test_a_pid_namespace_above_is_refused_with_its_reason(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    outer = os.open("/proc/self/ns/pid", os.O_RDONLY)
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        invoke("unshare", CLONE.NEWPID)
        inner = os.fork()
        if inner == 0:
            try:
                output_of(directory, read(join(config, {"pid": f"/proc/self/fd/{outer}"})))
            except BaseException as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.waitpid(inner, 0)
        os._exit(0)
    os.waitpid(between, 0)
    os.close(writer)
    os.close(outer)
    with os.fdopen(reader) as pipe:
        assert re.search("enter:pid.*EINVAL.*only PID namespaces below", pipe.read())


def test_a_pid_namespace_without_a_first_process_takes_in_nobody(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    with foreign("pid") as paths:
        holder = paths["pid"].split("/")[2]
        (first,) = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
        config = join(config, paths)
        os.kill(int(first), signal.SIGKILL)
        while Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        with pytest.raises(StartError, match=r"clone3.*ENOMEM.*lost its first process"):
            output_of(directory, read(config))


def test_clocks_of_a_time_namespace_are_shifted(tmp_path: Path) -> None:
    offsets = {"monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 86400 * 30}}
    directory, config = bundle(tmp_path, "cat", "/proc/uptime", "/proc/self/timens_offsets")
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = offsets
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    status, text = output_of(directory, read(config))
    uptime, *lines = text.splitlines()
    assert status == 0
    assert -0.1 <= float(uptime.split()[0]) - now - 86400 * 30 < 20
    assert [line.split() for line in lines] == [["monotonic", "1000", "5"], ["boottime", str(86400 * 30), "0"]]


def test_a_clock_before_its_zero_is_refused(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"boottime": {"secs": -(10**9)}}
    with pytest.raises(StartError, match=r"time-offsets: .*ERANGE.*a clock would stand before 0"):
        output_of(directory, read(config))


def mapped(config: Config, *extents: tuple[int, int, int]) -> Config:
    """Give a config a user namespace with these extents for both kinds of ids."""
    entries = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [entry for entry in entries if entry["type"] != "user"] + [{"type": "user"}]
    for kind in ("uid", "gid"):
        config["linux"][f"{kind}Mappings"] = [
            {"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in extents
        ]
    return config


EXTENTS = ((0, 100_000, 1000), (1000, 300_000, 500), (5000, 200_000, 1))


def test_an_image_that_belongs_to_mapped_ids_runs_with_several_extents(place: Path) -> None:
    directory, config = bundle(
        place, "sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; id; touch /mine; ls -ln /"
    )
    give(directory, 100_000)
    (directory / "rootfs").chmod(0o777)
    mapped(config, *EXTENTS)["root"]["readonly"] = False
    config["process"]["user"] = {"uid": 1001, "gid": 5000, "additionalGids": [7]}
    config["process"]["capabilities"] = {}
    config["process"]["oomScoreAdj"] = 100
    config["linux"]["resources"] = {"pids": {"limit": 50}}
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 5}}
    before = snapshot()
    status, text = output_of(directory, read(config))
    assert status == 0, text
    lines = text.splitlines()
    assert [tuple(map(int, line.split())) for line in lines[:6]] == [*EXTENTS, *EXTENTS]
    assert re.search(r"uid=1001 gid=5000 groups=(5000,)?7", lines[6])
    made = (directory / "rootfs/mine").stat()
    assert (made.st_uid, made.st_gid) == (300_001, 200_000)
    assert snapshot() == before


def owners(pid: int) -> dict[str, bool]:
    """Return of each namespace of a process whether the process's own user namespace owns it."""
    user = os.stat(f"/proc/{pid}/ns/user").st_ino
    result = {}
    for name in ("mnt", "pid", "uts", "ipc", "net", "cgroup", "time"):
        with open(f"/proc/{pid}/ns/{name}") as namespace:
            owner = fcntl.ioctl(namespace, NS_GET_USERNS)
            result[name] = os.fstat(owner).st_ino == user
            os.close(owner)
    return result


@pytest.mark.parametrize("offsets", [{}, {"boottime": {"secs": 7}}])
def test_all_new_namespaces_belong_to_the_containers_own_user_namespace(place: Path, offsets: dict[str, Any]) -> None:
    directory, config = bundle(place, "sleep", "60")
    give(directory, 100_000)
    mapped(config, (0, 100_000, 65536))["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = offsets
    assert owners_in(directory, read(config)) == dict.fromkeys(
        ("mnt", "pid", "uts", "ipc", "net", "cgroup", "time"), True
    )


def test_new_namespaces_belong_to_a_joined_user_namespace(place: Path) -> None:
    directory, config = bundle(place, "sleep", "60")
    config["linux"]["namespaces"].append({"type": "time"})
    with foreign("user", "network") as paths:
        assert all(owners_in(directory, read(join(config, paths))).values())


def owners_in(directory: Path, config: Config) -> dict[str, bool]:
    null = os.open("/dev/null", os.O_RDWR)
    try:
        with launch.start(plan(config, inspect.host(config, directory)), (null, null, null)) as cell:
            return owners(cell.pid)
    finally:
        os.close(null)


def as_user(do: Callable[[], tuple[int, str]], files: dict[str, str]) -> str:
    """Do something as an ordinary user for whom these files of the host read otherwise; return what came of it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            invoke("unshare", CLONE.NEWNS)
            invoke("mount", 0, b"/\0", 0, MS.REC | MS.PRIVATE, 0)
            with tempfile.TemporaryDirectory() as private:
                for index, (name, text) in enumerate(files.items()):
                    copy = Path(private) / str(index)
                    copy.write_text(text)
                    copy.chmod(0o644)
                    invoke("mount", str(copy).encode() + b"\0", name.encode() + b"\0", 0, MS.BIND, 0)
            become(USER)
            status, text = do()
            os.write(writer, f"{status} {text}".encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__} {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def helpers(missing: Callable[[str], Any]) -> dict[str, str]:
    """The files in which newuidmap(1) reads what our ordinary user may map: 3000 ids from 400000."""
    if not shutil.which("newuidmap") or not all(Path(name).exists() for name in ("/etc/subuid", "/etc/subgid")):
        missing("newuidmap(1) of the package uidmap is not installed")
    passwd = Path("/etc/passwd").read_text() + f"cell:x:{USER}:{USER}::/:/bin/sh\n"
    return {"/etc/passwd": passwd, "/etc/subuid": "cell:400000:3000\n", "/etc/subgid": "cell:400000:3000\n"}


def users_bundle(place: Path, *command: str) -> tuple[Path, Config]:
    directory, config = bundle(place, *command)
    give(directory, USER)
    config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/dev/pts"]
    return directory, config


SHOW = ("sh", "-c", "cat /proc/self/uid_map /proc/self/setgroups; id -G; touch /mine")


def test_an_ordinary_user_maps_ranges_through_newuidmap(place: Path, helpers: dict[str, str]) -> None:
    directory, config = users_bundle(place, *SHOW)
    mapped(config, (0, USER, 1), (1, 400_000, 3000))["root"]["readonly"] = False
    config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [7]}
    words = as_user(lambda: output_of(directory, read(config)), helpers).split()
    assert words == ["0", *f"0 {USER} 1 1 400000 3000".split(), "allow", "0", "7"]
    assert (directory / "rootfs/mine").stat().st_uid == USER


def test_an_ordinary_user_alone_gives_up_setgroups_and_needs_no_helper(place: Path) -> None:
    directory, config = users_bundle(place, *SHOW)
    mapped(config, (0, USER, 1))["root"]["readonly"] = False
    words = as_user(lambda: output_of(directory, read(config)), {}).split()
    assert words == ["0", "0", str(USER), "1", "deny", "0"]


def test_a_range_that_is_not_his_is_refused_with_its_reason(place: Path, helpers: dict[str, str]) -> None:
    directory, config = users_bundle(place)
    mapped(config, (0, USER, 1), (1, 399_999, 2))
    text = as_user(lambda: output_of(directory, read(config)), helpers)
    assert re.search(r"StartError gid-map: newgidmap \d+ 0 .*not allowed.*/etc/subgid", text), text
    assert "\n" not in text


def test_an_ordinary_user_joins_what_a_user_namespace_of_his_owns(place: Path) -> None:
    command = "cd /proc/self/ns; for n in user uts net pid; do /bin/busybox readlink $n; done; hostname"
    directory, config = users_bundle(place, "sh", "-c", command)
    config["process"]["capabilities"] = {}
    del config["hostname"]
    with foreign("user", "uts", "network", "pid", uid=USER, maps=f"0 {USER} 1\n") as paths:
        wanted = [identity(paths[name]) for name in ("user", "uts", "network", "pid")]
        text = as_user(lambda: output_of(directory, read(join(config, paths))), {})
    assert text.split() == ["0", *wanted, "foreign"]


def test_an_ordinary_user_cannot_join_what_is_not_his(place: Path) -> None:
    directory, config = users_bundle(place)
    mapped(config, (0, USER, 1))
    with foreign("network", uid=0) as paths:
        text = as_user(lambda: output_of(directory, read(join(config, paths))), {})
    assert re.match(r"BadInput .*network: .*EACCES", text), text
    with open("/proc/self/ns/net") as network:  # one that he can open, like a bind mount that lies about
        path = f"/proc/self/fd/{network.fileno()}"
        text = as_user(lambda: output_of(directory, read(join(config, {"network": path}))), {})
    assert re.match(r"StartError enter:network: setns.*EPERM.*CAP_SYS_ADMIN", text), text
