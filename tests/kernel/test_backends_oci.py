"""Runtimes under test, in an outer sandbox: real ones, and stand-ins that crash, hang, flood and lie."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness import backends, environment, outer, scenario, verdict
from harness.launches import Case, Launch, Sharing
from harness.scenario import Check

pytestmark = pytest.mark.usefixtures("needs_root", "needs_namespaces")
REAL = ["runc", "crun", "runsc", "unshare", "chroot"]
DEADLINE = 30.0  # seconds
SHORT = 1.0  # seconds, for containers that last
SHORTER = 0.5  # seconds, for stand-ins that hang
UTS = Path(__file__).parents[2] / "scenarios/uts.yaml"
FORGED = '{"nonce": "%s", "name": "init", "probe": "init", "facts": {"pid": 1}}'
HOSTILE = {
    "crashes": ("echo 'panic: oh no' >&2; kill -SEGV $$", "oh no"),
    "hangs": ("echo thinking >&2; sleep 1000", "thinking"),
    "hangs and ignores signals": ("trap '' TERM INT; echo thinking >&2; while :; do sleep 1000; done", "thinking"),
    "leaves somebody who holds its output": ("echo going >&2; setsid sleep 1000 & exit 3", "going"),
    "floods its output": ("echo over >&2; exec yes", "over"),
    "floods its complaint": ("yes 'oh no' >&2", "oh no"),
    "floods its log": ("echo thinking >&2; yes > {directory}/log", "thinking"),
    "writes garbage": ("echo garbage; exit 0", "a line that is not JSON: 'garbage'"),
    "writes bytes": (r"printf '\377\376\n\0\n'; exit 0", "the container wrote a line that is not UTF-8"),
    "forges without the nonce": (f"echo '{FORGED % ('0' * 32)}'", "does not bear the nonce"),
    "does nothing": ("exit 0", "reported nothing"),
    "says that it has refused, and crashes": (
        """while [ "$1" != --log ]; do shift; done; echo '{"level":"error","msg":"no"}' > "$2"; kill -SEGV $$""",
        "did not run",
    ),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[outer.Outer]:
    """One sandbox for all: what one run leaves behind, the next would see."""
    with outer.start() as started:
        yield started


@pytest.fixture(params=REAL)
def runtime(request: pytest.FixtureRequest, missing: Callable[[str], NoReturn]) -> str:
    """One of the real ones."""
    if lack := backends.load(request.param).available():
        missing(lack)
    return str(request.param)


def check(name: str, path: Path = UTS) -> Check:
    return next(check for check in scenario.load(str(path)).checks if check.name == name)


def launch(case: Case) -> Launch:
    return Sharing([case]).of(case)[0]


def standin(directory: Path, text: str, *, head: str = "#!/bin/sh\n") -> str:
    """A program that does as the text says when it is to run a container; how it is to be named as a runtime."""
    path = directory / "runtime"
    path.write_text(f"{head}case \" $* \" in *' run '*) ;; *) exit;; esac\n{text}\n")
    path.chmod(0o755)
    return f"oci:{path}"


def test_a_container_runs_and_nothing_is_left(runtime: str, sandbox: outer.Outer) -> None:
    request = launch(
        Case(check("uts-names-are-configured" if runtime != "chroot" else "uts-sethostname-contained"), runtime)
    ).request
    for side in ("host", "host_after"):
        request[side]["mounts_then"] = {"probe": "mounts", "args": {}, "deadline": 5.0}
    answer = sandbox.run(request, DEADLINE)
    assert answer["start"]["ran"], answer["start"]
    assert answer["start"]["status"] == 0
    assert runtime in " ".join(answer["start"]["command"])
    assert answer["container"]["survivors"] == 0
    assert points(answer["host_after"]) == points(answer["host"])


def points(seen: dict[str, Any]) -> list[str]:
    return sorted(mount["point"] for mount in seen["mounts_then"]["facts"]["mounts"])


def test_a_program_that_is_not_there_is_refused(runtime: str, sandbox: outer.Outer) -> None:
    request = launch(Case(check("uts-ns-differs"), runtime)).request
    request["config"]["process"]["args"] = ["/nowhere", "container.command"]
    start = sandbox.run(request, DEADLINE)["start"]
    assert (start["ran"], start["refused"]) == (False, True), start
    assert start["status"] != 0
    assert start["message"]


def test_a_container_that_lasts_too_long_is_killed_and_told(runtime: str, sandbox: outer.Outer) -> None:
    case = Case(check("uts-ns-differs"), runtime)
    request = launch(case).request
    request["inside"]["burn"] = {"probe": "burn", "args": {"seconds": 50}, "deadline": 60.0}
    answer = sandbox.run(request, SHORT)
    assert answer["container"]["survivors"] == (1 if runtime == "chroot" else 0)  # which has nothing to kill it by
    assert "it has not ended in 1 s, and was killed" in answer["start"]["message"]
    assert verdict.judge(case.check, answer, environment.facts()).outcome == "error"


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_runtime_is_an_error_and_holds_nobody_up(how: str, sandbox: outer.Outer, place: Path) -> None:
    text, told = HOSTILE[how]
    case = Case(check("uts-ns-differs"), standin(place, text.format(directory="/dev/shm") if "{d" in text else text))
    answer = sandbox.run(launch(case).request, SHORTER)
    judged = verdict.judge(case.check, answer, environment.facts())
    assert judged.outcome == "error"
    assert told in judged.reason
    assert not answer["start"]["refused"]


def test_a_runtime_that_forges_with_the_nonce_beside_a_container_is_an_error(
    sandbox: outer.Outer, place: Path, missing: Callable[[str], NoReturn]
) -> None:
    """It can read the nonce in the config; whoever lies all alone cannot be told from a runtime, and is none."""
    if lack := backends.load("runc").available():
        missing(lack)
    forge = f"""
for word in "$@"; do [ "$last" = --bundle ] && bundle=$word; last=$word; done
nonce=$(grep -o 'nonce[^0-9a-f]*[0-9a-f]\\{{32\\}}' "$bundle/config.json" | grep -o '[0-9a-f]\\{{32\\}}$')
echo '{FORGED % "'$nonce'"}'
exec runc "$@"
"""
    case = Case(check("uts-ns-differs"), standin(place, forge))
    judged = verdict.judge(case.check, sandbox.run(launch(case).request, DEADLINE), environment.facts())
    assert (judged.outcome, judged.reason) == ("error", "the container did not run: the probe reported twice")


def test_a_runtime_that_cannot_be_executed_is_an_error(sandbox: outer.Outer, place: Path) -> None:
    case = Case(check("uts-ns-differs"), standin(place, "", head="#!/nowhere/sh\n"))
    judged = verdict.judge(case.check, sandbox.run(launch(case).request, DEADLINE), environment.facts())
    assert judged.outcome == "error"
    assert "No such file or directory" in judged.reason
