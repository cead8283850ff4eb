"""For every field of the table: what is wrong in it is one line that names it, exit status 2, nothing started."""

import json
from pathlib import Path

import pytest

from harness import cli
from harness.runtime import inspect, launch
from harness.runtime.config import read
from harness.runtime.errors import ConfigError
from harness.runtime.fields import FIELDS, FOREIGN, UNSUPPORTED, Field
from harness.runtime.kinds import OneOf
from harness.runtime.spec import example
from harness.wrong_values import place, shown, wrong_values


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.path)
def test_a_wrong_value_gets_one_line_that_names_the_field(field: Field) -> None:
    for value in wrong_values(field.kind):
        with pytest.raises(ConfigError) as caught:
            read(place(example(0, 0), field.path, value))
        line = str(caught.value)
        assert line.startswith(f"config.json: {shown(field.path)}: "), value
        assert line.isprintable(), value
        assert len(line) < 400, value


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.path)
def test_what_lies_around_a_field_has_a_type_too(field: Field) -> None:
    parts = field.path.replace("[]", ".[]").split(".")[:-1]
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end]).replace(".[]", "[]")
        for value in (None, True, 7, "text", 1.5):
            with pytest.raises(ConfigError, match=r"expected an? (object|list), found") as caught:
                read(place(example(0, 0), path, value))
            assert str(caught.value).startswith(f"config.json: {shown(path)}: ")


@pytest.mark.parametrize("path", sorted({*UNSUPPORTED, *FOREIGN}))
def test_what_is_not_supported_is_refused_whatever_it_says(path: str) -> None:
    values: tuple[object, ...] = (None, {}, [], "text", 0)
    for value in values:
        with pytest.raises(ConfigError) as caught:
            read(place(example(0, 0), path, value))
        assert str(caught.value).startswith(f"config.json: {shown(path)}: ")


@pytest.mark.parametrize("field", [field for field in FIELDS if isinstance(field.kind, OneOf)], ids=lambda f: f.path)
def test_a_name_that_is_spelled_almost_right_is_recognized(field: Field) -> None:
    assert isinstance(field.kind, OneOf)
    for name in field.kind.names:
        if name != name.swapcase():  # 64KB and the like are
            assert field.kind.hint(name.swapcase()) in field.kind.names
            if len(name) > 4:
                with pytest.raises(ConfigError, match="; did you mean "):
                    read(place(example(0, 0), field.path, name.lower() + "z"))


@pytest.fixture
def unstartable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sure that nothing comes so far as to look at the host, let alone to start."""

    def never(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a wrong config got past its reader")

    monkeypatch.setattr(inspect, "host", never)
    monkeypatch.setattr(launch, "start", never)


@pytest.mark.usefixtures("unstartable")
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.path)
def test_the_command_ends_with_2_and_starts_nothing(
    field: Field, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = place(example(0, 0), field.path, None)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(wrong))
    assert cli.main(["run", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"isoproof: {path}: {shown(field.path)}: ")
    assert said.err.count("\n") == 1


@pytest.mark.usefixtures("unstartable")
def test_a_strict_run_names_unknown_fields_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(example(0, 0) | {"hostnme": "x", "rot": {}}))
    assert cli.main(["run", "--strict", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"isoproof: {path}: hostnme: unknown field; did you mean hostname?",
        f"isoproof: {path}: rot: unknown field; did you mean root?",
    ]
    with pytest.raises(AssertionError, match="got past its reader"):
        cli.main(["run", str(tmp_path)])
