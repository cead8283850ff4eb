"""Looking at the host: what cannot work is said before anything is done."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.runtime import inspect
from harness.runtime.config import read
from harness.runtime.errors import BadInput, BundleError, StartError
from harness.runtime.spec import example


def uname(**changes: str) -> Any:
    return lambda: SimpleNamespace(**{"release": "6.1.0-50-amd64", "machine": "x86_64"} | changes)


def test_a_machine_that_cannot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", uname())
    inspect.check_machine()
    monkeypatch.setattr(os, "uname", uname(release="5.10.0-8-amd64"))
    with pytest.raises(BadInput, match=r"this is Linux 5\.10\.0-8-amd64: 5\.12 or later is needed"):
        inspect.check_machine()
    monkeypatch.setattr(os, "uname", uname(machine="riscv64"))
    with pytest.raises(BadInput, match="this machine is a riscv64"):
        inspect.check_machine()
    monkeypatch.setattr(inspect.sys, "platform", "darwin")  # type: ignore[attr-defined]
    with pytest.raises(BadInput, match="this is darwin: containers are made of Linux"):
        inspect.check_machine()


def test_versions_are_read_from_whatever_distributions_call_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for release, version in {"6.18.44-x": (6, 18), "5.12-rc3": (5, 12), "7.0": (7, 0)}.items():
        monkeypatch.setattr(os, "uname", uname(release=release))
        assert inspect.kernel_version() == version


def test_an_ordinary_user_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BadInput, match="an ordinary user needs a namespace of type user"):
        inspect.host(read(example(0, 0)), tmp_path)


@pytest.mark.usefixtures("needs_openat2")
def test_a_bundle_without_its_root_or_program(tmp_path: Path) -> None:
    config = read(example(os.geteuid(), os.getegid()))
    with pytest.raises(BundleError, match=f"open {tmp_path}/rootfs: no such directory"):
        inspect.host(config, tmp_path)
    (tmp_path / "rootfs").mkdir()
    with pytest.raises(BundleError, match=f"execute sh: ENOENT .no such file in {tmp_path}/rootfs"):
        inspect.host(config, tmp_path)
    config["process"]["args"] = ["/dev/something"]  # on a mount: only the kernel can tell
    assert inspect.host(config, tmp_path).rootfs == f"{tmp_path}/rootfs"


@pytest.mark.usefixtures("needs_openat2")
def test_places_for_mounts_are_named_and_removed_again(tmp_path: Path) -> None:
    config = read(example(0, 0))
    config["mounts"].append({"destination": "/a/b", "type": "tmpfs", "source": "tmpfs", "options": []})
    (tmp_path / "proc").mkdir()
    (tmp_path / "a").mkdir()
    root = inspect.open_directory(tmp_path)
    missing = inspect.missing_places(config, root)
    assert missing == ["/dev", "/sys", "/a/b"]
    for path in missing:
        (tmp_path / path.strip("/")).mkdir()
    (tmp_path / "sys/kept").write_text("the container's work")
    inspect.remove_places(root, missing)
    os.close(root)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "proc", "sys", "sys/kept"]


def cgroup(path: Path, controllers: str, handed_down: str, processes: str = "", root: bool = False) -> Path:
    path.mkdir(exist_ok=True)
    (path / "cgroup.controllers").write_text(controllers)
    (path / "cgroup.subtree_control").write_text(handed_down)
    (path / "cgroup.procs").write_text(processes)
    if not root:
        (path / "cgroup.type").write_text("domain")
    return path


def test_version_2_looks_upwards_for_a_cgroup_that_hands_its_controllers_down(tmp_path: Path) -> None:
    top = cgroup(tmp_path / "top", "memory pids cpu", "memory", "1 2 3", root=True)
    session = cgroup(top / "session", "memory", "", "77")
    delegating = inspect.delegating
    assert delegating(str(session), str(top), set()) == (str(session), frozenset())
    assert delegating(str(session), str(top), {"memory"}) == (str(top), frozenset())
    assert delegating(str(session), str(top), {"pids", "memory"}) == (str(top), frozenset({"pids"}))
    own = cgroup(top / "own", "memory pids", "", "")
    assert delegating(str(own), str(top), {"pids"}) == (str(own), frozenset({"pids"}))
    with pytest.raises(StartError, match=r"limit io: no cgroup from .*/own upwards hands the controller down"):
        delegating(str(own), str(top), {"io"})
