"""What GitHub is told to run: it is of the published schema, gives an attacker nothing, and runs what is there."""

import re
import shutil
import subprocess
import sysconfig
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_repository import ROOT, Missing, complain, make_targets

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPTS = Path(sysconfig.get_path("scripts"))
DEPENDABOT = ROOT / ".github/dependabot.yml"
PINNED = re.compile(r"(?P<action>[\w.-]+/[\w./-]+)@(?P<commit>[0-9a-f]{40}) # (?P<version>v\d+\.\d+\.\d+)")
BAD = """\
on: pull_request_target
jobs:
  greet:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v6
      - run: echo "Hello, ${{ github.event.pull_request.title }}"
"""


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The workflow that README.md has for its readers, as they would store it."""
    (block,) = re.findall(r"^```yaml\n(name: [^`]+)^```$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return stored(tmp_path, block)


def stored(folder: Path, text: str) -> Path:
    """Store a workflow where tools look for them."""
    path = folder / ".github/workflows/example.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def lint_tools(missing: Missing) -> None:
    for tool in ("check-jsonschema", "zizmor"):
        if not (SCRIPTS / tool).exists():
            missing(f"{tool} is not installed; it is in the dependency group `lint`")


def judged_by(tool: str, *words: str | Path) -> list[str]:
    """What a tool has to say of files; nothing where it is content."""
    command = [SCRIPTS / tool, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


def misfits(path: Path, schema: str = "github-workflows") -> list[str]:
    """What a file has that is not as the schema of schemastore.org says."""
    return judged_by("check-jsonschema", "--builtin-schema", f"vendor.{schema}", path)


def weaknesses(*paths: Path, persona: str = "auditor") -> list[str]:
    """What zizmor finds. Offline: what GitHub alone can say, such as which tag a commit has, is not asked."""
    return judged_by(
        "zizmor", "--offline", "--quiet", "--no-config", "--strict-collection", f"--persona={persona}", *paths
    )


@pytest.mark.usefixtures("lint_tools")
def test_workflows_are_of_the_published_schema(example: Path) -> None:
    assert WORKFLOWS
    complain([text for path in (*WORKFLOWS, example) for text in misfits(path)] + misfits(DEPENDABOT, "dependabot"))


@pytest.mark.usefixtures("lint_tools")
def test_workflows_give_an_attacker_nothing(example: Path) -> None:
    complain(weaknesses(*WORKFLOWS, DEPENDABOT) + weaknesses(example, persona="regular"))


@pytest.mark.usefixtures("lint_tools")
def test_a_bad_workflow_is_told(tmp_path: Path) -> None:
    """Neither tool is content whatever it is given."""
    path = stored(tmp_path, BAD)
    assert misfits(path) == []
    (found,) = weaknesses(path)
    assert {"dangerous-triggers", "template-injection", "unpinned-uses", "artipacked"} <= set(
        re.findall(r"\[([a-z-]+)\]", found)
    )
    path.write_text(BAD.replace("runs-on", "run-on"))
    (found,) = misfits(path)
    assert "$.jobs.greet: 'runs-on' is a required property" in found


def test_actions_are_named_by_commit_and_version() -> None:
    """Of each action there is one version, and of that one commit, with us and in what we tell others to write."""
    problems = []
    versions = defaultdict(set)
    for path in (*WORKFLOWS, ROOT / "README.md"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if (at := line.partition(" uses: ")[2]) and not at.startswith("./"):
                if match := PINNED.fullmatch(at):
                    versions[match["action"]].add((match["version"], match["commit"]))
                else:
                    problems.append(f"{path.name}:{number}: not OWNER/NAME@COMMIT # vN.N.N: {at}")
    problems += [f"{action}: more than one: {sorted(found)}" for action, found in versions.items() if len(found) > 1]
    complain(problems)


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["jobs"]
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_end_and_run_what_is_there(path: Path) -> None:
    targets = make_targets()
    problems = []
    for name, job in jobs(path).items():
        if "timeout-minutes" not in job:
            problems.append(f"{path.name}: {name} has no timeout-minutes")
        script = "\n".join(step.get("run", "") for step in job["steps"])
        named = set(re.findall(r"\bmake (?:-C \S+ )?([a-z0-9-]+)", script))
        problems += [f"{path.name}: {name}: make has no target {target}" for target in sorted(named - targets)]
        ours = re.findall(r"(?<!\S)((?:\.ci|harness)/\S+)", script)
        problems += [f"{path.name}: {name}: there is no {file}" for file in ours if not (ROOT / file).is_file()]
    complain(problems)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_last_job_waits_for_all_others(path: Path) -> None:
    """It is what a branch's protection asks for, so a job that it does not name would protect nothing."""
    *others, last = jobs(path)
    assert sorted(jobs(path)[last]["needs"]) == sorted(others)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_shellcheck_of_what_is_run(path: Path, missing: Missing) -> None:
    if not shutil.which("shellcheck"):
        missing("shellcheck is not installed")
    scripts = [step["run"] for job in jobs(path).values() for step in job["steps"] if "run" in step]
    assert scripts
    problems = []
    for script in scripts:
        checking = ["shellcheck", "--shell=bash", "--norc", "-"]
        done = subprocess.run(checking, input=script, capture_output=True, text=True)
        if done.returncode:
            problems += [script, done.stdout]
    complain(problems)
