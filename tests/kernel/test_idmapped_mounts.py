"""Mounts that show other owners than the disk has, against the real kernel."""

import os
from pathlib import Path

import pytest

from harness.runtime import inspect
from harness.runtime.config import Config, read
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.mounts import check
from harness.runtime.plan import explain, plan
from harness.runtime.step import Host
from tests.kernel.bundles import bundle, output_of, snapshot
from tests.kernel.test_launch import failing_at, tree
from tests.kernel.test_mounts import extents, mount, mounts_inside, outside, volume, with_user_namespace

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


def owners(directory: Path, config: Config, *paths: str) -> list[str]:
    config["process"]["args"] = ["/bin/busybox", "stat", "-c", "%u:%g", *paths]
    status, text = output_of(directory, read(config))
    assert status == 0, text
    return text.split()


def test_an_id_mapped_mount_shows_other_owners_than_the_disk_has(place: Path) -> None:
    directory, config = bundle(place / "bundle")
    source = place / "source"
    source.mkdir()
    for uid in (0, 1000, 1001):
        (source / str(uid)).touch()
        os.chown(source / str(uid), uid, uid + 1)
    maps = {"uidMappings": extents((1000, 0, 1), (0, 5000, 1)), "gidMappings": extents((0, 7000, 1500))}
    config["mounts"] += [
        mount("/plain", "bind", source, "bind"),
        mount("/mapped", "bind", source, "bind", "ro", "idmap", **maps),
        mount("/implied", "bind", source, "bind", **maps),
    ]
    before = snapshot()
    paths = [f"/{name}/{uid}" for name in ("plain", "mapped", "implied") for uid in (0, 1000, 1001)]
    found = owners(directory, config, *paths)
    assert found[:3] == ["0:1", "1000:1001", "1001:1002"]
    assert found[3:6] == found[6:] == ["5000:7001", "0:8001", "65534:8002"]
    assert mounts_inside(directory, config)["/mapped"]["flags"] == {"ro", "relatime", "idmapped"}
    assert snapshot() == before


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_idmap_without_mappings_takes_those_of_the_user_namespace(place: Path, option: str) -> None:
    directory, config = bundle(place / "bundle")
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, 100000, 100000, follow_symlinks=False)
    source = place / "source"

    def look() -> list[str]:
        volume(source, full=False)
        for path in (source, source / "sub"):
            (path / "file").touch()
        config["mounts"] += [
            mount("/plain", "bind", source, "rbind"),
            mount("/mapped", "bind", source, "rbind", option),
        ]
        paths = ("/plain/file", "/plain/sub/file", "/mapped/file", "/mapped/sub/file")
        return owners(directory, with_user_namespace(config, 100000), *paths)

    foreign = "65534:65534"
    assert outside(look) == [foreign, foreign, "0:0", "0:0" if option == "ridmap" else foreign]


def test_what_is_made_in_an_id_mapped_mount_belongs_to_the_disks_owner(place: Path) -> None:
    directory, config = bundle(place / "bundle", "touch", "/mapped/new")
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, 100000, 100000, follow_symlinks=False)
    (place / "source").mkdir()
    config["mounts"].append(mount("/mapped", "bind", place / "source", "bind", "idmap"))
    assert output_of(directory, read(with_user_namespace(config, 100000))) == (0, "")
    assert (place / "source/new").stat().st_uid == 0


def test_a_file_system_that_cannot_be_id_mapped_is_named(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    maps = {"uidMappings": extents((0, 5000, 1)), "gidMappings": extents((0, 5000, 1))}
    config["mounts"].append(mount("/mapped", "bind", "/proc/sys", "bind", **maps))
    before = snapshot()
    with pytest.raises(StartError, match=r"idmap:/mapped: mount_setattr.*EINVAL.*cannot be mounted with an id map"):
        output_of(directory, read(config))
    assert snapshot() == before


def test_whatever_step_of_an_id_map_fails_nothing_stays_behind(place: Path) -> None:
    directory, config = bundle(place / "bundle")
    (place / "source").mkdir()
    config["mounts"].append(mount("/mapped", "bind", place / "source", "bind", "idmap"))
    config = read(with_user_namespace(config))
    wanted = plan(config, inspect.host(config, directory))
    assert [step.name for step in wanted.before] == ["idmap:/mapped"]
    assert "clone3(CLONE_NEWUSER) -> {holder}" in explain(wanted)
    before, files = snapshot(), tree(directory)
    for part, index in [("before", 0), *[("steps", index) for index in range(0, len(wanted.steps), 5)]]:
        with pytest.raises(StartError):
            output_of(directory, config, alter=lambda made, at=(part, index): failing_at(made, *at))
        assert snapshot() == before, f"{part} {index}"
    assert tree(directory) == files


def test_an_ordinary_user_is_told_that_he_may_not_map_owners(tmp_path: Path) -> None:
    _, config = bundle(tmp_path)
    config["mounts"].append(mount("/mapped", "bind", "/etc", "bind", "idmap"))
    with pytest.raises(ConfigError, match="/mapped: an id map takes rights over the file system"):
        check(read(with_user_namespace(config)), Host("isoproof-1", "/r", uid=1000, gid=1000))
