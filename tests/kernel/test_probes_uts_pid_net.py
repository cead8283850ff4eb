"""The probes of the areas uts, pid and net: what they see without isolation, and that they do not with it.

The outer throwaway plays the host and holds the bait; a second one inside it plays the container.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import canaries
from harness.runtime.syscalls import CLONE, invoke
from tests.kernel.probing import observe, runner
from tests.kernel.throwaway import EVERYTHING, in_throwaway, without_capabilities

pytestmark = pytest.mark.usefixtures("needs_namespaces")


def test_sethostname_changes_the_name_of_its_own_namespace() -> None:
    def story() -> None:
        before = os.uname().nodename
        assert in_throwaway(lambda: observe("sethostname", name="inside"), CLONE.NEWUTS)["errno"] is None
        assert os.uname().nodename == before
        assert observe("sethostname")["errno"] is None
        assert os.uname().nodename == before
        assert observe("sethostname", name="outside")["errno"] is None
        assert os.uname().nodename == "outside"

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
def test_sethostname_is_denied_without_capabilities() -> None:
    assert in_throwaway(lambda: without_capabilities(lambda: observe("sethostname")))["errno"] == "EPERM"


def test_processes_finds_the_holder_of_a_token(tmp_path: Path) -> None:
    def story() -> None:
        bait = canaries.place("process", {}, tmp_path, "")
        facts: dict[str, Any] = bait.facts()
        assert observe("processes", token=facts["token"])["holders"] == [facts["pid"]]
        seen = in_throwaway(lambda: observe("processes", token=facts["token"]))
        assert seen["holders"] == []
        assert seen["self"] == 1
        assert seen["pids"] == [1]
        bait.close()

    in_throwaway(story)


def test_processes_is_not_deceived_by_its_own_request() -> None:
    def story() -> None:
        with subprocess.Popen([sys.executable, "-c", "input()", "feedbeef"], stdin=subprocess.PIPE) as innocent:
            seen = observe("processes", token="feedbeef")
            assert innocent.pid in seen["pids"]
            assert seen["holders"] == []
            innocent.communicate(b"\n")

    in_throwaway(story)


def test_foreign_process_is_reached_by_every_call_or_by_none(tmp_path: Path) -> None:
    def story() -> None:
        Path("/proc/sys/kernel/ns_last_pid").write_text("20000")
        bait = canaries.place("process", {}, tmp_path, "")
        pid = bait.child.pid  # type: ignore[attr-defined]
        reached = observe("foreign_process", pid=pid)
        assert len(reached) == 15
        assert {call for call, outcome in reached.items() if outcome["errno"] == "ESRCH"} == set()
        assert [call for call, outcome in reached.items() if outcome["errno"]] in ([], ["process_vm_readv"])
        hidden = in_throwaway(lambda: observe("foreign_process", pid=pid))
        assert {outcome["errno"] for outcome in hidden.values()} == {"ESRCH"}
        assert bait.facts()["signals"] == []
        bait.close()

    in_throwaway(story)


def test_kill_all_reaches_the_bait_or_nobody(tmp_path: Path) -> None:
    def story() -> None:
        signal.signal(signal.SIGWINCH, signal.SIG_IGN)
        bait = canaries.place("process", {}, tmp_path, "")
        assert in_throwaway(lambda: observe("kill_all"))["errno"] == "ESRCH"
        assert in_throwaway(lambda: observe("kill_all", signal=28))["errno"] == "ESRCH"
        assert bait.facts()["signals"] == []
        assert observe("kill_all")["errno"] is None
        assert observe("kill_all", signal=28)["errno"] is None
        assert bait.facts()["signals"] == ["SIGWINCH"]
        bait.close()

    in_throwaway(story)


def test_kill_all_refuses_a_signal_that_does_harm() -> None:
    assert observe("kill_all", signal=9) == {"errno": "EINVAL"}


def test_daemon_leaves_everything_and_outlives_the_probe() -> None:
    def story() -> None:
        receiver, sender = os.pipe()
        child = os.fork()
        if child == 0:
            facts = observe("daemon", seconds=0.1)
            os._exit(0 if facts["session"] == facts["pid"] else 1)
        os.close(sender)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert os.read(receiver, 1) == b""  # no descriptor of ours is open in it
        _daemon, status = os.waitpid(-1, 0)  # we are process 1: it was alive, and is ours
        assert os.waitstatus_to_exitcode(status) == 0

    in_throwaway(story)


def test_orphans_stay_without_a_reaper_and_go_with_one() -> None:
    def in_child(reap: bool) -> dict[str, Any]:
        receiver, sender = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(sender, repr(observe("orphans", count=5, seconds=0.05 if not reap else 2)).encode())
            os._exit(0)
        while reap and os.waitpid(-1, 0)[0] != child:
            pass
        return dict(eval(os.read(receiver, 4096)))

    without = in_throwaway(lambda: in_child(reap=False))
    assert (without["orphans"], without["parents"], without["zombies"]) == (5, [1], 5)
    reaped = in_throwaway(lambda: in_child(reap=True))
    assert (reaped["orphans"], reaped["parents"], reaped["zombies"]) == (5, [1], 0)


def test_signal_sender_tells_the_number() -> None:
    """That a sender outside is 0 is shown where the bait `signal` is tested."""

    def story() -> None:
        observed = runner.load("signal_sender").observe()
        assert next(observed) == {"pid": os.getpid()}
        child = os.fork()
        if child == 0:
            os.kill(os.getppid(), signal.SIGUSR1)
            os._exit(0)
        with pytest.raises(StopIteration) as end:
            observed.send({})
        assert end.value.value == {"received": True, "sender": child, "uid": os.getuid()}

    in_throwaway(story)


def test_peer_and_lock_holder_have_a_number_only_in_their_own_namespace(tmp_path: Path) -> None:
    def story() -> None:
        service = canaries.place("socket", {}, tmp_path, "")
        ledger = canaries.place("lock", {}, tmp_path, "")
        path, locked = service.facts()["path"], ledger.facts()["path"]
        assert observe("peer_credentials", path=path)["pid"] == os.getpid()
        assert observe("lock_holder", path=locked) == {
            "errno": None,
            "type": "F_WRLCK",
            "pid": ledger.facts()["pid"],
        }
        assert in_throwaway(lambda: observe("peer_credentials", path=path))["pid"] == 0
        assert in_throwaway(lambda: observe("lock_holder", path=locked)) == {
            "errno": None,
            "type": "F_WRLCK",
            "pid": 0,
        }
        assert observe("peer_credentials", path="/nowhere")["errno"] == "ENOENT"
        assert observe("lock_holder", path="/nowhere")["errno"] == "ENOENT"
        ledger.close()
        service.close()

    in_throwaway(story)


def test_locks_names_the_bait_unless_proc_is_new(tmp_path: Path) -> None:
    def story() -> None:
        ledger = canaries.place("lock", {}, tmp_path, "")
        key = ledger.facts()["key"]
        assert key in observe("locks")["files"]
        assert key not in in_throwaway(lambda: observe("locks"))["files"]
        assert key in in_throwaway(lambda: observe("locks"), CLONE.NEWPID)["files"]  # the old /proc
        ledger.close()

    in_throwaway(story)


def test_sysctl_reads_values_and_reports_what_is_missing() -> None:
    facts = observe("sysctl", names=["kernel.ostype", "kernel.no_such_thing"])
    assert facts == {"kernel.ostype": "Linux", "kernel.no_such_thing": {"errno": "ENOENT"}}


def test_network_names_interfaces_and_sockets_of_one_namespace_only(tmp_path: Path) -> None:
    def fresh() -> dict[str, Any]:
        invoke("mount", b"sysfs", b"/sys", b"sysfs", 0, 0)
        return observe("network")

    def story() -> None:
        service = canaries.place("tcp", {}, tmp_path, "")
        whisper = canaries.place("abstract", {}, tmp_path, "")
        cable = canaries.place("interface", {}, tmp_path, "")
        facts: dict[str, Any] = service.facts()
        name: Any = whisper.facts()["name"]
        inodes: Any = whisper.facts()["inodes"]
        names: Any = cable.facts()["names"]
        here = fresh()
        assert here["names"] == here["links"] == here["sysfs"] == here["devices"] == sorted(["lo", *names])
        assert here["tcp"] == [facts["port"]]
        assert here["udp"] == []
        assert here["unix"] == [f"@{name}"]
        assert here["inodes"] == here["diag"] == sorted([*facts["inodes"], *inodes])
        there = in_throwaway(fresh)
        assert there["names"] == there["links"] == there["sysfs"] == there["devices"] == ["lo"]
        assert [there[table] for table in ("tcp", "udp", "unix", "inodes", "diag", "arp")] == [[]] * 6
        assert None is not here["cookie"] != there["cookie"]
        assert in_throwaway(lambda: observe("network"), EVERYTHING & ~CLONE.NEWNET)["cookie"] == here["cookie"]
        for canary in (cable, whisper, service):
            canary.close()

    in_throwaway(story)


def test_loopback_tells_up_from_down() -> None:
    def down() -> dict[str, Any]:
        invoke("unshare", CLONE.NEWNET)
        return observe("loopback")

    up = in_throwaway(lambda: observe("loopback"))
    assert up["ipv4"] == {"errno": None, "closed": "ECONNREFUSED"}
    assert in_throwaway(down)["ipv4"] == {"errno": "ENETUNREACH", "closed": "ENETUNREACH"}


def test_tcp_connect_reaches_the_bait_or_is_refused(tmp_path: Path) -> None:
    def story() -> None:
        service = canaries.place("tcp", {}, tmp_path, "")
        facts: dict[str, Any] = service.facts()
        target = {"addresses": facts["addresses"], "port": facts["port"]}
        assert {outcome["errno"] for outcome in observe("tcp_connect", **target).values()} == {None}
        refused = in_throwaway(lambda: observe("tcp_connect", **target))
        assert {outcome["errno"] for outcome in refused.values()} == {"ECONNREFUSED"}
        assert service.facts()["accepted"] == len(facts["addresses"])
        service.close()

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
def test_network_admin_changes_nothing_and_tells_whether_it_could() -> None:
    def story() -> None:
        before = observe("network")
        allowed = observe("network_admin")
        assert "EPERM" not in {outcome["errno"] for outcome in allowed.values()}
        assert observe("network") == before
        denied = without_capabilities(lambda: observe("network_admin"))
        assert {outcome["errno"] for outcome in denied.values()} <= {"EPERM", "EPROTONOSUPPORT"}
        assert denied["new_link"] == denied["new_route"] == denied["interface_flags"] == {"errno": "EPERM"}

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
def test_raw_sockets_open_with_the_capability_only() -> None:
    def story() -> None:
        assert observe("raw_sockets")["icmp"]["errno"] is None
        denied = without_capabilities(lambda: observe("raw_sockets"))
        assert {outcome["errno"] for outcome in denied.values()} <= {"EPERM", "EAFNOSUPPORT"}
        assert denied["icmp"]["errno"] == "EPERM"

    in_throwaway(story)


def test_uevents_are_heard_in_the_namespace_of_the_interface_only(tmp_path: Path) -> None:
    def heard(namespaces: CLONE, act: Callable[[], None]) -> dict[str, Any]:
        """The probe's facts, from namespaces in which it waits while `act` is done outside them."""
        ours, theirs = socket.socketpair()

        def listen() -> dict[str, Any]:
            observed = runner.load("uevents").observe()
            next(observed)
            theirs.send(b".")
            theirs.recv(1)
            with pytest.raises(StopIteration) as end:
                observed.send({"heard": 1})
            return dict(end.value.value)

        child = os.fork()
        if child == 0:
            ours.recv(1)
            act()
            ours.send(b".")
            os._exit(0)
        facts = in_throwaway(listen, namespaces)
        os.waitpid(child, 0)
        return facts

    def story() -> None:
        cable = canaries.place("interface", {}, tmp_path, "")
        brief = cable.facts()["brief"][0]  # type: ignore[index]

        def act() -> None:
            assert cable.act({"ready": {}})["heard"]

        shared = heard(CLONE.NEWUTS, act)
        assert f"add@/devices/virtual/net/{brief}" in shared["events"]
        assert f"remove@/devices/virtual/net/{brief}" in shared["events"]
        apart = heard(CLONE.NEWNET, act)
        assert apart == {"errno": None, "events": [], "host": {"heard": 1}}
        cable.close()

    in_throwaway(story)


def test_who_is_about_to_end_is_not_left_behind() -> None:
    """A first process of a namespace can only end when all in it have been reaped: until then it has PF_EXITING."""

    def story() -> None:
        sleepers = []
        invoke("unshare", CLONE.NEWPID)
        for _ in range(2):
            sleepers.append(os.fork())
            if not sleepers[-1]:
                signal.pause()
        first, second = map(str, sleepers)
        assert {first, second} <= set(observe("host_snapshot", rootfs="/none")["processes"])
        os.kill(sleepers[0], signal.SIGKILL)
        os.waitid(os.P_PID, sleepers[1], os.WEXITED | os.WNOWAIT)
        assert Path("/proc", first, "stat").read_text().split()[2] in "RSD"
        assert not {first, second} & set(observe("host_snapshot", rootfs="/none")["processes"])
        for pid in reversed(sleepers):
            os.waitpid(pid, 0)

    in_throwaway(story)


def test_who_lives_on_without_its_first_thread_is_left_behind() -> None:
    def story() -> None:
        pid = os.fork()
        if not pid:
            threading.Thread(target=time.sleep, args=(1000,)).start()
            ctypes.CDLL(None).pthread_exit(None)
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.001)
        assert str(pid) in observe("host_snapshot", rootfs="/none")["processes"]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    in_throwaway(story)
