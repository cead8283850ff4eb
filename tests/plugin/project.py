"""A project with scenarios, on which the tests of this folder run pytest with a host role that is played here.

The host role answers as one would whose containers keep the hostname that was asked for. Hostnames tell it to
misbehave, and so does every sabotage but `no-setdomainname`, which it does not feel.
"""

import json
import textwrap
from typing import Any

import pytest

# pytester forgets what a run has imported, but PyYAML's C half keeps the classes of its first import.
import harness.launches  # noqa: F401
from harness.results import Results, from_json

PROJECT = """
[tool.pytest]
strict = true
filterwarnings = ["error"]
addopts = ["-p", "harness.plugin", "--color=no"]
"""

CONFTEST = """
import contextlib
import json

import pytest

from harness.errors import HarnessError


def log(name, value):
    with open(name, "a") as file:
        file.write(json.dumps(value) + "\\n")


class Host:
    def run(self, request, deadline):
        log("requests", request)
        asked = request["config"]["hostname"]
        felt = set(request["sabotage"]) - {"no-setdomainname"}
        if asked == "interrupted":
            raise KeyboardInterrupt
        if asked == "broken":
            raise HarnessError("run in outer sandbox: it has ended")
        ran = asked not in ("silent", "refused") and request["runtime"] != "null" and "join-late" not in felt
        hostname = "outer" if felt or asked == "shared" else "\\x1b[2J" if asked == "hostile" else asked
        seen = {"facts": {"hostname": hostname, "domainname": "a"}} if ran else {"error": "nothing was reported"}
        return {
            "inside": {name: seen for name in ["init", *request["inside"]]},
            "host": {name: {"facts": {"hostname": "outer"}} for name in request["host"]},
            "host_after": {},
            "canary": {},
            "config": request["config"],
            "container": {},
            "start": {"ran": ran, "refused": asked == "refused" and not felt, "status": 0, "message": ""},
            "milliseconds": {"start": 0.2, "probes": 0.1},
            "error": None,
        }


@contextlib.contextmanager
def start():
    log("sandboxes", "started")
    try:
        yield Host()
    finally:
        log("sandboxes", "closed")


@pytest.fixture(scope="session")
def outer_sandbox():
    return start
"""

GOOD = """
title: A container has names of its own
container: {hostname: cell-1}
checks:
  uts-name:
    claim: The hostname is the one that was asked for
    expect:
      - inside.identity.hostname == config.hostname
      - inside.identity.hostname != host.identity.hostname
    sabotage: no-sethostname
    severity: leak
"""


def check(name: str, hostname: str = "", sabotage: str = "no-sethostname", severity: str = "leak", **more: Any) -> str:
    """One more check for GOOD, which has a container of its own if it has a hostname of its own."""
    lines = [
        f"  {name}:",
        f"    claim: The claim of {name}",
        f"    expect: [{more.pop('expect', 'inside.identity.hostname == config.hostname')}]",
        f"    sabotage: {sabotage}",
        f"    severity: {severity}",
        *([f"    container: {{hostname: {hostname}}}"] if hostname else []),
        *(f"    {key}: {value}" for key, value in more.items()),
    ]
    return "\n".join(lines) + "\n"


class Project:
    """A project with scenarios, on which pytest is run."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.write("pyproject.toml", PROJECT)
        self.write("conftest.py", CONFTEST)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess(*arguments, no_reraise_ctrlc=True)

    def results(self) -> Results:
        return from_json((self.path / "reports" / "isolation.json").read_text())

    def outcomes(self) -> dict[str, str | None]:
        return {result.check: result.outcome for result in self.results().results}

    def logged(self, name: str) -> list[Any]:
        path = self.path / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def ids(self, *arguments: str) -> list[str]:
        lines = self.run("--collect-only", "-q", *arguments).outlines
        return [line for line in lines if "::" in line]
