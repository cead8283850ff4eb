"""Streams that are files: the program gets their bytes through a pipe, and never the file."""

import os
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import read
from harness.runtime.launch import run
from tests.kernel.bundles import bundle, snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces")
KINDS = "for n in 0 1 2; do busybox stat -L -c %F /proc/self/fd/$n; done"


def run_with(directory: Path, command: str, stdin: Path | str, stdout: Any, stderr: Any, flags: int = 0) -> int:
    """Run a shell with files as its streams, and see that nothing is left of what was between."""
    before = snapshot()
    directory, config = bundle(directory, "sh", "-c", command)
    opened = [os.open(stdin, os.O_RDONLY)]
    opened += [os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o666) for path in (stdout, stderr)]
    try:
        status = run(read(config), directory, (opened[0], opened[1], opened[2]), 20.0)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert snapshot() == before
    return status


def test_files_become_pipes_and_all_bytes_arrive(tmp_path: Path) -> None:
    given, out, err = tmp_path / "in", tmp_path / "out", tmp_path / "err"
    given.write_bytes(os.urandom(300_000))
    assert run_with(tmp_path / "bundle", f"{KINDS}; cat; cat nothing; exit 7", given, out, err) == 7
    kinds, rest = out.read_bytes().split(b"\n", 3)[:3], out.read_bytes().split(b"\n", 3)[3]
    assert kinds == [b"fifo"] * 3
    assert rest == given.read_bytes()
    assert b"can't open 'nothing'" in err.read_bytes()


def test_older_lines_cannot_be_truncated_through_the_descriptor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("older\n")
    run_with(tmp_path / "bundle", ": > /proc/self/fd/1; echo done", os.devnull, log, os.devnull, os.O_APPEND)
    assert log.read_text() == "older\ndone\n"


def test_two_streams_into_one_file_keep_their_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = "i=0; while [ $i -lt 50 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done"
    run_with(tmp_path / "bundle", command, os.devnull, log, log, os.O_APPEND)
    assert log.read_text().split() == [f"{kind}{number}" for number in range(50) for kind in ("out", "err")]


def test_a_directory_as_standard_input_is_an_empty_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_with(tmp_path / "bundle", "busybox stat -L -c %F /proc/self/fd/0; ls /proc/self/fd/0/; cat", tmp_path, out, out)
    assert out.read_text().startswith("fifo\n")
    assert "Not a directory" in out.read_text()


def test_input_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    given, out = tmp_path / "in", tmp_path / "out"
    given.write_bytes(bytes(1 << 20))
    assert run_with(tmp_path / "bundle", "echo done", given, out, out) == 0
    assert out.read_text() == "done\n"
