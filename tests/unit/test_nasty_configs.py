"""Files in the place of config.json that are meant to confuse its reader: one line, status 2, and no waiting."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.runtime import launch
from harness.runtime.spec import example


def with_text(text: str) -> str:
    """Return a config, as text, with a hostname that stands in the text literally."""
    config: dict[str, Any] = example(0, 0) | {"hostname": "HERE"}
    return json.dumps(config).replace('"HERE"', text)


NASTY: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"[1,",
    "a number": b"7",
    "a list": b"[]",
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(example(0, 0)).encode() + b",",
    "UTF-16 cut off": json.dumps(example(0, 0)).encode("utf-16")[:-1],
    "no UTF-8": b'{"hostname": "\xff"}',
    "the same name twice": b'{"root": {"path": "a"}, "root": {"path": "b"}}',
    "no number": with_text("NaN").encode(),
    "endless": with_text("-Infinity").encode(),
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep where nobody looks": with_text('"x", "unknown": ' + "[" * 100_000 + "]" * 100_000).encode(),
    "many digits": with_text("9" * 1_000_000).encode(),
    "many digits after the point": with_text("0." + "9" * 1_000_000 + "e999999").encode(),
    "a lone surrogate": with_text(r'"\ud800"').encode(),
    "a NUL": with_text(r'"a\u0000b"').encode(),
    "long": with_text('"' + "x" * 1_000_000 + '"').encode(),
    "lines": with_text(r'"a\nb", "a\u001b[2J\nb": {}, "root": 1').encode(),
}


@pytest.fixture(autouse=True)
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(launch, "run", refuse)


def refused(directory: Path, capsys: pytest.CaptureFixture[str], strict: bool = False) -> str:
    assert cli.main(["run", *(["--strict"] if strict else []), str(directory)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("\n")
    (line,) = said.err[:-1].split("\n")
    assert line.isprintable()
    assert len(line) < 500
    return line


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("strict", [False, True])
def test_a_nasty_config_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, strict: bool
) -> None:
    (tmp_path / "config.json").write_bytes(NASTY[name])
    assert "config.json" in refused(tmp_path, capsys, strict)


def test_nobody_waits_for_a_fifo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "config.json")
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(refused(tmp_path, capsys)), daemon=True)
    reader.start()
    reader.join(10)
    assert not reader.is_alive(), "it waits for somebody to write"
    assert "config.json: it is no file" in said[0]


def test_nobody_reads_what_fills_the_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").touch()
    os.truncate(tmp_path / "config.json", 1 << 40)
    assert "larger than 64 MiB" in refused(tmp_path, capsys)


@pytest.mark.parametrize("kind", ["directory", "loop", "device", "endless"])
def test_what_is_no_file_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    path = tmp_path / "config.json"
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to({"loop": "config.json", "device": "/dev/null", "endless": "/dev/zero"}[kind])
    assert str(path) in refused(tmp_path, capsys)
