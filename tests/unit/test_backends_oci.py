"""Runtimes with runc's command line: what they are told, what is made of what they say, and stand-ins for them."""

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import backends
from harness.backends import _asked, _oci
from harness.backends._oci import Oci, complaint, laid_over
from harness.backends.crun import Crun
from harness.backends.runsc import Runsc
from harness.errors import HarnessError

DEADLINE = 20.0  # seconds
RECORDER = """#!/bin/sh
[ "$1" = --version ] && { echo 'youki version 0.5.7'; exit; }
for word in "$@"; do printf '<%s>' "$word"; done >> RECORD
echo >> RECORD
"""


def config(**linux: Any) -> dict[str, Any]:
    """The default config, with more below `linux`."""
    usual = _asked.usual()
    return {**usual, "linux": {**usual["linux"], **linux}}


def program(path: Path, text: str) -> str:
    """Make a program of a text and return its path."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def streams() -> Iterator[tuple[int, int, int]]:
    """Standard streams that end in nothing."""
    with open(os.devnull, "r+b") as nothing:
        yield nothing.fileno(), nothing.fileno(), nothing.fileno()


def test_youki_is_told_what_runc_is(tmp_path: Path, streams: tuple[int, int, int]) -> None:
    """No package has youki, so that a stand-in takes its place, which only writes down its command line."""
    record = tmp_path / "record"
    youki = program(tmp_path / "youki", RECORDER.replace("RECORD", str(record)))
    backend = backends.load(f"youki:{youki}")
    assert backend.available() is None
    assert backend.version() == "0.5.7"
    ended = backend.run(config(), tmp_path, streams, DEADLINE)
    before = f"<--root><{tmp_path}/state><--log><{tmp_path}/runtime.log><--log-format><json>"
    name = f"isoproof-{os.getpid()}"
    assert [line for line in record.read_text().splitlines() if line != "<features>"] == [
        f"{before}<run><--bundle><{tmp_path}><{name}>",
        f"{before}<delete><--force><{name}>",
    ]
    assert ended.status == 0
    assert ended.command[0] == youki
    assert json.loads((tmp_path / "config.json").read_text()) == config()


def test_without_youki_it_is_said_that_nobody_has_tried_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.backends._command.found", lambda name: None)
    assert "Not tried by us" in str(backends.load("youki").available())


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        ("oci", "name its executable: --runtime oci:/path/to/binary"),
        ("oci:/nowhere/runtime", "no program at /nowhere/runtime"),
        ("oci:/usr", "no program at /usr"),
        ("runc:/nowhere/runc", "no program at /nowhere/runc"),
    ],
)
def test_an_executable_that_is_none_is_told(runtime: str, reason: str) -> None:
    assert backends.load(runtime).available() == reason


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ('{"level":"info","msg":"a"}\n{"level":"error","msg":"why","time":"now"}\n{"level":"info","msg":"b"}\n', "why"),
        ('{"timestamp":"now","level":"ERROR","fields":{"message":"in Rust"}}\n', "in Rust"),
        ('time="now" level=error msg="as text"\n', "as text"),
        ('{"level":"info","msg":"level=error"}\n', ""),
        ("garbage\n[1, 2]\nnull\n", ""),
        ('{"level":"error"}\n', '{"level":"error"}'),
        ("", ""),
    ],
)
def test_a_complaint_is_the_last_error_of_the_log(tmp_path: Path, log: str, told: str) -> None:
    (tmp_path / "log").write_text(log)
    assert complaint(tmp_path / "log") == told


def test_a_log_that_is_endless_is_read_from_its_end(tmp_path: Path) -> None:
    error = '{"level":"error","msg":"%s"}\n'
    (tmp_path / "log").write_text(error % "first" + "x" * (_oci.LOGGED << 4) + "\n" + error % "last")
    assert complaint(tmp_path / "log") == "last"
    assert complaint(tmp_path / "missing") == ""


def test_a_runtime_that_hangs_is_an_error_and_its_container_is_removed(
    tmp_path: Path, streams: tuple[int, int, int]
) -> None:
    text = f'#!/bin/sh\ncase "$*" in *delete*) echo deleted > {tmp_path}/deleted;; *) sleep 60;; esac\n'
    hanging = backends.load(f"oci:{program(tmp_path / 'hanging', text)}")
    with pytest.raises(HarnessError, match=r"it has not ended in 0\.1 s"):
        hanging.run(config(), tmp_path, streams, 0.1)
    assert (tmp_path / "deleted").exists()


def test_a_runtime_that_is_gone_is_no_refusal(tmp_path: Path) -> None:
    receiver, sender = os.pipe()
    ended = backends.load("oci:/nowhere/runtime").run(config(), tmp_path, (0, sender, sender), DEADLINE)
    os.close(sender)
    with os.fdopen(receiver) as said:
        assert said.read() == "start /nowhere/runtime: No such file or directory\n"
    assert (ended.status, ended.refused) == (_oci.BROKEN, "")


def test_what_goes_beyond_our_default_is_laid_over_the_runtimes_own() -> None:
    own = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runtime",
        "process": {"terminal": True, "args": ["sh"], "env": ["PATH=/own"]},
        "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/tmp", "type": "tmpfs"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "uts"}], "maskedPaths": ["/proc/own"]},
    }
    asked = config(resources={"pids": {"limit": 7}})
    asked["root"] = {"path": "/tree", "readonly": True}
    asked["process"] = {**asked["process"], "args": ["/probe"], "oomScoreAdj": 5}
    asked["linux"]["namespaces"] = [entry for entry in asked["linux"]["namespaces"] if entry["type"] != "pid"]
    asked["linux"]["namespaces"].append({"type": "time"})
    asked["mounts"] = [*asked["mounts"], {"destination": "/tmp", "type": "bind", "source": "/bait"}]
    shipped = laid_over(_asked.beyond_default(asked), own)
    assert shipped["root"] == {"path": "/tree", "readonly": True}
    assert shipped["hostname"] == "runtime"
    assert shipped["process"] == {"terminal": False, "args": ["/probe"], "env": ["PATH=/own"], "oomScoreAdj": 5}
    assert [mount["type"] for mount in shipped["mounts"]] == ["proc", "bind"]
    assert shipped["linux"] == {
        "namespaces": [{"type": "uts"}, {"type": "time"}],
        "maskedPaths": ["/proc/own"],
        "resources": {"pids": {"limit": 7}},
    }


def test_as_shipped_nobody_is_renamed_without_a_namespace_for_names() -> None:
    own = {"hostname": "runtime", "process": {}, "mounts": [], "linux": {"namespaces": [{"type": "uts"}]}}
    asked = config(namespaces=[{"type": "mount"}])
    assert "hostname" not in laid_over(_asked.beyond_default(asked), own)


def test_as_shipped_a_runtime_writes_its_own_config(tmp_path: Path, streams: tuple[int, int, int]) -> None:
    text = """#!/bin/sh
case "$*" in spec*) echo '{"process": {"env": ["own"]}, "linux": {"seccomp": {"own": true}}}' > config.json;; esac
"""
    backend = backends.load(f"oci:{program(tmp_path / 'runtime', text)},as-shipped")
    backend.run(config(), tmp_path, streams, DEADLINE)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["process"]["env"] == ["own"]
    assert written["process"]["args"] == config()["process"]["args"]
    assert written["linux"] == {"seccomp": {"own": True}}


def test_a_runtime_whose_spec_is_garbage_does_not_start(tmp_path: Path, streams: tuple[int, int, int]) -> None:
    text = f"""#!/bin/sh
case " $* " in *" spec "*) echo garbage > config.json;; *" run "*) echo ran > {tmp_path}/ran;; esac
"""
    backend = backends.load(f"oci:{program(tmp_path / 'runtime', text)},as-shipped")
    assert backend.run(config(), tmp_path, streams, DEADLINE).status == _oci.BROKEN
    assert not (tmp_path / "ran").exists()


def test_what_a_runtime_says_of_itself_decides_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"features": '{"linux": {"namespaces": ["pid", "uts"], "netDevices": {"enabled": true}}}'}
    monkeypatch.setattr("harness.backends._command.answer", lambda program, word: answers.get(word, ""))
    backend = Oci(backends.Options("oci", "/bin/true"))
    asked = config(namespaces=[{"type": "pid"}, {"type": "time"}])
    assert backend.unsupported(asked) == ["a namespace of type time (it says that it knows pid, uts)"]
    lent = config(namespaces=[], netDevices={"eth0": {}})
    assert backend.unsupported(lent) == []
    silent = Oci(backends.Options("oci", "/bin/true"))
    answers["features"] = "unknown command features"
    assert silent.unsupported(asked) == []
    assert silent.unsupported(lent) == ["linux.netDevices (without a word that it knows the field it passes over it)"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("echo runtime version 1.2.3-rc1; exit 1", "1.2.3-rc1"),
        ("echo 1.2.3 >&2; exec yes", "1.2.3"),
        ("echo 1.2.3; exec sleep 60", ""),
        ("echo 1.2.3; exec >&- 2>&-; exec sleep 60", ""),
        ("sleep 60 & echo 1.2.3", "1.2.3"),
    ],
)
def test_a_question_is_answered_in_time_and_briefly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, version: str
) -> None:
    monkeypatch.setattr("harness.backends._command.PATIENCE", 0.5)
    runtime = program(tmp_path / "runtime", f"#!/bin/sh\n{text}\n")
    assert backends.load(f"oci:{runtime}").version() == version


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_sysctls_that_they_take_for_the_hosts_are_not_asked_for(runtime: str) -> None:
    asked = config(sysctl={"kernel.pid_max": "500", "user.max_net_namespaces": "1", "net.ipv4.ip_default_ttl": "7"})
    named = [reason.split()[2] for reason in backends.load(runtime).unsupported(asked) if "sysctl" in reason]
    assert named == ["kernel.pid_max", "user.max_net_namespaces"]


def test_crun_is_not_asked_for_what_is_hidden_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Crun(backends.Options("crun"))
    wanted = config(resources={"unified": {"memory.high": "max"}})
    monkeypatch.setattr("harness.backends._oci.undelegated", lambda _config: [])  # as root has it
    monkeypatch.setattr("harness.backends.crun.refused_points", lambda: ["/cg/unified"])
    assert backend.unsupported(wanted) == ["linux.resources.unified (version 2 of cgroups is hidden from it here)"]
    assert backend.unsupported(config()) == []
    monkeypatch.setattr("harness.backends.crun.refused_points", list)
    assert backend.unsupported(wanted) == []


def test_crun_is_run_where_version_2_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Crun(backends.Options("crun"))
    monkeypatch.setattr("harness.backends.crun.refused_points", lambda: ["/cg/unified"])
    command = 'mount -t tmpfs tmpfs /cg/unified && exec "$@"'
    # What is shared stays so, or no check of propagation could fail.
    assert backend.around() == ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", command, "sh"]
    monkeypatch.setattr("harness.backends.crun.refused_points", list)
    assert backend.around() == ()


def test_gvisor_is_told_of_network_and_filter() -> None:
    asked = config(seccomp={"defaultAction": "SCMP_ACT_ALLOW"})
    backend = Runsc(backends.parse("runsc"))
    assert backend.flags(asked) == ["--ignore-cgroups", "--network=none"]
    assert backend.unsupported(asked) != []
    heeding = Runsc(backends.parse("runsc:oci-seccomp,platform=kvm"))
    assert heeding.flags(asked) == ["--ignore-cgroups", "--network=none", "--oci-seccomp", "--platform=kvm"]
    assert heeding.unsupported(asked) == []
    without = {**asked, "linux": {"namespaces": [{"type": "mount"}]}}
    assert "--network=host" in backend.flags(without)


def test_gvisor_gets_room_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Runsc(backends.parse("runsc"))
    limit = (512, resource.RLIM_INFINITY)
    monkeypatch.setattr("resource.getrlimit", lambda _: limit)
    assert backend.around() == ("prlimit", "--fsize=unlimited:")
    limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert backend.around() == ()
