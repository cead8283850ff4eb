"""Landlock in force: the program that no rule allows is not started, and what the image ships leads no rule astray."""

from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import read
from harness.runtime.errors import StartError
from harness.runtime.modules import landlock_version
from tests.kernel.bundles import bundle, output_of, snapshot

pytestmark = [
    pytest.mark.usefixtures("needs_namespaces"),
    pytest.mark.skipif(landlock_version() < 1, reason="this kernel has no Landlock"),
]


def restricted(directory: Path, paths: list[str], allowed: list[str], *command: str) -> tuple[Path, Any]:
    directory, config = bundle(directory, *command)
    config["process"]["landlock"] = {
        "ruleset": {"handledAccessFS": ["execute", "read_file", "read_dir"]},
        "rules": {"pathBeneath": [{"paths": paths, "allowedAccess": allowed}]},
    }
    return directory, read(config)


def test_what_no_rule_allows_is_denied_to_root_too(tmp_path: Path) -> None:
    script = "cat /bin/sh > /dev/null && echo read; ls /proc; cat /proc/version"
    directory, config = restricted(tmp_path, ["/bin", "/lib"], ["execute", "read_file"], "sh", "-c", script)
    (directory / "rootfs/lib").mkdir()
    status, text = output_of(directory, config)
    assert status == 1
    assert "read\n" in text
    assert "ls: can't open '/proc': Permission denied" in text
    assert "cat: can't open '/proc/version': Permission denied" in text


def test_a_program_that_no_rule_allows_is_not_started(tmp_path: Path) -> None:
    before = snapshot()
    directory, config = restricted(tmp_path, ["/proc"], ["read_file"])
    with pytest.raises(StartError, match=r"execute: .*EACCES .*process\.landlock denies execute or read_file"):
        output_of(directory, config)
    assert snapshot() == before


def test_a_path_that_is_not_there_and_a_right_that_does_not_fit_are_named(tmp_path: Path) -> None:
    directory, config = restricted(tmp_path / "a", ["/nowhere"], ["execute"])
    with pytest.raises(StartError, match=r'landlock: openat2\(AT_FDCWD, "/nowhere".*ENOENT .*must be there'):
        output_of(directory, config)
    directory, config = restricted(tmp_path / "b", ["/bin/busybox"], ["read_dir"])
    with pytest.raises(StartError, match=r"landlock_add_rule\(.*\$/bin/busybox.*EINVAL .*a rule for a file"):
        output_of(directory, config)


@pytest.mark.parametrize("target", ["/proc/self/cwd", "/proc/self/fd/3", "/proc/1/root"])
def test_no_magic_link_of_the_image_says_what_a_rule_is_for(tmp_path: Path, target: str) -> None:
    directory, config = restricted(tmp_path, ["/bin", "/trap"], ["execute", "read_file"])
    (directory / "rootfs/trap").symlink_to(target)
    with pytest.raises(StartError, match=r'landlock: openat2\(AT_FDCWD, "/trap".*ELOOP'):
        output_of(directory, config)


def test_a_symlink_stays_in_the_root(tmp_path: Path) -> None:
    directory, config = restricted(tmp_path / "bundle", ["/trap"], ["execute", "read_file"])
    (directory / "rootfs/trap").symlink_to("../../../../bin")
    assert output_of(directory, config)[0] == 0
