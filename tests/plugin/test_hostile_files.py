"""Scenario files that somebody hostile has written: pytest has a line for each mistake, and no traceback."""

import re

import pytest

from tests.plugin.project import GOOD, Project, check

pytest_plugins = ["pytester"]

FILES: dict[str, bytes] = {
    "billions of laughs": b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "deep": b"title: " + b"[" * 10_000,
    "binary": bytes(range(256)),
    "UTF-16": GOOD.encode("utf-16"),
    "a merge key": GOOD.encode() + b"    <<: {claim: x}\n",
    "a tag": GOOD.replace("cell-1", "!!python/name:os.system x").encode(),
    "two documents": GOOD.encode() + b"---\na: b\n",
    "a newline in a name": GOOD.replace("uts-name:", '"uts-name\\n":').encode(),
    "a kind of canary that is a list": GOOD.encode() + b"canaries: {bait: {kind: [process]}}\n",
    "an integer without an end": GOOD.encode() + check("uts-a", expect=f"0x{'f' * 3900}()").encode(),
    "a shape elsewhere": GOOD.replace("hostname: cell-1", "shape: ../../shapes/default").encode(),
    "many mistakes": GOOD.encode() + b"".join(b"x%d: 1\n" % number for number in range(50)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_has_a_line_for_each_mistake(project: Project, name: str) -> None:
    (project.path / "scenarios").mkdir()
    (project.path / "scenarios" / "uts.yaml").write_bytes(FILES[name])
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=1)
    output = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    lines = [line for line in result.outlines if re.match(r"(E +)?scenarios/uts\.yaml:[0-9]+:[0-9]+: \S", line)]
    assert len(lines) == (50 if name == "many mistakes" else 1), output


NAMES = ["_uts", "u ts", "a:b", "a(b)", "not", "ü", "uts.a", "-k", "[a]", "'", "x" * 200]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_a_strange_name_is_collected_or_has_one_line(project: Project, name: str) -> None:
    project.write(f"scenarios/{name}.yaml", GOOD)
    result = project.run("--runtime", "null", "scenarios")
    output = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED), output


@pytest.mark.parametrize("name", ["u\udcffts", "u\nts", "u\x1b[31mts"])
def test_a_file_whose_name_is_no_text_has_one_line(project: Project, name: str) -> None:
    """Found by hand: a byte that is no UTF-8 ended pytest with an internal error, for no result could be written."""
    project.write("scenarios/uts.yaml", GOOD)
    (project.path / "scenarios" / f"{name}.yaml").write_text(GOOD.replace("uts-name", "uts-other"))
    result = project.run("--runtime", "null")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    output = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in output
    shown = name.encode("unicode_escape").decode()
    assert f"scenarios/{shown}.yaml:1:1: the name of the file is no text that can be printed" in output
