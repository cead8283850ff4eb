"""Probes of files that read what others have written, without a container."""

import os
import socket
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "probes"))  # as the runner does

import reach_file
import run_status
import socket_files

STATUS = "Name:\tprogram\nUid:\t1000\t0\t0\t0\nCapEff:\t0000000000000400\n"


def test_the_rights_are_those_in_force() -> None:
    assert run_status.parse(STATUS) == {"errno": None, "uid": 0, "capabilities": 1 << 10}


def test_a_program_that_cannot_be_run_is_an_errno(tmp_path: Path) -> None:
    own = run_status.parse(Path("/proc/self/status").read_text())
    seen = run_status.observe(str(tmp_path / "none"))
    assert seen == {"errno": "ENOENT", "before": own["capabilities"]}


def test_a_file_is_found_by_any_other_name(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_text("bait")
    os.link(original, tmp_path / "other")
    status = original.stat()
    seen = reach_file.observe(str(tmp_path / "other"), status.st_dev, status.st_ino)
    found = seen.pop("found")
    assert isinstance(found, list)
    assert found[0] == str(tmp_path / "other")
    assert seen == {"read": True, "complete": True}


def test_a_tree_too_big_is_not_taken_for_one_without_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_file, "MOST", 3)
    assert reach_file.observe("/nowhere", 0, 0) == {"found": [], "read": False, "complete": False}


def test_a_socket_is_found_and_what_is_named_like_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.sock").touch()
    (tmp_path / "below").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "below/service"))
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda _root: walk(tmp_path))
    assert socket_files.observe() == {"found": [str(tmp_path / "below/service")], "complete": True}
    monkeypatch.setattr(socket_files, "MOST", 1)
    assert not socket_files.observe()["complete"]
