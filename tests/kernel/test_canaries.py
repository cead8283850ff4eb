"""Every kind of bait: that it is there, that it tells what happened to it, that nothing of it stays."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import bait, canaries
from harness.canaries.base import Canary
from harness.errors import HarnessError
from harness.runtime.syscalls import CLONE, libc
from tests.kernel.throwaway import in_throwaway, without_capabilities

pytestmark = pytest.mark.usefixtures("needs_namespaces")

NONCE = "0123456789abcdef0123456789abcdef"
NEED_ROOT = ("cgroup", "memory-nest", "pids-nest", "tenant", "file-system")


def facts_of(canary: Canary) -> dict[str, Any]:
    return dict(canary.facts())


def surroundings(workdir: Path, token: str) -> dict[str, object]:
    """All that a canary could leave behind; of cgroups, which others make too, those that bear its token."""
    return {
        "files": sorted(os.listdir(workdir)),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "processes": [name for name in os.listdir("/proc") if name.isdecimal()],
        "interfaces": socket.if_nameindex(),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "cgroups": sorted(
            str(path) for own in bait.own_cgroups(set()).values() for path in own.glob(f"isoproof-*{token}")
        ),
        "keys": [line for line in Path("/proc/keys").read_text().splitlines() if token in line and _is_valid(line)],
        "objects": [Path(f"/proc/sysvipc/{kind}").read_text() for kind in ("shm", "msg", "sem")],
        "memory": sorted(Path("/dev/shm").glob(f"isoproof-*{token}")),
    }


def _is_valid(key: str) -> bool:
    """Whether a line of /proc/keys is of a key that has not been invalidated; those stay until they are collected."""
    return "i" not in key.split()[1]


@pytest.mark.parametrize("kind", canaries.kinds())
def test_nothing_of_a_canary_stays(kind: str, tmp_path: Path) -> None:
    if kind in NEED_ROOT and os.geteuid() != 0:
        pytest.skip("not root")

    def story() -> None:
        before = surroundings(tmp_path, "no token yet")
        canary = canaries.place(kind, {}, tmp_path, NONCE)
        assert facts_of(canary)
        if kind not in ("signal", "disk"):  # these have nothing to place
            assert surroundings(tmp_path, canary.token) != before
        canary.close()
        assert surroundings(tmp_path, canary.token) == before

    in_throwaway(story)


def test_the_contract_names_every_kind() -> None:
    assert set(canaries.kinds()) == {
        *("process", "file", "directory", "volume", "submounts", "tcp", "socket", "abstract", "lock"),
        *("interface", "signal", "cgroup", "memory-nest", "burner", "launcher", "log", "pseudoterminal", "disk"),
        *("tenant", "mount-namespace", "strangers", "shared-directory", "layers", "inbox", "user-key", "session-key"),
        *("server", "sibling", "end-of-launcher", "pids-nest", "system-v", "message-queue", "shared-memory"),
        *("file-system", "login", "snare", "cached-file", "freezer", "terminal", "silence"),
    }


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="place canary dragon: no such kind; there are abstract, "):
        canaries.place("dragon", {}, tmp_path, NONCE)


def test_an_unknown_argument_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"^place canary file: .*'colour'$"):
        canaries.place("file", {"colour": "blue"}, tmp_path, NONCE)
    assert list(tmp_path.iterdir()) == []


def test_only_actors_act(tmp_path: Path) -> None:
    canary = canaries.place("file", {}, tmp_path, NONCE)
    with pytest.raises(HarnessError, match="a File has nothing to do"):
        canary.act({"ready": {}})
    canary.close()


def test_process_keeps_its_token_and_its_signals(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("process", {}, tmp_path, NONCE)
        facts = facts_of(canary)
        assert facts["alive"]
        assert facts["signals"] == []
        words = Path(f"/proc/{facts['pid']}/cmdline").read_text()
        environment = Path(f"/proc/{facts['pid']}/environ").read_text()
        assert f"isoproof-canary={facts['token']}" in words
        assert facts["token"] in environment
        for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGINT):
            os.kill(facts["pid"], number)
        assert facts_of(canary)["signals"] == ["SIGINT", "SIGTERM", "SIGWINCH"]
        os.kill(facts["pid"], signal.SIGKILL)
        os.waitpid(facts["pid"], 0)
        assert not facts_of(canary)["alive"]
        assert facts_of(canary)["signals"] == []
        canary.close()

    in_throwaway(story)


def test_a_process_ends_with_the_host_role(tmp_path: Path) -> None:
    def story() -> None:
        receiver, sender = os.pipe()
        host = os.fork()
        if host == 0:
            canary = canaries.place("process", {}, tmp_path, NONCE)
            os.write(sender, str(facts_of(canary)["pid"]).encode())
            os._exit(0)  # without close
        os.waitpid(host, 0)
        pid = int(os.read(receiver, 32))
        reaped, status = os.waitpid(pid, 0)  # we are process 1, so it is ours now
        assert reaped == pid
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL

    in_throwaway(story)


def test_tcp_counts_its_visitors(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("tcp", {}, tmp_path, NONCE)
        facts = facts_of(canary)
        assert "127.0.0.1" in facts["addresses"]
        assert "192.0.2.1" not in facts["addresses"]
        assert facts["accepted"] == 0
        assert len(facts["inodes"]) == len(facts["addresses"])
        for address in facts["addresses"]:
            socket.create_connection((address, facts["port"]), 1).close()
        assert facts_of(canary)["accepted"] == facts_of(canary)["accepted"] == len(facts["addresses"])
        canary.close()

    in_throwaway(story)


def test_socket_knows_its_visitors(tmp_path: Path) -> None:
    canary = canaries.place("socket", {}, tmp_path, NONCE)
    facts = facts_of(canary)
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(facts["path"])
    assert facts_of(canary)["peers"] == [{"pid": os.getpid(), "uid": os.geteuid(), "gid": os.getegid()}]
    assert facts_of(canary)["accepted"] == 1
    canary.close()


def test_abstract_counts_its_visitors(tmp_path: Path) -> None:
    canary = canaries.place("abstract", {}, tmp_path, NONCE)
    address = f"\0{facts_of(canary)['name']}"
    for count, kind in enumerate((socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM), 1):
        with socket.socket(socket.AF_UNIX, kind) as visitor:
            visitor.connect(address)
            visitor.send(b".")
        assert facts_of(canary)["accepted"] == count
    canary.close()


def test_interface_is_heard_on_the_host_and_leaves_one_pair(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("interface", {}, tmp_path, NONCE)
        facts = facts_of(canary)
        assert facts["present"]
        assert canary.act({"ready": {}})["heard"] >= 2  # type: ignore[operator]
        assert sorted(name for _, name in socket.if_nameindex()) == sorted(["lo", *facts["names"]])
        canary.close()

    in_throwaway(story)


WAIT_FOR_SIGNAL = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print("ready", flush=True)
received = signal.sigtimedwait({signal.SIGUSR1}, 5)
print(received and received.si_pid)
"""


def test_signal_finds_the_process_by_its_inner_number(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("signal", {}, tmp_path, NONCE)
        with pytest.raises(HarnessError, match="no process of this container has the pid 1 inside"):
            canary.act({"ready": {"pid": 1}})
        command = ["unshare", "--pid", "--fork", sys.executable, "-c", WAIT_FOR_SIGNAL, NONCE]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "ready\n"
            assert canary.act({"ready": {"pid": 1}}) == {"sent": "SIGUSR1"}
            assert waiting.stdout.readline() == "0\n"
        canary.close()

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
def test_cgroup_is_there(tmp_path: Path) -> None:
    canary = canaries.place("cgroup", {}, tmp_path, NONCE)
    facts = facts_of(canary)
    assert facts["present"]
    assert all(Path(path).is_dir() for path in facts["paths"])
    canary.close()
    assert not any(Path(path).exists() for path in facts["paths"])


@pytest.mark.usefixtures("needs_root")
def test_memory_nest_kills_a_bystander_when_it_is_exceeded(tmp_path: Path) -> None:
    def gorge(cgroup: str) -> None:
        """Lives in a child of the nest without a limit of its own, and takes more than the nest has."""
        Path(cgroup, "box").mkdir()
        child = os.fork()
        if child == 0:
            Path(cgroup, "box", "cgroup.procs").write_text("0")
            hoard = [bytearray(os.urandom(1 << 20)) for _ in range(40)]
            os._exit(len(hoard))
        os.waitpid(child, 0)
        Path(cgroup, "box").rmdir()

    def story() -> None:
        canary = canaries.place("memory-nest", {"limit": 48, "victim": 12}, tmp_path, NONCE)
        facts = facts_of(canary)
        assert facts["alive"] == [True, True]
        assert facts["oom_kill"] == 0
        gorge(facts["path"])
        facts = facts_of(canary)
        assert facts["oom_kill"] > 0
        assert False in facts["alive"]
        canary.close()

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
def test_memory_nest_is_removed_from_every_hierarchy(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("memory-nest", {}, tmp_path, NONCE)
        name = Path(facts_of(canary)["path"]).name
        nests = [own / name for own in bait.own_cgroups(set()).values()]
        for nest in nests:  # as a runtime does that makes the path of a container in the nest
            nest.mkdir(exist_ok=True)
        canary.close()
        assert [nest for nest in nests if nest.exists()] == []

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize(("limit", "forked"), [(8, True), (1, False)])
def test_pids_nest_tells_whether_the_host_can_still_fork(tmp_path: Path, limit: int, forked: bool) -> None:
    def story() -> None:
        canary = canaries.place("pids-nest", {"limit": limit}, tmp_path, NONCE)
        assert facts_of(canary)["forked"] is None
        assert canary.act({}) == {}
        nest, _, container = facts_of(canary)["cgroup"].partition("/")
        (box,) = {own / nest / container for own in bait.own_cgroups(set()).values() if (own / nest).exists()}
        box.mkdir()
        assert (facts_of(canary)["forked"], facts_of(canary)["left"]) == (forked, [container])
        box.rmdir()
        assert facts_of(canary)["left"] == []
        canary.close()
        assert not any((own / nest).exists() for own in bait.own_cgroups(set()).values())

    in_throwaway(story)


def test_burner_burns(tmp_path: Path) -> None:
    canary = canaries.place("burner", {"cpu": min(os.sched_getaffinity(0))}, tmp_path, NONCE)
    facts = facts_of(canary)
    assert facts["alive"]
    assert Path(f"/proc/{facts['pid']}/stat").read_text().rpartition(")")[2].split()[0] == "R"
    canary.close()


@pytest.mark.usefixtures("needs_root")
def test_a_login_is_the_launchers_and_nobody_elses(tmp_path: Path) -> None:
    def story() -> None:
        file = Path("/proc/self/loginuid")
        before = file.read_text()
        canary = canaries.place("login", {}, tmp_path, NONCE)

        def launch() -> str:
            canary.change_launcher((0, 1, 2))
            return file.read_text()

        assert in_throwaway(launch, CLONE(0)) == str(canary.facts()["uid"])
        assert file.read_text() == before

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
def test_a_queue_is_there_for_everyone_and_goes(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("message-queue", {}, tmp_path, NONCE)
        path = f"/{canary.facts()['name']}".encode()
        assert without_capabilities(lambda: libc.mq_open(path, os.O_RDWR)) >= 0
        canary.close()
        assert libc.mq_open(path, os.O_RDWR) == -1

    in_throwaway(story)
