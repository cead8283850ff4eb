"""Which security modules there are, by whatever a kernel tells of them."""

from pathlib import Path

import pytest

from harness.runtime import modules


def test_they_are_listed_in_securityfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lsm").write_text("lockdown,capability,apparmor")
    monkeypatch.setattr(modules, "LISTED", tmp_path / "lsm")
    assert modules.security_modules() == ["lockdown", "capability", "apparmor"]


def test_without_it_an_older_kernel_shows_them_in_sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "LISTED", tmp_path / "lsm")
    monkeypatch.setattr(modules, "number", lambda _name: 2**20)  # a system call that no kernel has
    traces = {"apparmor": tmp_path / "enabled", "selinux": tmp_path / "selinux"}
    monkeypatch.setattr(modules, "TRACES", traces)
    assert modules.security_modules() == []
    traces["apparmor"].write_text("N\n")
    traces["selinux"].mkdir()
    assert modules.security_modules() == ["selinux"]
    traces["apparmor"].write_text("Y\n")
    assert modules.security_modules() == ["apparmor", "selinux"]
