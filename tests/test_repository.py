"""The rules of the repository itself: linters, types, imports, scenarios, documents that tell the truth."""

import ast
import graphlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
STANDARD_LIBRARY = sys.stdlib_module_names
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))
PROBES = sorted((ROOT / "probes").glob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tests/README.md", ROOT / "reports/README.md"])

Missing = Callable[[str], NoReturn]


def complain(problems: list[str]) -> None:
    """Fail with one line for each problem; a traceback through this file would say nothing more."""
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def run(command: list[str]) -> None:
    """Run a tool in the repository; its output is the failure's text."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        complain([f"{shlex.join(command)}: exit status {done.returncode}", done.stdout + done.stderr])


def files() -> list[Path]:
    """Every file that git holds or would hold; all that stands here where there is no git."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        paths = [ROOT / name for name in names if name]
    except (FileNotFoundError, subprocess.CalledProcessError):
        hidden = re.compile(r"/(\.(?!ci/|github/)[^/]+|__pycache__)/")
        paths = [path for path in ROOT.rglob("*") if not hidden.search(f"/{path.relative_to(ROOT)}")]
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def texts() -> Iterator[tuple[str, str]]:
    """The name and the text of every file that is not a picture."""
    for path in files():
        if path.suffix not in {".png", ".gif", ".ico"}:
            yield str(path.relative_to(ROOT)), path.read_bytes().decode()


def module_name(path: Path) -> str:
    """`harness/runtime/plan.py` is harness.runtime.plan."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> dict[str, int]:
    """Every module that a file imports, wherever in it, as full names with their lines.

    `from harness.runtime import plan` is an import of harness.runtime.plan where that is a module.
    """
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {alias.name: node.lineno for alias in names}
            case ast.ImportFrom(module=str(module), level=0, names=names):
                for alias in names:
                    inner = ROOT / module.replace(".", "/") / alias.name
                    is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                    found[f"{module}.{alias.name}" if is_module else module] = node.lineno
            case ast.ImportFrom(level=level) if level > 0:
                pytest.fail(f"{path.relative_to(ROOT)}:{node.lineno}: relative import", pytrace=False)
    return found


def foreign(folder: str, allowed: Callable[[str], bool]) -> list[str]:
    """The imports below a folder that it must not have."""
    return [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name, line in imported(path).items()
        if not allowed(name)
    ]


def top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["ruff-check", "ruff-format", "mypy-strict"],
)
def test_python_tools(command: list[str], missing: Missing) -> None:
    module, *arguments = command
    tool = [sys.executable, "-m", module]
    if subprocess.run([*tool, "--version"], capture_output=True).returncode != 0:
        missing(f"{module} is not installed; it is in the dependency group `lint`")
    run([*tool, *arguments])


def shell_scripts() -> list[Path]:
    """Every file whose first line names a shell."""
    return [path for path in files() if re.match(rb"#!.*\b(ba)?sh\b", path.read_bytes()[:80])]


def test_shell_scripts_parse() -> None:
    scripts = shell_scripts()
    assert scripts
    for script in scripts:
        run(["bash", "-n", str(script)])


def test_shellcheck(missing: Missing) -> None:
    if not shutil.which("shellcheck"):
        missing("shellcheck is not installed")
    run(["shellcheck", *map(str, shell_scripts())])


@pytest.mark.skipif(not shutil.which("vagrant"), reason="vagrant is not installed")
def test_vagrantfile_is_valid(tmp_path: Path) -> None:
    # Vagrant writes to both folders; neither the user's nor the checkout's shall change.
    environment = ["-u", "VAGRANT_DEFAULT_PROVIDER"]
    environment += [f"VAGRANT_HOME={tmp_path / 'home'}", f"VAGRANT_DOTFILE_PATH={tmp_path / 'dot'}"]
    run(["env", *environment, "vagrant", "validate", "--ignore-provider"])


def test_runtime_imports_the_standard_library_and_itself() -> None:
    complain(
        foreign(
            "harness/runtime",
            lambda name: top(name) in STANDARD_LIBRARY or f"{name}.".startswith("harness.runtime."),
        )
    )


def test_archives_are_unpacked_in_one_place() -> None:
    """Who unpacks has absolute names, `..`, links and devices in an archive to mind; images are, in a sandbox."""
    unpacking = re.compile(r"\bunpack_archive\(|\.extract(all|file)?\(|\bcpio\b.* -i|\btar\b.* -?x")
    complain(
        [
            f"{path.relative_to(ROOT)}:{number}: unpacks an archive: {line.strip()}"
            for path in sorted((ROOT / "harness").rglob("*.py"))
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if unpacking.search(line) and path != ROOT / "harness/image.py"
        ]
    )


def test_probes_import_the_standard_library_and_their_kernel_helper() -> None:
    complain(foreign("probes", lambda name: name == "_kernel" or top(name) in STANDARD_LIBRARY))


def test_only_the_plugin_imports_pytest() -> None:
    tests = {"tests", "scenarios"}
    plugin = {ROOT / "harness" / name for name in ("plugin.py", "items.py", "live.py")}
    outside = [path for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] not in tests]
    complain(
        [
            f"{path.relative_to(ROOT)}:{line}: imports {name}"
            for path in outside
            if path not in plugin
            for name, line in imported(path).items()
            if top(name) in {"pytest", "_pytest", "pluggy"}
        ]
    )


def misfits(path: Path, schema: str) -> list[str]:
    """What a YAML file has that is not as its schema says: by another YAML loader than ours, and another validator."""
    described = json.loads((ROOT / "harness" / schema).read_text())
    errors = jsonschema.Draft202012Validator(described).iter_errors(yaml.safe_load(path.read_text()))
    return [f"{path.name}: {error.json_path}: {error.message}" for error in errors]


def test_nobody_imports_private_pytest() -> None:
    private = "_" + "pytest"
    complain(
        [
            f"{name}: mentions {private}"
            for name, text in texts()
            if name.endswith(".py") and re.search(rf"\b{private}\b", text) and name != "tests/test_repository.py"
        ]
    )


def test_reports_compute_no_verdict() -> None:
    forbidden = {"harness.verdict", "harness.expression", "harness.plugin", "harness.items"}
    complain(foreign("harness/report", lambda name: name not in forbidden))


def test_backends_know_configs_and_not_scenarios() -> None:
    forbidden = {"harness.scenario", "harness.verdict", "harness.expression", "harness.plugin", "harness.items"}
    complain(foreign("harness/backends", lambda name: name not in forbidden))


def test_imports_have_no_circle() -> None:
    modules = {module_name(path): path for path in (ROOT / "harness").rglob("*.py")}
    graph = {name: set(imported(path)) & set(modules) - {name} for name, path in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        complain(["import circle: " + " <- ".join(error.args[1])])


def test_modules_are_short() -> None:
    """Above 400 lines a module is a smell, and few may smell; 600 is the end."""
    lengths = {name: text.count("\n") for name, text in texts() if name.endswith(".py")}
    long = sorted((name for name, length in lengths.items() if length > 400), key=lambda name: -lengths[name])
    complain([f"{name}: {lengths[name]} lines; split it" for name in long if lengths[name] > 600])
    assert len(long) <= 5, f"too many modules above 400 lines: {long}"


def test_no_probe_hides_a_module_of_the_standard_library() -> None:
    """The probes' folder is on sys.path in the container, and on the type checker's path."""
    complain([f"{path.name}: named as a standard module" for path in PROBES if path.stem in STANDARD_LIBRARY])


def test_every_probe_and_backend_says_what_it_is() -> None:
    paths = [*PROBES, *(ROOT / "harness/backends").glob("*.py"), *(ROOT / "harness/report").glob("*.py")]
    docstrings = {path: ast.get_docstring(ast.parse(path.read_text())) or "" for path in paths}
    complain([f"{path.relative_to(ROOT)}: no docstring" for path, text in docstrings.items() if not text])


def test_schemas_are_fresh() -> None:
    from harness import schemas

    stale = [name for name, text in schemas.texts().items() if text != (schemas.HERE / name).read_text()]
    complain([f"harness/{name} is stale: python -m harness.schemas" for name in stale])


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name)
def test_scenario_is_valid_and_whole(path: Path) -> None:
    """A second opinion on what the loader does."""
    problems = misfits(path, "scenario.schema.json")
    scenario: dict[str, Any] = yaml.safe_load(path.read_text())
    for name, check in scenario["checks"].items():
        problems += [f"{path.name}: {name} has no {key}" for key in ("severity", "sabotage") if not check.get(key)]
    if not path.read_text().startswith("# yaml-language-server: $schema=../harness/scenario.schema.json\n"):
        problems.append(f"{path.name}:1: the first line does not name the schema for editors")
    complain(problems)


def test_check_names_are_unique() -> None:
    names = Counter(name for path in SCENARIOS for name in yaml.safe_load(path.read_text())["checks"])
    complain([f"{name}: {count} checks of this name" for name, count in names.items() if count > 1])


def test_checks_that_take_long_are_marked_slow() -> None:
    """`slow: true` is for more than two seconds; as the last run here measured, doubled for a busy machine."""
    from harness.results import from_json

    stored = ROOT / "reports/isolation.json"
    if not stored.exists():
        pytest.skip("no run is stored here; pytest scenarios/ stores one")
    checks = {name: check for path in SCENARIOS for name, check in yaml.safe_load(path.read_text())["checks"].items()}
    timing = from_json(stored.read_bytes()).timing
    launches = timing.slowest if timing else []
    ours = [each for each in launches if each.runtime == "builtin" and not each.sabotage]  # what others take is theirs
    if not ours:
        pytest.skip("none of the slowest launches of the stored run is one of ours; pytest scenarios/ stores another")
    problems = []
    for launch in ours:
        served = [checks[name] for label in launch.checks if (name := label.partition("[")[0]) in checks]
        slow = not served or any(check.get("slow") for check in served)  # none: they have other names by now
        if not slow and launch.milliseconds > 4000:
            problems.append(f"{', '.join(launch.checks)} took {launch.milliseconds / 1000:.1f} s: no check is slow")
    complain(problems)


def test_every_probe_is_used() -> None:
    scenarios = "".join(path.read_text() for path in SCENARIOS)
    names = [path.stem for path in PROBES if not path.stem.startswith("_") and path.stem != "init"]
    used = r"(\b(probe|during): *|\b(inside|host|host_after)\.){}\b"
    complain(
        [f"probes/{name}.py: no scenario uses it" for name in names if not re.search(used.format(name), scenarios)]
    )


def commands(path: Path) -> list[tuple[int, list[str]]]:
    """The commands in a document's fenced blocks of shell, with their lines."""
    found = []
    in_shell = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("```"):
            in_shell = line in {"```sh", "```console"}
        elif in_shell and line.strip():
            found.append((number, shlex.split(line.removeprefix("$ "), comments=True)))
    return found


def make_targets() -> set[str]:
    """Every target of the Makefile that has a name to be called by."""
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def pytest_options() -> set[str]:
    """Every option that pytest takes with our plugin."""
    shown = subprocess.run([sys.executable, "-m", "pytest", "--help"], cwd=ROOT, capture_output=True, text=True)
    return set(re.findall(r"(?<![\w-])--?[\w-]+", shown.stdout))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_commands_that_exist(path: Path, pytest_options: set[str]) -> None:
    targets = make_targets()
    problems = []
    for line, words in commands(path):
        where = f"{path.relative_to(ROOT)}:{line}"
        match words:
            case ["make", *arguments]:
                named = {word for word in arguments if "=" not in word}
                problems += [f"{where}: make has no target {target}" for target in sorted(named - targets)]
            case ["pytest" | ".venv/bin/pytest", *arguments]:
                options = {word for word in arguments if word.startswith("-")}
                problems += [f"{where}: pytest has no option {option}" for option in sorted(options - pytest_options)]
                paths = [word.partition("::")[0] for word in arguments if "/" in word]
                problems += [f"{where}: there is no {word}" for word in paths if not (ROOT / word).exists()]
            case ["isoproof" | ".venv/bin/isoproof", *arguments]:
                ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
                help_command = [sys.executable, "-m", "harness", ours[0], "--help"]
                shown = subprocess.run(help_command, cwd=ROOT, capture_output=True, text=True)
                if shown.returncode != 0:
                    problems.append(f"{where}: isoproof has no verb {ours[0]}")
                known = set(re.findall(r"--[\w-]+", shown.stdout))
                options = {word for word in ours[1:] if word.startswith("--")}
                problems += [f"{where}: isoproof has no option {option}" for option in sorted(options - known)]
    complain(problems)


@pytest.mark.usefixtures("needs_namespaces")
def test_the_bundle_of_the_readme_runs(missing: Missing, tmp_path: Path) -> None:
    if not shutil.which("busybox"):
        missing("busybox is not installed")
    (block,) = re.findall(r"^```sh\n(mkdir [^`]+)^```$", (ROOT / "README.md").read_text(), re.MULTILINE)
    ours = f"{shlex.quote(sys.executable)} -m harness"
    script = f"set -eu\nexport PYTHONPATH={shlex.quote(str(ROOT))}\n" + block.replace(".venv/bin/isoproof", ours)
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or "I am process 1\n" not in done.stdout or "pivot_root" not in done.stdout:
        complain([f"exit status {done.returncode}", done.stdout, done.stderr])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    complain([f"{path.relative_to(ROOT)}: link to {link}" for link in links if not (path.parent / link).exists()])


def test_changelog_names_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    heading = "## [Unreleased]" if ".dev" in version else f"## [{version}]"
    assert heading in (ROOT / "CHANGELOG.md").read_text()


def test_no_file_names_a_developers_machine() -> None:
    homes = re.compile(r"/home/(?!(user|vagrant)\b)[a-z]|/Users/[A-Za-z]|/root/\.[a-z]")
    here = str(ROOT) if len(ROOT.parts) > 2 else None
    complain(
        [
            f"{name}:{number}: {line.strip()[:100]}"
            for name, text in texts()
            if name not in {"tests/test_repository.py", "LICENSE"}
            for number, line in enumerate(text.splitlines(), 1)
            if homes.search(line) or (here and here in line)
        ]
    )


def test_text_is_plain() -> None:
    """UTF-8 without what the eye cannot see: byte order marks, direction controls, odd spaces, returns."""
    unseen = re.compile("[\\u00a0\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\r]|[ \\t]$", re.MULTILINE)
    problems = []
    for name, text in texts():
        if text and (not text.endswith("\n") or text.endswith("\n\n")) and name != "LICENSE":
            problems.append(f"{name}: does not end with one line feed")
        for match in unseen.finditer(text):
            number = text.count("\n", 0, match.start()) + 1
            problems.append(f"{name}:{number}: unseen character {match.group()!r}")
    complain(problems)


def test_scripts_are_executable() -> None:
    complain([f"{path.relative_to(ROOT)}: chmod +x" for path in shell_scripts() if not os.access(path, os.X_OK)])
