"""Whatever stands in a scenario file: it is read, or each mistake has one line with its place; and soon."""

import contextlib
import functools
import io
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness import cli, yamlfile
from harness.errors import ScenarioError
from harness.scenario import load, load_known, load_shape
from harness.shapes import config
from tests.property.hostile import STRANGE, assert_lines, in_time, mutated

SCENARIOS = Path(__file__).parents[2] / "scenarios"
LOADERS: dict[str, Callable[[Path], Any]] = {"": load, "known": load_known, "shapes": load_shape}
SMALL = 8000  # bytes of a file that is read hundreds of times
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

PATIENCE = 20  # seconds for one file, on a machine that is busy

PIECES = [
    *("&a", "*a", "&a [*a, *a]", "<<: *a", "<<: {a: b}", "!!int 1", "!!binary eA==", "!x", "!!python/name:os.system"),
    *("---", "...", "--- # second", "%YAML 1.1", "%TAG ! x:", "|", ">-", "|2+", "? ", ": ", "- ", "#"),
    *("{", "}", "[", "]", '"', "'", "\\", '"\\x00"', '"\\ud800"', "\t", "\r", "\r\n", "\0"),
    *("\ufeff", "\x85", "\u2028", "\u202e", "~", "null", "1e999", ".nan", "0o17", "=", "@"),
    *("{" * 40, "[" * 40, "- " * 40, "a: " * 40, "x" * 2000, "[], " * 500, "1" * 5000),
]


@functools.cache
def files(folder: str) -> list[Path]:
    return [path for path in sorted((SCENARIOS / folder).glob("*.yaml")) if path.stat().st_size < SMALL]


@st.composite
def texts(draw: st.DrawFn, folder: str) -> str:
    """A real file in which something is changed: a line, a piece of one, or what the whole of it means."""
    text = draw(st.sampled_from(files(folder))).read_text()
    if draw(st.booleans()):
        tree = draw(mutated(st.just(yaml.safe_load(text))))
        with contextlib.suppress(ValueError, RecursionError):  # what PyYAML does not write
            return yaml.safe_dump(tree, sort_keys=False, width=draw(st.sampled_from([20, 120])))
        assume(False)
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        place = draw(st.integers(0, len(lines[at])))
        match draw(st.sampled_from(["insert", "line", "repeat", "remove", "indent", "cut"])):
            case "insert":
                lines[at] = lines[at][:place] + draw(st.sampled_from([*PIECES, *STRANGE])) + lines[at][place:]
            case "line":
                lines.insert(at, " " * draw(st.integers(0, 8)) + draw(st.sampled_from([*PIECES, *STRANGE])))
            case "repeat":
                lines[at:at] = [lines[at]] * draw(st.sampled_from([1, 200]))
            case "remove":
                del lines[at : at + 2]
            case "indent":
                lines[at] = draw(st.sampled_from([" ", "  ", "\t"])) + lines[at]
            case "cut":
                lines[at] = lines[at][:place]
        lines = lines or [""]
    return draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])).join(lines)


def encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "surrogatepass" if encoding != "latin-1" else "replace")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("project") / "scenarios"
    (path / "known").mkdir(parents=True)
    shutil.copytree(SCENARIOS / "shapes", path / "shapes")
    return path


def assert_mistakes_have_their_places(said: str, path: Path, text: bytes) -> None:
    assert_lines(said)
    lines = len(re.split(rb"\r\n|[\r\n\x85]|\xc2\x85|\xe2\x80[\xa8\xa9]", text))
    for line in said.split("\n"):
        found = re.fullmatch(rf"{re.escape(str(path))}:([0-9]+):([0-9]+): \S.*", line)
        assert found, line
        assert 1 <= int(found[1]) <= lines + 1


@settings(max_examples=60)  # of each kind; a shape with all calls of a profile takes a while
@pytest.mark.parametrize("kind", LOADERS)
@given(data=st.data())
def test_a_changed_file_is_read_or_each_mistake_has_its_place(kind: str, folder: Path, data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "latin-1"]))
    text = encoded(data.draw(texts(kind)), encoding)
    path = folder / kind / "changed.yaml"
    path.write_bytes(text)
    try:
        with in_time(PATIENCE):
            read = LOADERS[kind](path)
    except ScenarioError as error:
        assert_mistakes_have_their_places(str(error), path, text)
        return
    finally:
        path.unlink()
    if kind == "":
        for check in read.checks:
            assert config([*check.base, check.container], 0, 0)["process"]["args"]


@given(texts("") | texts("known") | st.sampled_from(PIECES))
def test_lint_tells_the_same(folder: Path, text: str) -> None:
    path = folder / "linted.yaml"
    path.write_bytes(encoded(text, "utf-8"))
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(told):
        status = cli.main(["lint", str(path)])
    if status:
        assert (status, told.getvalue()) == (2, "")
        assert_mistakes_have_their_places(said.getvalue().removesuffix("\n"), path, path.read_bytes())
    else:
        assert re.fullmatch(r"[0-9]+ checks without mistakes\n", told.getvalue())


BASE = """
title: One check
canaries: {{bait: {canary}}}
checks:
  {name}:
    claim: It holds
    expect: [{expect}]
    sabotage: skip-ns=uts
    severity: leak
    container: {container}
"""


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": '"uts-x\\n"'}, "the name 'uts-x\\n' does not match"),
        ({"canary": "{kind: [process]}"}, "unknown kind of canary ['process']"),
        ({"canary": "{kind: {process: 1}}"}, "unknown kind of canary {'process': 1}"),
        ({"expect": f"0x{'f' * 3900}()"}, "an integer of more than 1024 bits"),
        ({"expect": f"'{{1: 2}}[0x{'f' * 3900}]'"}, "an integer of more than 1024 bits"),
        ({"expect": f"'[1 for a[0x{'f' * 3900}] in b]'"}, "an integer of more than 1024 bits"),
        ({"container": f'{{? "{"x" * 100_000}" : 1}}'}, "unknown key 'xxx"),
    ],
)
def test_what_was_found_stays_one_line(folder: Path, changes: dict[str, str], complaint: str) -> None:
    given_: dict[str, str] = {"name": "uts-x", "canary": "process", "expect": "canary.bait.pid == 1", "container": "{}"}
    path = folder / "found.yaml"
    path.write_text(BASE.format(**given_ | changes))
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert complaint in str(caught.value)
    assert_mistakes_have_their_places(str(caught.value), path, path.read_bytes())


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "- " * 400_000,
        "{a: " * 200_000,
        "[" * 1_000_000,
        "? " * 400_000,
        '"' + "\\x41" * 250_000,
        "'" + "''" * 500_000,
        "a: |\n" + " \n" * 500_000,
        "#" * 1_000_000,
        "\n" * 1_000_000,
        "title: " + "a " * 500_000,
        "title: [" + "[]," * 300_000 + "]",
        "".join(f"x{n}: 1\n" for n in range(20_000)),
        "checks:\n" + "".join(f"  c{n}: {{sabotage: skip-nz=uts}}\n" for n in range(5_000)),
        "&" + "a" * 1_000_000,
        "!" + "a" * 1_000_000,
        "%" * 1_000_000,
        "x" * (1 << 20),
        "x" * ((1 << 20) + 1),
    ],
    ids=lambda text: f"{text[:8]!a}-{len(text)}",
)
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_a_mebibyte_of_anything_is_read_soon(
    text: str, loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loader == "SafeLoader":
        text = text[: 1 << 16]  # it is ten times slower, as it says
    monkeypatch.setattr(yamlfile, "LOADER", getattr(yaml, loader))
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with in_time(PATIENCE), pytest.raises(ScenarioError) as caught:
        load(path)
    assert_mistakes_have_their_places(str(caught.value), path, text.encode())


def test_nobody_waits_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with in_time(PATIENCE), pytest.raises(ScenarioError, match=r"a\.yaml:1:1: the file is empty$"):
        load(tmp_path / "a.yaml")
