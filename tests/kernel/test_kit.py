"""The kit of every Python that is installed runs in any root, without a word on standard error."""

import glob
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness import rootfs
from harness.runtime.syscalls import MS, invoke
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces")

ROOT = Path(__file__).parents[2]
PROBES = sorted(path.stem for path in (ROOT / "probes").glob("[!_]*.py") if path.stem != "init")
BUILD = """
import sys
from pathlib import Path
from harness.rootfs import build_kit
print(build_kit(Path(sys.argv[1])))
"""
MS_REMOUNT = 32  # mount(2); the runtime uses mount_setattr(2) instead
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kits")


@pytest.fixture(scope="module", params=["this one", "Debian's 3.11", "pyenv 3.12", "pyenv 3.13", "a venv"])
def kit(
    request: pytest.FixtureRequest,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
    missing: Callable[[str], NoReturn],
) -> Path:
    """The kit that a Python of this machine builds for itself."""
    if request.param == "a venv":
        directory = tmp_path_factory.mktemp("venv")
        venv.create(directory, symlinks=True)
        python = directory / "bin" / "python"
    elif request.param == "this one":
        python = Path(sys.executable)
    elif request.param == "Debian's 3.11":
        python = Path("/usr/bin/python3.11")
    else:
        root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
        installed = glob.glob(f"{root}/versions/{request.param.removeprefix('pyenv ')}*/bin/python3")
        python = Path(max(installed, default="python3"))
    if not os.access(python, os.X_OK):
        missing(f"{request.param} is not installed")
    built = subprocess.run(
        [python, "-c", BUILD, cache], cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


def observe(
    kit: Path,
    directory: Path,
    entries: list[Facts],
    image: Facts | None = None,
    busybox: bool = False,
    environment: dict[str, str] | None = None,
    uid: int = 0,
) -> tuple[list[Facts], str]:
    """Mount the kit in a root, change the root, run the kit's command; its lines and its standard error."""
    command = rootfs.command(json.dumps({"nonce": "0", "observe": entries}))

    def start() -> tuple[str, str]:
        # A file system of its own, which everybody may enter: pytest's directories are for one user.
        invoke("mount", b"root", os.fsencode(directory), b"tmpfs", 0, b"mode=755")
        rootfs.make_rootfs(directory, image or {})
        if busybox:
            (directory / "bin").mkdir()
            shutil.copy("/bin/busybox", directory / "bin" / "sh")
        mount_point = os.fsencode(directory / "isoproof")
        invoke("mount", os.fsencode(kit), mount_point, 0, MS.BIND, 0)
        invoke("mount", 0, mount_point, 0, MS_REMOUNT | MS.BIND | MS.RDONLY | MS.NOSUID | MS.NODEV, 0)
        invoke("mount", b"proc", os.fsencode(directory / "proc"), b"proc", 0, 0)
        os.chroot(directory)
        os.chdir("/")
        shell = ["/bin/sh", "-c", '"$@"', "sh"] if busybox else []
        result = subprocess.run(
            [*shell, *command], capture_output=True, text=True, env=environment or {}, user=uid or None
        )
        return result.stdout, result.stderr

    output, errors = in_throwaway(start)
    return [json.loads(line) for line in output.splitlines()], errors


def assert_init_and_identity(lines: list[Facts], errors: str) -> Facts:
    assert errors == ""
    assert [line["name"] for line in lines] == ["init", "who"]
    assert lines[0]["facts"]["argv0"] == "/isoproof/bin/python"
    assert lines[0]["facts"]["namespaces"]["uts"] not in (None, os.stat("/proc/self/ns/uts").st_ino)
    facts: Facts = lines[1]["facts"]
    assert facts["hostname"] == os.uname().nodename
    return facts


WHO = [{"name": "who", "probe": "identity"}]


def test_it_runs_in_an_empty_root(kit: Path, tmp_path: Path) -> None:
    assert_init_and_identity(*observe(kit, tmp_path, WHO))


def test_it_runs_in_a_busybox_root(kit: Path, tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    if not Path("/bin/busybox").exists():
        missing("busybox-static is not installed")
    assert_init_and_identity(*observe(kit, tmp_path, WHO, busybox=True))


def test_it_takes_nothing_from_the_image(kit: Path, tmp_path: Path) -> None:
    """An image may have another libc, another Python, an environment that points to them, and a strange locale."""
    names = {path.name for path in (kit / "lib").glob("*.so*")} | {f"ld-musl-{os.uname().machine}.so.1"}
    version = next((kit / "lib").glob("python3*")).name
    image = {
        "files": {
            **{f"{place}/{name}": "not for you" for place in ("/lib", "/lib64", "/usr/lib") for name in names},
            **{f"/usr/lib/{version}/{module}.py": "raise SystemExit(9)" for module in ("os", "encodings", "site")},
            "/etc/ld.so.cache": "not for you",
        }
    }
    environment = {
        "LD_LIBRARY_PATH": "/lib:/usr/lib",
        "PYTHONHOME": "/usr",
        "PYTHONPATH": f"/usr/lib/{version}",
        "LANG": "de_DE.ISO-8859-1",
        "LC_ALL": "xx_XX",
    }
    assert_init_and_identity(*observe(kit, tmp_path, WHO, image, environment=environment))


def test_any_user_can_run_it(kit: Path, tmp_path: Path, needs_root: None) -> None:
    facts = assert_init_and_identity(*observe(kit, tmp_path, WHO, uid=65534))
    assert facts["uid"] == 65534


def imported(kit: Path, arguments: list[str]) -> set[str]:
    """What the kit's interpreter imports from its start on, be it builtin, frozen or a file."""
    directory = str(kit)
    loader, *options = [argument.replace(rootfs.KIT, directory) for argument in rootfs.command("")]
    python = options.index(f"{directory}/bin/python") + 1
    command = [loader, *options[:python], "-X", "importtime", "-I", "-S", "-B", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env={}, check=True)
    return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}


def test_the_runner_imports_no_more_than_it_needs_before_the_first_probe(kit: Path) -> None:
    """Every start in a container pays for it: ctypes, importlib and signal alone cost a third of the interpreter."""
    request = json.dumps({"nonce": "0", "observe": []})
    runner = imported(kit, [f"{kit}/probes/__main__.pyc", request])
    assert runner - imported(kit, ["-c", "pass"]) == {
        *("__future__", "_collections_abc", "_ctypes", "_json", "_kernel", "_stat"),
        *("errno", "genericpath", "os", "posixpath", "select", "stat"),
    }


def test_every_probe_finds_what_it_imports(kit: Path, tmp_path: Path) -> None:
    """A probe that is called with a wrong argument has been loaded, and does nothing."""
    wrong = {"no_such_argument": None}
    entries = [{"name": probe, "probe": probe, "arguments": wrong} for probe in PROBES]
    lines, errors = observe(kit, tmp_path, entries)
    assert errors == ""
    assert [line["name"] for line in lines] == ["init", *PROBES]
    for line in lines[1:]:
        assert "unexpected keyword argument 'no_such_argument'" in line["error"], line
