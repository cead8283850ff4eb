"""What of `make fuzz-parsers` needs no atheris: real inputs break nothing, and what is said of those that do."""

import importlib
import itertools
from pathlib import Path

import pytest

from tests.fuzzing import __main__ as fuzzing

SOME = 20  # of the real inputs


@pytest.mark.parametrize("name", fuzzing.PARSERS)
def test_real_inputs_break_no_parser(name: str) -> None:
    parser = importlib.import_module(f"tests.fuzzing.{name}")
    seeds = list(itertools.islice(parser.seeds(), SOME))
    assert len(seeds) > 5
    for seed in [*seeds, b"", b"\xff\0"]:
        parser.once(seed)
    assert len({*parser.words()}) > 15


def test_a_word_of_a_dictionary_is_ascii() -> None:
    assert fuzzing.escaped('a"\\ \né') == r"a\x22\x5c\x20\x0a\xc3\xa9"


def test_without_atheris_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.chdir(tmp_path)
    assert fuzzing.main([]) == 0
    assert capsys.readouterr().out.startswith("fuzz-parsers: atheris is not here; ")
    assert list(tmp_path.iterdir()) == []


def test_what_broke_a_parser_is_told_with_the_command_that_tries_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho broken > .fuzzing/config/crash-1\nexit 77\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.chdir(tmp_path)
    assert fuzzing.main(["config", "-runs=1"]) == 1
    assert capfd.readouterr().out == (
        f"fuzz-parsers: config\nagain: {tmp_path}/python -m tests.fuzzing config .fuzzing/config/crash-1\n"
    )
