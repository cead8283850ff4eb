"""What a container says, end to end: it changes its own cell of every report, and nothing else.

The same checks are run twice by pytest, as somebody would run them: on a runtime whose containers are hostile, and on
one that says the word "innocent" wherever the other is hostile.
"""

import contextlib
import difflib
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec
import pytest

from harness import backends, report
from harness.results import Results, from_json
from tests.kernel.bundles import bundle

pytestmark = pytest.mark.usefixtures("needs_root", "needs_namespaces")

ROOT = Path(__file__).parents[2]
WORD = "innocent"
FLOOD = 100 << 20
DIFFERENT = re.compile(r"sha256:\w+|isoproof-\d+|run-[0-9a-f]{8}")  # each time: digests, process ids, folders
COLOUR = re.compile(r"\x1b\[(?:1|31|32|33|36|0)m")

TEXT = "\n".join(
    [
        "</td></script><script>alert(1)</script><img src=x onerror=alert(1)>",
        "\x1b[2J\x1b[31m\x1b]0;title\a\x1b]52;c;eA==\a\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\\x9b31m\x90q\x9c\x85",
        "\u202eright to left\u2066\ufeff\u2028next line\rover the line\b\b\b\x7f",
        "::error file=a,line=1::x",
        "   ::add-mask::pass",
        "##[error]x ##[add-matcher]/etc/passwd",
        json.dumps({"nonce": "0" * 32, "name": "init", "probe": "init", "facts": {"pid": 1}}),
        "# Isolation\n\n| a | b |\n|---|---|\n[x](http://evil.example) ![x](//evil.example) <details> @someone #1 ```",
        "=========== 9 passed in 0.10s ===========",
        "PASSED scenarios/evil.yaml::evil-before ]]> <!-- &lt; ' \" {{ 7 * 7 }} %s {0}",
    ]
)
BYTES = TEXT.encode() + b"\n\xff\xfe\xc3(\x00\xed\xa0\x80\n" + b"x" * 100_000 + b"\n"
# What can be a name of a host, a file or a mount; it ends up in JSON, and in YAML.
NAMES = "\x1b[2J\x9b31m\u202e<b>::error::##[error]x"

SCENARIO = """
title: A container says what it likes
container: {hostname: good}
observe:
  names: {probe: listing, args: {path: /names}}
checks:
  evil-before: {claim: It holds, expect: [inside.identity.hostname == config.hostname], **}
  evil-stdout: {claim: It has a name, container: {hostname: evil-stdout}, expect: [inside.identity.hostname == 'a'], **}
  evil-stderr: {claim: It has a name, container: {hostname: evil-stderr}, expect: [inside.identity.hostname == 'a'], **}
  evil-log: {claim: It has a name, container: {hostname: evil-log}, expect: [inside.identity.hostname == 'a'], **}
  evil-flood: {claim: It has a name, container: {hostname: evil-flood}, expect: [inside.identity.hostname == 'a'], **}
  evil-names:
    claim: It has names
    container:
      hostname: HOSTNAME
      mounts: [{destination: PATH, type: tmpfs, source: NAME}]
      oci: {process: {env: [NAME]}}
    expect:
      - inside.identity.hostname == 'a'
      - inside.environ.variables == []
      - inside.mounts.points == []
    severity: leak
    sabotage: no-sethostname
  evil-file: {claim: It has files, container: {hostname: files}, expect: ["inside.names.entries == []"], **}
  evil-after: {claim: It holds, container: {hostname: last}, expect: [inside.identity.hostname == config.hostname], **}
""".replace("**", "severity: leak, sabotage: no-sethostname")

PROJECT = """
[tool.pytest]
filterwarnings = ["error"]
addopts = ["-p", "harness.plugin"]
"""

RUNTIME = """#!/bin/sh
case " $* " in *' run '*) ;; *) exec runc "$@";; esac
for word; do [ "$before" = --log ] && log=$word; [ "$before" = --bundle ] && bundle=$word; before=$word; done
case $(grep -o '"hostname": "evil-[a-z]*"' "$bundle/config.json") in
    *stdout*) exec cat DIRECTORY/said;;
    *stderr*) cat DIRECTORY/said >&2; exit 3;;
    *log*) cat DIRECTORY/log > "$log"; exit 1;;
    *flood*)
        yes "$(head -n 1 DIRECTORY/said)" | head -c SIZE
        yes "$(head -n 3 DIRECTORY/said)" | head -c SIZE >&2
        exit 3;;
    *) exec runc "$@";;
esac
"""


class Session(NamedTuple):
    """What a run of pytest leaves: its output, its results, its JUnit file, and what it took."""

    output: str
    results: Results
    junit: str
    seconds: float
    mebibytes: float


def session(directory: Path, said: bytes, text: str, name: str, size: int) -> Session:
    """Run pytest in a folder, on a runtime whose containers say what they are given."""
    for folder in ("scenarios", "image/names"):
        (directory / folder).mkdir(parents=True)
    (directory / "image/names" / name).touch()
    (directory / "said").write_bytes(said)
    (directory / "log").write_text(json.dumps({"level": "error", "msg": text}) + "\n")
    (directory / "pyproject.toml").write_text(PROJECT)
    scenario = SCENARIO
    for key, value in (("HOSTNAME", name), ("NAME", f"N={name}"), ("PATH", f"/{name}")):
        scenario = scenario.replace(key, json.dumps(value))
    (directory / "scenarios/evil.yaml").write_text(scenario)
    runtime = directory / "runtime"
    runtime.write_text(RUNTIME.replace("DIRECTORY", str(directory)).replace("SIZE", str(size)))
    runtime.chmod(0o755)
    words = [sys.executable, "-m", "pytest", "scenarios", "--runtime", f"oci:{runtime}", "--rootfs", "image"]
    words += ["--color=yes", "--junitxml=junit.xml", "-ra", "-v"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTHONUTF8": "1"}
    begun = time.monotonic()
    with open(directory / "output", "wb") as output:
        process = subprocess.Popen(words, cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # with all that it has waited for
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - begun
    said_all = (directory / "output").read_bytes().decode()  # it is text
    assert process.returncode == 1, said_all
    results = from_json((directory / "reports/isolation.json").read_bytes())
    return Session(said_all, results, (directory / "junit.xml").read_text(), seconds, usage.ru_maxrss / 1024)


class Sessions(NamedTuple):
    hostile: Session
    innocent: Session


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Sessions:
    if lack := backends.load("runc").available():
        missing(lack)
    directory = tmp_path_factory.mktemp("run") / "here"  # for both, so that paths are the same
    hostile = session(directory, BYTES, TEXT, NAMES, FLOOD)
    shutil.rmtree(directory)
    return Sessions(hostile, session(directory, f"{WORD}\n".encode() * 3, WORD, WORD, 100))


def test_verdicts_are_the_same_as_those_of_an_innocent_run(sessions: Sessions) -> None:
    outcomes = [{result.check: result.outcome for result in each.results.results} for each in sessions]
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0].values()) == {"pass", "fail", "error"}
    assert [outcomes[0][name] for name in ("evil-before", "evil-names", "evil-file", "evil-after")] == [
        *("pass", "fail", "fail", "pass")
    ]


def test_neither_memory_nor_time_grow_with_what_is_said(sessions: Sessions) -> None:
    assert sessions.hostile.mebibytes < sessions.innocent.mebibytes + 32
    assert sessions.hostile.seconds < 5 * sessions.innocent.seconds
    assert len(sessions.hostile.output) < len(sessions.innocent.output) + 100_000


def test_the_terminal_gets_no_control_but_colours(sessions: Sessions) -> None:
    assert_plain(COLOUR.sub("", re.sub(r"\rcollect.*", "", sessions.hostile.output)))


def assert_plain(output: str) -> None:
    """Nothing of it acts on a terminal, nor on a CI service that reads it for commands."""
    for line in output.split("\n"):
        assert line.isprintable(), ascii(line)
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


def test_the_terminal_is_the_same_but_for_the_cells(sessions: Sessions) -> None:
    hostile, innocent = (timeless(each.output) for each in sessions)
    assert_only_cells_differ(hostile, innocent)


def timeless(text: str) -> str:
    """The text without what is different each time: times, process ids, the digest of the image."""
    text = re.sub(r"(?m)^time .*\n(  .*\n)*|\r.*|=+", "", COLOUR.sub("", text))
    return re.sub(r"\d+\.\d+s", "", DIFFERENT.sub("", text))


def assert_only_cells_differ(hostile: str, innocent: str) -> None:
    """Line by line: where the texts differ, the innocent one says its word."""
    theirs, ours = innocent.splitlines(), hostile.splitlines()
    for kind, begin, end, first, last in difflib.SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        if kind != "equal":
            assert WORD in "\n".join(theirs[begin:end]), (theirs[begin:end], ours[first:last])
            assert last - first <= 12, ours[first:last]


def levelled(results: Results) -> Results:
    """The results as if both had been found at the same time."""
    same = from_json(DIFFERENT.sub("", msgspec.json.encode(results).decode()))
    same.started, same.milliseconds, same.timing = "2026-01-01T00:00:00+00:00", 1.0, None
    for result in same.results:
        result.milliseconds = 0.0
    return same


@pytest.mark.parametrize("form", report.names())
def test_every_report_is_the_same_but_for_the_cells(sessions: Sessions, form: str, tmp_path: Path) -> None:
    hostile, innocent = (report.tell(form, levelled(each.results), tmp_path) for each in sessions)
    assert hostile != innocent
    assert_alike(hostile, innocent)
    for line in hostile.split("\n"):
        assert line.isprintable() or form == "json", ascii(line)


def test_the_report_of_pytest_is_the_same_but_for_the_cells(sessions: Sessions) -> None:
    times = r'((?: |s)time(?:stamp)?="|&quot;milliseconds&quot;:)[^",]+'
    assert_alike(*(re.sub(times, r"\g<1>0", DIFFERENT.sub("", each.junit)) for each in sessions))


def assert_alike(hostile: str, innocent: str) -> None:
    """Compare two texts by what they are: JSON, XML, HTML or lines."""
    if innocent.startswith("{"):
        assert_same_tree(json.loads(hostile), json.loads(innocent))
    elif innocent.startswith("<?xml"):
        assert_same_tree(*(_element(xml.etree.ElementTree.fromstring(text)) for text in (hostile, innocent)))
    elif innocent.lstrip()[:9].lower() == "<!doctype":
        assert_same_tree(Page.read(hostile), Page.read(innocent))
    else:
        assert_only_cells_differ(hostile, innocent)


def assert_same_tree(hostile: Any, innocent: Any, path: str = "") -> None:
    """Two trees have the same form, and another text only where the innocent one says its word."""
    if isinstance(innocent, str) and WORD in innocent:
        assert isinstance(hostile, str), path
        with contextlib.suppress(json.JSONDecodeError):  # what is no JSON is a text of the cell
            assert_same_tree(json.loads(hostile), json.loads(innocent), path)
    elif isinstance(innocent, dict) and isinstance(hostile, dict):
        assert hostile.keys() == innocent.keys(), path
        for key in innocent:
            assert_same_tree(hostile[key], innocent[key], f"{path}.{key}")
    elif isinstance(innocent, list) and isinstance(hostile, list):
        assert len(hostile) == len(innocent), (path, hostile, innocent)
        for at, pair in enumerate(zip(hostile, innocent, strict=True)):
            assert_same_tree(*pair, f"{path}[{at}]")
    else:
        assert hostile == innocent, path


def _element(element: xml.etree.ElementTree.Element) -> Any:
    return [element.tag, dict(element.attrib), element.text or "", [_element(each) for each in element]]


class Page(html.parser.HTMLParser):
    """A page as a list of its tags and texts."""

    found: list[Any]

    @classmethod
    def read(cls, text: str) -> list[Any]:
        page = cls()
        page.found = []
        page.feed(text)
        page.close()
        return page.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append([tag, [[name, value or ""] for name, value in attrs]])

    def handle_endtag(self, tag: str) -> None:
        self.found.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.found.append(data)


FORWARD = """#!/bin/sh
case " $* " in
    *' --version '*) cat DIRECTORY/said;;
    *' features '*) cat DIRECTORY/features;;
    *) exec runc "$@";;
esac
"""


@pytest.mark.parametrize(
    "command", [["pytest", "scenarios", "-ra"], ["harness.cli", "doctor"]], ids=["pytest", "doctor"]
)
def test_what_a_runtime_says_of_itself_acts_on_no_terminal(tmp_path: Path, command: list[str]) -> None:
    """Its version, and what it knows, which is the reason of skips."""
    for name, text in (("runtime", FORWARD.replace("DIRECTORY", str(tmp_path))), ("pyproject.toml", PROJECT)):
        (tmp_path / name).write_text(text)
    (tmp_path / "runtime").chmod(0o755)
    (tmp_path / "said").write_bytes(BYTES)
    (tmp_path / "features").write_text(json.dumps({"linux": {"namespaces": [TEXT]}}))
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios/evil.yaml").write_text(
        SCENARIO.replace("HOSTNAME", "a").replace("NAME", "a").replace("PATH", "/a")
    )
    option = ["--runtime"] if command[0] == "pytest" else []
    words = [sys.executable, "-m", *command, *option, f"oci:{tmp_path}/runtime"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    output = done.stdout.decode()
    assert "it says that it knows" in output
    assert_plain(output)


def test_what_a_config_names_acts_on_no_terminal_when_its_plan_is_told(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path / "bundle", "/bin/sh", TEXT)
    hostile = f"{NAMES}\n::error::x"
    config |= {"hostname": "a\x1b[2J\n", "annotations": {hostile: hostile}}
    config["process"] |= {"env": [f"A={TEXT}"], "cwd": f"/{hostile}"}
    config["mounts"].append({"destination": f"/{hostile}", "type": "tmpfs", "source": hostile, "options": ["nosuid"]})
    (directory / "config.json").write_text(json.dumps(config))
    words = [sys.executable, "-m", "harness.cli", "run", "--explain", str(directory)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    assert "\\x1b[2J" in done.stdout
    assert_plain(done.stdout)
