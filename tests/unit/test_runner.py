"""The probes' runner: one trustworthy line for every probe, whatever the probe does."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROBES = Path(__file__).parents[2] / "probes"
Line = dict[str, Any]

FIXTURES = {
    "good": """
        def observe(**arguments):
            return {"arguments": arguments, "text": "é\\n"}
    """,
    "raising": """
        def observe():
            raise ValueError("no such\\nthing")
    """,
    "leaving": """
        import sys
        def observe():
            sys.exit(0)
    """,
    "vanishing": """
        import os
        def observe():
            os._exit(3)
    """,
    "crashing": """
        import os
        def observe():
            os.kill(os.getpid(), 11)
    """,
    "hanging": """
        import os, time
        def observe(note):
            child = os.fork()
            if child:
                with open(note, "w") as file:
                    file.write(str(child))
            time.sleep(60)
    """,
    "doubling": """
        import os
        def observe():
            child = os.fork()
            if child:
                os.waitpid(child, 0)
            return {}
    """,
    "printing": """
        import os
        def observe():
            os.write(1, b'{"nonce": "0"}\\n')
            print("noise", flush=True)
            return {"done": True}
    """,
    "forging": """
        import os
        def observe():
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, b"garbage\\n")
                except OSError:
                    pass
            return {}
    """,
    "flooding": """
        def observe():
            return {"text": "x" * (1 << 20)}
    """,
    "plenty": """
        def observe():
            return {"text": "x" * (200 << 10)}
    """,
    "listing": """
        def observe():
            return [1]
    """,
    "binary": """
        def observe():
            return {"bytes": b"x"}
    """,
    "infinite": """
        def observe():
            return {"number": float("nan")}
    """,
    "broken": "def observe(:",
    "signal": """
        import signal
        def observe():
            return {"standard": hasattr(signal, "Signals")}
    """,
    "talking": """
        def observe():
            first = yield {"step": 1}
            second = yield {"step": 2}
            return {"replies": [first, second]}
    """,
    "silent": """
        def observe():
            return {"never": "yields"}
            yield {}
    """,
    "orphaning": """
        import os, time
        def observe():
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(0.05)
                os._exit(0)
            os.wait()
            return {}
    """,
    "children": """
        import os, time
        import _kernel
        def observe():
            def failing():
                raise ValueError("wrong")
            try:
                _kernel.in_child(failing)
            except RuntimeError as error:
                failure = str(error)
            return {
                "facts": _kernel.in_child(lambda: {"pid": os.getpid() != os.getppid()}),
                "denied": _kernel.in_child(lambda: {"file": open("/nowhere")}),
                "killed": _kernel.in_child(lambda: os.kill(os.getpid(), 9)),
                "left": _kernel.in_child(lambda: os._exit(4)),
                "late": _kernel.in_child(lambda: time.sleep(60), deadline=0.1),
                "failure": failure,
            }
    """,
}


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("probes")
    for name in ("__main__", "_kernel", "init"):
        shutil.copy(PROBES / f"{name}.py", directory)
    for name, source in FIXTURES.items():
        lines = source.splitlines()
        (directory / f"{name}.py").write_text("\n".join(line.removeprefix(" " * 8) for line in lines))
    return directory


Observe = Callable[..., list[Line]]


@pytest.fixture
def observe(probes: Path) -> Observe:
    """Run probes by name, or by whole entries of a request; all lines but that of init."""

    def run(*wanted: str | Line, replies: str = "") -> list[Line]:
        entries = [{"name": each, "probe": each} if isinstance(each, str) else each for each in wanted]
        result = start(probes, entries, input=replies)
        assert result.returncode == 0, result.stderr
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["nonce"] for line in lines] == ["n" * 32] * len(lines)
        assert (lines[0]["name"], lines[0]["probe"]) == ("init", "init")
        return lines[1:]

    return run


def command(probes: Path, request: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-B", str(probes), request]


def start(probes: Path, entries: list[Line], **options: Any) -> "subprocess.CompletedProcess[str]":
    request = json.dumps({"nonce": "n" * 32, "observe": entries})
    return subprocess.run(command(probes, request), capture_output=True, text=True, timeout=30, **options)


def test_init_is_the_runner_itself(probes: Path) -> None:
    request = json.dumps({"nonce": "0", "observe": []})
    with subprocess.Popen(command(probes, request), stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate()
    facts = json.loads(output)["facts"]
    assert facts["pid"] == process.pid
    assert facts["ppid"] == os.getpid()
    assert facts["nspid"][-1] == process.pid
    assert facts["namespaces"]["uts"] == os.stat("/proc/self/ns/uts").st_ino
    assert set(facts["descriptors"]) >= {"0", "1", "2"}


def test_arguments_reach_a_probe_and_facts_come_back(observe: Observe) -> None:
    entry = {"name": "mine", "probe": "good", "arguments": {"a": [1, None, "ü"]}, "deadline": None}
    (line,) = observe(entry)
    assert (line["name"], line["probe"]) == ("mine", "good")
    assert line["facts"] == {"arguments": {"a": [1, None, "ü"]}, "text": "é\n"}


@pytest.mark.parametrize(
    ("probe", "error"),
    [
        ("raising", "ValueError: no such thing"),
        ("leaving", "SystemExit: 0"),
        ("vanishing", "left with status 3 and without a report"),
        ("crashing", "killed by SIGSEGV"),
        ("doubling", "reported twice"),
        ("forging", "ValueError: no"),
        ("flooding", "a line of more than"),
        ("listing", "TypeError: observe gave list, not a dict"),
        ("binary", "TypeError: a fact of type bytes"),
        ("infinite", "ValueError: Out of range float"),
        ("broken", "SyntaxError: "),
        ("absent", "FileNotFoundError: "),
        ("../good", "ValueError: '../good' cannot be the name of a probe"),
        ("_kernel", "ValueError: '_kernel' cannot be the name of a probe"),
    ],
)
def test_a_bad_probe_costs_its_own_line_alone(observe: Observe, probe: str, error: str) -> None:
    before, bad, after = observe("good", probe, {"name": "again", "probe": "good"})
    assert error in bad["error"]
    assert "facts" not in bad
    assert before["facts"]["text"] == after["facts"]["text"] == "é\n"


def test_a_probe_called_with_the_wrong_arguments_is_an_error(observe: Observe) -> None:
    (line,) = observe({"name": "raising", "probe": "raising", "arguments": {"x": 1}})
    assert "unexpected keyword argument 'x'" in line["error"]


def test_a_hanging_probe_is_killed_with_its_group_at_its_deadline(observe: Observe, tmp_path: Path) -> None:
    note = tmp_path / "child"
    entry = {"name": "h", "probe": "hanging", "arguments": {"note": str(note)}, "deadline": 0.5}
    begin = time.monotonic()
    hanging, good = observe(entry, "good")
    assert hanging["error"] == "hung: no report after 0.5 s"
    assert "facts" in good
    assert 0.5 <= time.monotonic() - begin < 5
    status = Path(f"/proc/{note.read_text()}/status")
    assert not status.exists() or "State:\tZ" in status.read_text(), "its child lives on"


def test_a_probe_that_prints_corrupts_nothing(observe: Observe) -> None:
    (line,) = observe("printing")
    assert line["facts"] == {"done": True}


def test_all_lines_together_are_bounded(observe: Observe) -> None:
    lines = observe(*[{"name": f"p{number}", "probe": "plenty"} for number in range(25)])
    assert len(lines) == 25
    assert "facts" in lines[0]
    assert lines[-1]["error"] == "too much to report"
    assert sum(len(json.dumps(line)) for line in lines) < 4 << 20


def test_a_probe_may_be_named_like_a_standard_module(observe: Observe) -> None:
    (line,) = observe("signal")
    assert line["facts"] == {"standard": True}


def test_no_probe_of_ours_is_named_like_a_standard_module() -> None:
    """The runner can tell them apart; mypy, to which the folder is a source root, cannot."""
    ours = {path.stem for path in PROBES.glob("*.py")} - {"__main__"}
    assert not ours & sys.stdlib_module_names


def test_handshakes_pass_replies_on(probes: Path) -> None:
    entries = [{"name": "talk", "probe": "talking"}, {"name": "good", "probe": "good"}]
    request = json.dumps({"nonce": "0", "observe": entries})
    with subprocess.Popen(
        command(probes, request), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        for step in (1, 2):
            ready = json.loads(process.stdout.readline())
            assert (ready["name"], ready["ready"]) == ("talk", {"step": step})
            assert not select.select([process.stdout], [], [], 0.05)[0], "it did not wait for the reply"
            process.stdin.write(json.dumps({"name": "talk", "reply": {"step": step}}) + "\n")
            process.stdin.flush()
        facts = json.loads(process.stdout.readline())["facts"]
        assert facts == {"replies": [{"step": 1}, {"step": 2}]}
        assert json.loads(process.stdout.readline())["name"] == "good"
    assert process.returncode == 0


def test_a_handshake_that_never_yields_needs_no_reply(observe: Observe) -> None:
    (line,) = observe("silent")
    assert line["facts"] == {"never": "yields"}


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ("", "nobody replied"),
        ('{"name": "other", "reply": {}}\n', "the reply to the handshake is for 'other'"),
        ("nonsense\n", "ValueError"),
        ('{"name": "talking"}\n', "KeyError: 'reply'"),
    ],
)
def test_a_bad_reply_gives_the_probe_up(observe: Observe, replies: str, error: str) -> None:
    ready, failed, good = observe("talking", "good", replies=replies)
    assert ready["ready"] == {"step": 1}
    assert error in failed["error"]
    assert "facts" in good


@pytest.mark.parametrize(
    "request_text",
    ["", "{", "[]", "{}", '{"nonce": "x", "observe": 3}', '{"nonce": "x", "observe": [{}]}', '{"a": 1} {}'],
)
def test_a_request_without_sense_is_refused_in_one_line(probes: Path, request_text: str) -> None:
    result = subprocess.run(command(probes, request_text), capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("read request: ")
    assert len(result.stderr.splitlines()) == 1


def test_nobody_reading_ends_the_runner_in_one_line(probes: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    request = json.dumps({"nonce": "0", "observe": [{"name": "good", "probe": "good"}]})
    try:
        result = subprocess.run(command(probes, request), stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert result.returncode == 1
    assert result.stderr == "report observations: EPIPE (Broken pipe)\n"


def test_children_of_a_probe_report_how_they_ended(observe: Observe) -> None:
    (line,) = observe("children")
    assert line["facts"] == {
        "facts": {"pid": True},
        "denied": {"errno": "ENOENT"},
        "killed": {"ended_by": "SIGKILL"},
        "left": {"exit": 4},
        "late": {"ended_by": "deadline"},
        "failure": "ValueError: wrong",
    }


HOST_ROLE = """
import importlib.util, json, os, sys, time
specification = importlib.util.spec_from_file_location("runner", sys.argv[1] + "/__main__.py")
runner = importlib.util.module_from_spec(specification)
specification.loader.exec_module(runner)
requests = [
    *({"name": name, "probe": name, "deadline": 0.2} for name in ("good", "crashing", "doubling", "talking")),
    {"name": "hanging", "probe": "hanging", "arguments": {"note": "/dev/null"}, "deadline": 0.2},
]
open_before, path_before = os.listdir("/proc/self/fd"), list(sys.path)
lines = []
for _ in range(3):
    runner.observe_all(requests, lines.append, lambda name: {"to": name})
try:
    os.waitpid(-1, os.WNOHANG)
    children = True
except ChildProcessError:
    children = False
print(json.dumps({
    "lines": [[line["name"], *sorted(line.keys() - {"name", "probe"})] for line in lines],
    "replies": [line["facts"]["replies"] for line in lines if line["name"] == "talking" and "facts" in line],
    "children": children,
    "same": open_before == os.listdir("/proc/self/fd") and path_before == sys.path,
}))
"""


def test_the_host_role_observes_again_and_again_and_keeps_nothing(probes: Path) -> None:
    result = subprocess.run([sys.executable, "-c", HOST_ROLE, str(probes)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    once = [["good", "facts"], ["crashing", "error"], ["doubling", "error"]]
    once += [["talking", "ready"], ["talking", "ready"], ["talking", "facts"], ["hanging", "error"]]
    assert answer["lines"] == once * 3
    assert answer["replies"] == [[{"to": "talking"}, {"to": "talking"}]] * 3
    assert not answer["children"]
    assert answer["same"]


def test_every_probe_tells_what_it_is_in_one_sentence() -> None:
    for path in PROBES.glob("*.py"):
        first = path.read_text().splitlines()[0]
        assert first.removeprefix("r").startswith('"""'), path
        assert first.rstrip('"').endswith("."), path
