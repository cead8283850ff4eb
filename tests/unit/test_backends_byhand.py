"""What people do by hand: the script that is made of a config, and what of one has no command."""

from pathlib import Path
from typing import Any

import pytest

from harness import backends
from harness.backends import _asked
from harness.backends._byhand import script
from harness.errors import BadInput

LOG = Path("/log")


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The default config, as root gets it."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("harness.backends._command.found", lambda name: f"/bin/{name}")
    return _asked.usual()


def lines(config: dict[str, Any]) -> list[str]:
    """The lines of the script for a root with a blank in its path."""
    return list(script(config, "/a root", LOG))


def test_the_script_does_what_the_config_says_in_the_order_of_need(usual: dict[str, Any]) -> None:
    made = lines(usual)
    for earlier, later in [
        ("trap 'exit 125' EXIT", "hostname cell"),
        ("ip link set lo up", "mount --bind '/a root' '/a root'"),
        ("mount --bind '/a root' '/a root'", "mount -t proc -o nosuid,noexec,nodev proc '/a root/proc'"),
        ("mknod -m 666 '/a root/dev/null' c 1 3", "mount -o remount,bind,ro '/a root'"),
        ("mount -o remount,bind,ro '/a root'", "exec 2>&3 3>&-"),
    ]:
        assert made.index(earlier) < made.index(later)
    assert made[0] == "exec 3>&2 2>/log"
    assert made[-1] == (
        "exec prlimit --nofile=1024:1024 env -i "
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
        "/bin/setpriv --clear-groups --no-new-privs --inh-caps=-all --ambient-caps=-all "
        "--bounding-set=-all,+audit_write,+kill,+net_bind_service,+sys_chroot /bin/chroot '/a root' \"$@\""
    )


def test_another_user_is_become_by_chroot(usual: dict[str, Any]) -> None:
    usual["process"] |= {"user": {"uid": 1000, "gid": 5, "additionalGids": [7, 8]}, "noNewPrivileges": False}
    last = lines(usual)[-1]
    assert last.endswith("""/bin/chroot --userspec=+1000:+5 --groups=7,8 '/a root' "$@\"""")
    assert "+sys_chroot,+setuid,+setgid" in last
    assert "--no-new-privs" not in last


def test_text_of_a_config_is_no_shell(usual: dict[str, Any]) -> None:
    usual["hostname"] = "$(reboot)"
    usual["mounts"].append({"destination": "/a;b", "type": "bind", "source": "/x y", "options": ["rbind", "ro"]})
    made = lines(usual)
    assert "hostname '$(reboot)'" in made
    assert "mount -o rbind,ro '/x y' '/a root/a;b'" in made
    folder, file = "mkdir -p '/a root/a;b'", "mkdir -p '/a root'; touch '/a root/a;b'"
    assert f"if [ -d '/x y' ]; then {folder}; elif [ ! -e '/a root/a;b' ]; then {file}; fi" in made


@pytest.mark.parametrize("runtime", ["unshare", "chroot"])
def test_the_default_config_is_asked_for_and_nothing_that_has_no_command(runtime: str, usual: dict[str, Any]) -> None:
    backend = backends.load(runtime)
    assert backend.unsupported(usual) == []
    usual["linux"] |= {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}, "resources": {"pids": {"limit": 7}}}
    usual["process"] |= {"cwd": "/tmp", "terminal": True}
    usual["mounts"].append({"destination": "/x", "type": "bind", "source": "/y", "options": ["rbind", "rro"]})
    assert backend.unsupported(usual) == [
        "linux.resources.pids.limit",
        "linux.seccomp",
        "process.terminal",
        "process.cwd (chroot(8) goes to /)",
        "the mount option rro",
    ]


def test_capabilities_of_all_sets_are_given_but_to_another_user_no_ambient_ones(usual: dict[str, Any]) -> None:
    usual["process"]["capabilities"] = {kind: ["CAP_NET_RAW"] for kind in ("bounding", "inheritable", "ambient")}
    assert "--inh-caps=-all,+net_raw --ambient-caps=-all,+net_raw --bounding-set=-all,+net_raw" in lines(usual)[-1]
    assert backends.load("unshare").unsupported(usual) == []
    usual["process"]["user"] = {"uid": 1000, "gid": 1000}
    assert len(backends.load("unshare").unsupported(usual)) == 1


def test_names_are_the_hosts_for_chroot(usual: dict[str, Any]) -> None:
    usual |= {"hostname": "another", "domainname": "another"}
    assert backends.load("chroot").unsupported(usual) == ["hostname", "domainname"]
    assert backends.load("unshare").unsupported(usual) == []


def test_no_other_executable_is_promised_than_the_script_would_call() -> None:
    with pytest.raises(BadInput, match="it has no executable that could be another"):
        backends.load("chroot:/opt/chroot")


def test_unshare_makes_the_namespaces_that_are_asked_for(usual: dict[str, Any]) -> None:
    unshare: Any = backends.load("unshare")
    made = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork", "--kill-child"]
    assert unshare.around(usual) == made
    usual["linux"] |= {
        "namespaces": [{"type": "mount"}, {"type": "user"}, {"type": "time"}],
        "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
        "timeOffsets": {"boottime": {"secs": 60}},
    }
    flags = ["--mount", "--user", "--time", "--map-root-user", "--boottime=60"]
    assert unshare.around(usual) == ["unshare", *flags, "--fork", "--kill-child"]
    usual["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 1 << 20, "size": 1}]
    usual["linux"]["timeOffsets"]["boottime"] = {"secs": 60, "nanosecs": 5}
    assert [reason.partition(" ")[0] for reason in unshare.unsupported(usual)] == [
        "linux.uidMappings",
        "linux.timeOffsets",
    ]


def test_a_namespace_of_somebody_elses_has_no_command(usual: dict[str, Any]) -> None:
    usual["linux"]["namespaces"] = [{"type": "mount"}, {"type": "network", "path": "/proc/7/ns/net"}]
    assert backends.load("unshare").unsupported(usual) == ["linux.namespaces.network.path"]


@pytest.mark.parametrize("runtime", ["unshare:as-shipped", "chroot:as-shipped"])
def test_as_shipped_nothing_is_made_in_the_directories_of_the_host(runtime: str, usual: dict[str, Any]) -> None:
    backend = backends.load(runtime)
    assert backend.unsupported(usual) == []
    usual["linux"]["devices"] = [{"type": "p", "path": "/dev/channel/pipe"}]
    usual["mounts"].append({"destination": "/dev/disks", "type": "tmpfs", "source": "disks"})
    assert backend.unsupported(usual) == [
        "/dev/disks (it would be made on the host)",
        "/dev/channel/pipe (it would be made on the host)",
    ]
