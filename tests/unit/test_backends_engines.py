"""Docker, podman and containerd: what they are asked in their own words, what they cannot be asked, a daemon's end."""

import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from harness import shapes
from harness.backends import Config, Options, parse
from harness.backends._daemon import Daemon
from harness.backends._engine import watched
from harness.backends.docker import Docker, archived
from harness.backends.podman import FIRST_ID, ID, Podman, outside
from harness.errors import BadInput, HarnessError

BIND = {"destination": "/volume", "type": "bind", "source": "/srv", "options": ["rbind", "ro", "rprivate"]}
MAPPING = [{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]


def asked(**patch: Any) -> Config:
    """The default config, with a part of it replaced."""
    default = shapes.default(0, 0)
    default["root"]["path"] = "/tree"
    config: Config = shapes.merged(default, patch)
    return config


def docker(*words: str) -> Docker:
    return Docker(parse(f"docker:{','.join(words)}"))


def podman(*words: str) -> Podman:
    return Podman(parse(f"podman:{','.join(words)}"))


def test_as_asked_everything_is_said(tmp_path: Path) -> None:
    words = docker().words(asked(), tmp_path)
    assert {"--network=none", "--cgroupns=private", "--hostname=cell", "--user=0:0", "--read-only"} <= set(words)
    assert {"--cap-drop=ALL", "--cap-add=CAP_KILL", "--ulimit=nofile=1024:1024"} <= set(words)
    assert {"--security-opt=no-new-privileges", "--security-opt=seccomp=unconfined"} <= set(words)


def test_as_shipped_nothing_is_said_but_what_a_check_asks_for(tmp_path: Path) -> None:
    assert docker("as-shipped").words(asked(), tmp_path) == ["--interactive"]
    more = asked(hostname="other", linux={"resources": {"memory": {"limit": 4096}}})
    words = docker("as-shipped").words(more, tmp_path)
    assert words == ["--interactive", "--hostname=other", "--memory=4096"]


def test_as_shipped_more_capabilities_are_added_and_fewer_take_all_away(tmp_path: Path) -> None:
    usual = asked()["process"]["capabilities"]["bounding"]
    more, none = [*usual, "CAP_SYS_ADMIN"], list[str]()
    for wanted, words in ((more, ["--cap-add=CAP_SYS_ADMIN"]), (none, ["--cap-drop=ALL"])):
        config = asked(process={"capabilities": {"bounding": wanted, "effective": wanted, "permitted": wanted}})
        assert docker("as-shipped").words(config, tmp_path) == ["--interactive", *words]


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_a_namespace_that_is_not_asked_for_is_the_hosts(kind: str, tmp_path: Path) -> None:
    kinds = [entry for entry in asked()["linux"]["namespaces"] if entry["type"] != kind]
    for engine in (docker(), docker("as-shipped"), podman()):
        words = engine.words(asked(linux={"namespaces": kinds}), tmp_path)
        assert f"--{'cgroupns' if kind == 'cgroup' else kind}=host" in words
        assert not engine.unsupported(asked(linux={"namespaces": kinds}))


def test_a_filter_is_a_file_and_an_option_takes_its_place(tmp_path: Path) -> None:
    config = asked(linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}})
    assert f"--security-opt=seccomp={tmp_path}/seccomp.json" in docker().words(config, tmp_path)
    assert json.loads((tmp_path / "seccomp.json").read_text()) == {"defaultAction": "SCMP_ACT_ALLOW"}
    assert "--security-opt=seccomp=unconfined" in docker("seccomp=unconfined").words(config, tmp_path)


def test_mounts_are_said_in_each_engines_own_way(tmp_path: Path) -> None:
    tmpfs = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=1m"]}
    config = asked(mounts=[*asked()["mounts"], BIND, tmpfs])
    words = docker().words(config, tmp_path)
    assert "--mount=type=bind,source=/srv,target=/volume,readonly,bind-propagation=rprivate" in words
    assert "--tmpfs=/tmp:nosuid,size=1m,dev,exec" in words
    assert "--volume=/srv:/volume:ro,rprivate" in podman().words(config, tmp_path)


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ({"process": {"rlimits": [{"type": "RLIMIT_AS", "soft": 1, "hard": 1}]}}, "RLIMIT_AS"),
        ({"process": {"capabilities": {"effective": []}}}, "sets of capabilities that differ"),
        ({"linux": {"sysctl": {"user.max_user_namespaces": "0"}}}, "user.max_user_namespaces"),
        ({"linux": {"resources": {"devices": [{"allow": True, "access": "rwm"}]}}}, "rules of devices"),
        ({"linux": {"timeOffsets": {"boottime": {"secs": 1}}}}, "linux.timeOffsets"),
        ({"mounts": asked()["mounts"][1:]}, "without /proc"),
        ({"mounts": [*asked()["mounts"], {**BIND, "options": ["rbind", "rro"]}]}, "rro"),
        ({"hooks": {"poststop": [{"path": "/bin/true"}]}}, "hooks"),
    ],
)
def test_what_neither_can_express_is_told(patch: Config, reason: str) -> None:
    for engine in (docker(), podman(), podman("rootless")):
        assert reason in "; ".join(engine.unsupported(asked(**patch)))


def test_what_only_one_cannot_express_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    nosuid = asked(mounts=[*asked()["mounts"], {**BIND, "options": ["rbind", "nosuid"]}])
    assert docker().unsupported(nosuid) == ["a bind mount with nosuid"]
    assert podman().unsupported(nosuid) == []
    limited = asked(linux={"resources": {"memory": {"limit": 4096}}})
    assert podman().unsupported(limited) == []
    assert podman("rootless").unsupported(limited) == ["cgroups, which an ordinary user has not"]
    assert podman().unsupported(asked(domainname="example")) == ["domainname"]
    assert docker().unsupported(asked(domainname="example")) == []


def test_an_ordinary_user_counts_his_subordinate_ids_from_one(tmp_path: Path) -> None:
    config = asked(linux={"uidMappings": MAPPING, "gidMappings": MAPPING})
    assert f"--uidmap=0:{FIRST_ID}:65536" in podman().words(config, tmp_path)
    assert "--uidmap=0:1:65536" in podman("rootless").words(config, tmp_path)
    assert (outside(0, MAPPING), outside(7, MAPPING), outside(70000, MAPPING)) == (FIRST_ID, FIRST_ID + 7, 70000)
    assert ID < FIRST_ID


def test_an_option_that_is_none_is_told() -> None:
    from harness.backends.docker import make

    with pytest.raises(BadInput, match="unknown option 'rootless'; it has seccomp, as-shipped"):
        make(Options("docker", values={"rootless": ""}))


def test_a_tree_is_the_same_archive_whenever_it_is_made(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "tool").write_text(name[:0])
        (tmp_path / name / "bin" / "tool").chmod(0o4755)
        (tmp_path / name / "link").symlink_to("/bin/tool")
        os.utime(tmp_path / name / "bin" / "tool", (len(name), len(name)))
    archive = archived(tmp_path / "one")
    assert archive == archived(tmp_path / "other")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getnames() == ["bin", "bin/tool", "link"]
        assert tar.getmember("bin/tool").mode == 0o4755
        assert tar.getmember("link").linkname == "/bin/tool"


def test_what_a_client_says_is_handed_on_and_its_end_is_kept() -> None:
    reading, writing = os.pipe()
    script = "import sys; sys.stderr.write('begun' + 9000 * '.' + 'ended'); sys.exit(125)"
    with open(os.devnull, "r+b") as nothing, open(reading, "rb") as heard:
        streams = (nothing.fileno(), nothing.fileno(), writing)
        status, said = watched(asked(), [sys.executable, "-S", "-c", script], streams, 10.0)
        os.close(writing)
        assert heard.read() == b"begun" + 9000 * b"." + b"ended"
    assert status == 125
    assert said.endswith("ended")
    assert "begun" not in said


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo first; echo last >&2; exit 3", "it has ended with status 3; it said last: first | last"),
        ("exec sleep 60", "it does not answer within 0.3 s, and has said nothing"),
    ],
)
def test_a_daemon_that_does_not_answer_is_given_up_with_its_last_words(
    script: str, reason: str, tmp_path: Path
) -> None:
    daemon = Daemon(["sh", "-c", script], tmp_path, patience=0.3 if "sleep" in script else 10.0)
    with pytest.raises(HarnessError, match="start sh: " + reason.replace("|", r"\|")):
        daemon.wait(lambda: False)
