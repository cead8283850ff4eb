"""Named containers: that each makes the config which its source has, and that none changes another."""

import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness import shapes
from harness.language import Container
from harness.runtime.config import Config, read
from harness.runtime.profile import profile
from harness.runtime.spec import example
from harness.scenario import load_shape, shape_names

FOLDER = Path(__file__).parents[2] / "scenarios/shapes"
KIT = {
    "destination": "/isoproof",
    "type": "bind",
    "source": "container.kit",
    "options": ["bind", "ro", "nosuid", "nodev"],
}
PROFILES = {"default", "hardened", "oci-default", "docker-like", "pod-security-baseline", "pod-security-restricted"}

# Kubernetes Pod Security Standards: what baseline lets a pod add, and restricted.
BASELINE = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
)


def container(name: str) -> Container:
    return load_shape(FOLDER / f"{name}.yaml").container


def config(*names: str, own: Container | None = None, uid: int = 0) -> Config:
    return shapes.config([*map(container, names), own or Container()], uid, uid)


def capabilities(made: Config) -> set[str]:
    return {name.removeprefix("CAP_") for name in made["process"]["capabilities"]["bounding"]}


def test_the_profiles_that_people_know_are_there() -> None:
    assert set(shape_names(FOLDER)) >= PROFILES


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("name", shape_names(FOLDER))
def test_each_is_a_config_that_the_runtime_reads(name: str, uid: int) -> None:
    made = json.loads(json.dumps(config(name, uid=uid)).replace('"container.', '"/'))
    read(made, strict=True)


def test_the_default_is_what_the_runtime_begins_with() -> None:
    made, begun = config("default"), example(0, 0)
    assert made["mounts"] == [*begun["mounts"], KIT]
    assert {**made, "mounts": [], "root": {}, "process": {}} == {**begun, "mounts": [], "root": {}, "process": {}}
    assert {**made["process"], "args": []} == {**begun["process"], "args": []}


def test_docker() -> None:
    made = config("docker-like")
    assert capabilities(made) == {*BASELINE.split(), "NET_RAW"}
    assert made["linux"]["seccomp"] == profile(made["process"]["capabilities"]["bounding"], platform.machine())
    assert (made["process"]["noNewPrivileges"], made["root"]["readonly"]) == (False, False)
    assert made["process"]["user"] == {"uid": 0, "gid": 0}
    assert {"type": "cgroup"} in made["linux"]["namespaces"]


def test_pods() -> None:
    baseline, restricted = config("pod-security-baseline"), config("pod-security-restricted")
    assert capabilities(baseline) == set(BASELINE.split())
    assert capabilities(restricted) == {"NET_BIND_SERVICE"}
    assert [made["process"]["noNewPrivileges"] for made in (baseline, restricted)] == [False, True]
    assert ["seccomp" in made["linux"] for made in (baseline, restricted)] == [False, True]
    assert [made["process"]["user"]["uid"] for made in (baseline, restricted)] == [0, 1000]
    assert baseline["linux"]["maskedPaths"] == restricted["linux"]["maskedPaths"]


def test_hardened_has_every_barrier() -> None:
    made = config("hardened")
    assert capabilities(made) == set()
    assert made["process"]["noNewPrivileges"]
    assert made["root"]["readonly"]
    assert made["process"]["user"]["uid"] == 1000
    assert "seccomp" in made["linux"]
    assert {"type": "user"} in made["linux"]["namespaces"]
    assert made["linux"]["uidMappings"] == [{"containerID": 0, "hostID": shapes.FIRST_ID, "size": shapes.IDS}]


def test_an_ordinary_user_keeps_the_only_map_that_he_can_write() -> None:
    assert config("userns", uid=1000) == config("default", uid=1000)


def test_oci_default_is_what_runc_spec_writes(tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    runc = shutil.which("runc", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    if not runc:
        missing("runc is not installed")
    subprocess.run([runc, "spec"], cwd=tmp_path, check=True)
    theirs: dict[str, Any] = json.loads((tmp_path / "config.json").read_text())
    ours = config("oci-default")
    assert ours["mounts"] == [*theirs["mounts"], KIT]
    assert ours["root"]["readonly"] == theirs["root"]["readonly"]
    for name in ("env", "cwd", "user", "noNewPrivileges", "rlimits"):
        assert ours["process"][name] == theirs["process"][name], name
    for kind in ("bounding", "effective", "permitted"):
        assert sorted(ours["process"]["capabilities"][kind]) == theirs["process"]["capabilities"][kind]
    assert ours["linux"]["resources"] == theirs["linux"]["resources"]
    assert ours["linux"]["readonlyPaths"] == theirs["linux"]["readonlyPaths"]
    # The last of them is of a later version, and so is the cgroup namespace everywhere.
    assert set(ours["linux"]["maskedPaths"]) - {"/sys/devices/virtual/tpm"} <= set(theirs["linux"]["maskedPaths"])
    assert set(theirs["linux"]["maskedPaths"]) <= set(ours["linux"]["maskedPaths"])
    kinds = [{entry["type"] for entry in made["linux"]["namespaces"]} for made in (theirs, ours)]
    assert kinds[0] | {"cgroup"} == kinds[1]


def test_shapes_are_laid_over_each_other_and_the_own_container_over_them() -> None:
    own = Container(grant=["SYS_ADMIN"], memory=1 << 20, mounts=[{"destination": "/own", "type": "tmpfs"}])  # type: ignore[arg-type]
    made = config("docker-like", "oci-default", own=own)
    assert capabilities(made) == {"AUDIT_WRITE", "KILL", "NET_BIND_SERVICE", "SYS_ADMIN"}
    # The filter of the first has stayed, and has become that of the capabilities that there are now.
    assert made["linux"]["seccomp"] == profile(made["process"]["capabilities"]["bounding"], platform.machine())
    assert made["mounts"][-2:] == [KIT, {"destination": "/own", "type": "tmpfs"}]
    assert set(made["linux"]["resources"]) == {"devices", "memory"}
    assert "seccomp" not in config("docker-like", "pod-security-baseline")["linux"]


def test_one_cgroup_mount_is_enough() -> None:
    made = config("oci-default", own=Container(cgroup=True))
    assert [mount["destination"] for mount in made["mounts"] if mount["type"] == "cgroup"] == ["/sys/fs/cgroup"]


def test_what_is_laid_over_a_shape_does_not_get_into_it() -> None:
    shape = container("oci-default")
    before = json.dumps(shape.as_dict())
    own = Container(grant=["SYS_ADMIN"], mounts=[{"destination": "/own", "type": "tmpfs"}], oci={"hostname": "other"})
    made = shapes.config([shape, own], 0, 0)
    made["linux"]["resources"]["devices"].append("more")
    made["process"]["capabilities"]["bounding"].append("more")
    assert json.dumps(shape.as_dict()) == before
