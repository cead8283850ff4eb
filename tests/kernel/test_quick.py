"""`isoproof run` of what has been run before: as the long way, or left to it where anything is not as it was."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.runtime import folders, leftovers, quick, stored
from harness.runtime.config import Config
from harness.runtime.syscalls import PR, invoke
from tests.kernel.bundles import bundle
from tests.kernel.test_replay import lasting, looking

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

LEFT = 99  # what the command below ends with where the bundle is left to the long way
COMMAND = """
import sys

from harness.runtime import folders

folders.folders = lambda: [sys.argv[1]]
way, *words = sys.argv[2:]
if way == "quick":
    from harness.runtime import quick

    status = quick.run(words)
    sys.exit(99 if status is None else status)
from harness import cli

sys.exit(cli.main(words))
"""
LIMITS = {"memory": {"limit": 1 << 26}, "pids": {"limit": 20}, "cpu": {"quota": 50_000, "period": 100_000}}


class Bundle:
    """A bundle, and a folder of the test's own for what is stored of it."""

    def __init__(self, directory: Path, config: Config) -> None:
        self.directory, self.folder = directory, directory.parent / "stored"
        for name in ("proc", "dev", "sys"):
            (directory / "rootfs" / name).mkdir(exist_ok=True)
        self.write(config)

    def write(self, config: Config) -> None:
        (self.directory / "config.json").write_text(json.dumps(config))

    def words(self, way: str, *command: str) -> list[str]:
        more = ["--", *command] if command else []
        return [sys.executable, "-c", COMMAND, str(self.folder), way, "run", str(self.directory), *more]

    def run(self, way: str, *command: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run(self.words(way, *command), text=True, timeout=60, check=False, **streams | options)

    def is_quick(self) -> bool:
        """Whether it is run the quick way; a program that ends well is."""
        status = self.run("quick").returncode
        assert status in (0, LEFT)
        return status == 0


@pytest.fixture(autouse=True)
def _is_dumpable_again() -> Iterator[None]:
    """The command hides itself from the container and ends; a test that calls it lives on."""
    yield
    invoke("prctl", PR.SET_DUMPABLE, 1, 0, 0, 0)


@pytest.fixture
def known(tmp_path: Path) -> Bundle:
    """Return a bundle that has been run."""
    made = Bundle(*bundle(tmp_path / "bundle", "/bin/true"))
    assert not made.is_quick()
    assert made.run("long").returncode == 0
    assert made.is_quick()
    return made


def remains(text: str) -> list[str]:
    """Return what one of ours, running or not, has left on this host and names in the text."""
    names = set(re.findall(r"isoproof-\d+-[0-9a-f]+", text))
    assert names
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(path) in names]


@pytest.mark.parametrize("limits", [{}, LIMITS])
def test_the_program_finds_the_same_world(tmp_path: Path, limits: Config) -> None:
    directory, config = looking(tmp_path / "bundle")
    config["process"] |= {"user": {"uid": 1000, "gid": 5, "additionalGids": [7], "umask": 0o27}}
    config["linux"]["resources"] = limits
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    (tmp_path / "data").mkdir()
    (directory / "rootfs/data").mkdir()
    mount = {"destination": "/data", "type": "bind", "source": str(tmp_path / "data"), "options": ["bind", "ro"]}
    config["mounts"].append(mount)
    made = Bundle(directory, config)
    long, once_more = made.run("long"), made.run("quick")
    assert (long.returncode, once_more.returncode) == (0, 0), once_more.stderr
    assert lasting(once_more.stdout) == lasting(long.stdout)
    assert len(long.stdout) > 5000


def test_limits_are_in_force_and_nothing_of_them_is_left(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path / "bundle", "/bin/sh", "-c", "cat /proc/1/cgroup /sys/fs/cgroup/*/*.max")
    config["linux"]["resources"] = LIMITS
    config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "cgroup"]
    config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    made = Bundle(directory, config)
    long, first, second = made.run("long"), made.run("quick"), made.run("quick")
    assert first.returncode == second.returncode == long.returncode != LEFT
    assert lasting(first.stdout) == lasting(long.stdout)
    assert first.stdout != second.stdout
    assert remains(first.stdout + second.stdout) == []
    assert [path.name for path in made.folder.iterdir() if not path.name.startswith("plan-")] == []


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -9 $$; kill -TERM 1", 0), ("kill -9 1", 0)])
def test_the_status_is_the_programs(known: Bundle, command: str, status: int) -> None:
    words = ["/bin/sh", "-c", command]
    assert known.run("long", *words).returncode == status
    assert known.run("quick", *words).returncode == status


def test_signals_are_passed_on(known: Bundle) -> None:
    words = ["/bin/sh", "-c", "trap 'echo got; exit 9' TERM; echo there; while :; do sleep 0.01; done"]
    for way in ("long", "quick"):
        with subprocess.Popen(known.words(way, *words), stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"there\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read() == b"got\n"
        assert process.returncode == 9


def test_what_a_killed_launcher_has_left_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, config = bundle(tmp_path / "bundle", "/bin/sh", "-c", "cat /proc/1/cgroup; read line")
    config["linux"]["resources"] = {"pids": {"limit": 20}}
    config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "cgroup"]
    made = Bundle(directory, config)
    assert made.run("long").returncode == 1  # nothing to read
    pipe = subprocess.PIPE
    with subprocess.Popen(made.words("quick"), text=True, stdin=pipe, stdout=pipe) as launcher:
        assert launcher.stdout
        lines = [launcher.stdout.readline()]
        while not lines[-1].startswith("0:"):
            lines.append(launcher.stdout.readline())
        launcher.kill()
        assert launcher.stdout.read() == ""  # the container has died with it
    assert len(remains("".join(lines))) > 1
    monkeypatch.setattr(folders, "folders", lambda: [str(made.folder)])
    assert any("removed cgroup" in line for line in list(leftovers.remove()))
    assert remains("".join(lines)) == []


def test_a_file_is_given_the_bytes_and_not_to_the_program(known: Bundle, tmp_path: Path) -> None:
    words = ["/bin/sh", "-c", "readlink /proc/self/fd/1; echo 1 >&2"]
    (known.directory / "rootfs/bin/readlink").symlink_to("busybox")
    assert known.run("long", *words).returncode == 0
    with open(tmp_path / "log", "w") as log:
        assert known.run("quick", *words, stdout=log, stderr=log).returncode == 0
    assert re.fullmatch(r"pipe:\[\d+\]\n1\n", (tmp_path / "log").read_text())


def test_a_file_to_be_read_from_is_left_to_the_long_way(known: Bundle, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("all of it\n")
    with open(tmp_path / "input") as source:
        assert known.run("quick", stdin=source).returncode == LEFT
        assert source.read() == "all of it\n"


CHANGES = {
    "the config": "sed -i s/cell/another/ bundle/config.json",
    "no config": "rm bundle/config.json",
    "a place that is not there": "rmdir bundle/rootfs/proc",
    "the root": "mv bundle/rootfs bundle/old; cp -a bundle/old bundle/rootfs",
    "the root, by a symlink": "mv bundle/rootfs bundle/old; ln -s old bundle/rootfs",
    "a folder that others may write to": "chmod 777 stored",
    "a folder that is somebody else's": "chown 1000 stored",
    "half an image": "truncate --size 20000 stored/*",
    "an image that is none": "for file in stored/*; do echo '[]' > $file; done",
    "an empty image": "for file in stored/*; do printf '{0' > $file; done",
    "a program that is not there": "rm bundle/rootfs/bin/true",
    "a program that is none": "rm bundle/rootfs/bin/true; echo none > bundle/rootfs/bin/true",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_as_it_was_is_left_to_the_long_way(known: Bundle, change: str) -> None:
    subprocess.run(["sh", "-ec", CHANGES[change]], cwd=known.directory.parent, check=True)
    done = known.run("quick")
    assert (done.returncode, done.stdout, done.stderr) == (LEFT, "", "")


def test_a_source_of_another_kind_is_left_to_the_long_way(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path / "bundle", "/bin/true")
    source = tmp_path / "data"
    source.write_text("a file")
    (directory / "rootfs/data").touch()
    config["mounts"].append({"destination": "/data", "type": "bind", "source": str(source), "options": ["bind"]})
    made = Bundle(directory, config)
    assert made.run("long").returncode == 0
    assert made.is_quick()
    source.unlink()
    source.mkdir()
    assert not made.is_quick()


def test_another_cgroup_is_left_to_the_long_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, config = bundle(tmp_path / "bundle", "/bin/true")
    config["linux"]["resources"] = {"pids": {"limit": 20}}
    made = Bundle(directory, config)
    assert made.run("long").returncode == 0
    monkeypatch.setattr(folders, "folders", lambda: [str(made.folder)])
    words = ["run", str(directory)]
    assert quick.run(words) == 0
    here = quick.hierarchies()
    monkeypatch.setattr(quick, "hierarchies", lambda: (here[0] + b"x", *here[1:]))
    assert quick.run(words) is None


def test_a_change_of_the_runtime_is_noticed(known: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "folders", lambda: [str(known.folder)])
    assert quick.run(["run", str(known.directory)]) == 0
    copy = known.directory / "runtime"
    shutil.copytree(Path(quick.__file__).parent, copy)
    monkeypatch.setattr(quick, "__file__", str(copy / "quick.py"))
    assert quick.run(["run", str(known.directory)]) == 0
    (copy / "plan.py").write_text("# another plan\n")
    assert quick.run(["run", str(known.directory)]) is None


def test_a_start_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, config = bundle(tmp_path / "bundle", "/bin/true")
    config["linux"]["resources"] = {"pids": {"limit": 20}}
    made = Bundle(directory, config)
    assert made.run("long").returncode == 0
    (directory / "rootfs/bin/true").unlink()
    monkeypatch.setattr(folders, "folders", lambda: [str(made.folder)])
    cgroups = {path for path, _, _ in os.walk("/sys/fs/cgroup") if f"-{os.getpid()}-" in path}
    descriptors = set(os.listdir("/proc/self/fd"))
    actions = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert quick.run(["run", str(directory)]) is None
    assert {path for path, _, _ in os.walk("/sys/fs/cgroup") if f"-{os.getpid()}-" in path} == cgroups
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == actions
    assert [path.name for path in made.folder.iterdir() if not path.name.startswith("plan-")] == []
    failed = made.run("long")
    assert (failed.returncode, "ENOENT" in failed.stderr) == (2, True)


def test_inner_cgroups_are_removed(tmp_path: Path) -> None:
    command = "cat /proc/1/cgroup; mkdir /sys/fs/cgroup/pids/inner"
    directory, config = bundle(tmp_path / "bundle", "/bin/sh", "-c", command)
    (directory / "rootfs/bin/mkdir").symlink_to("busybox")
    config["linux"]["resources"] = {"pids": {"limit": 20}}
    config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "cgroup"]
    config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    made = Bundle(directory, config)
    for way in ("long", "quick"):
        done = made.run(way)
        assert done.returncode == 0, done.stderr
        assert remains(done.stdout) == []


@pytest.mark.parametrize("option", ["--strict", "--explain", "--deadline=5"])
def test_what_is_asked_for_besides_is_done_the_long_way(known: Bundle, option: str) -> None:
    words = known.words("quick")
    words.insert(words.index("run") + 1, option)
    assert subprocess.run(words, check=False).returncode == LEFT


def test_nothing_is_stored_of_what_somebody_has_to_attend_to(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path / "bundle", "/bin/true")
    made = Bundle(directory, config)
    time: Config = {"timeOffsets": {"boottime": {"secs": 5}}}
    time["namespaces"] = [*config["linux"]["namespaces"], {"type": "time"}]
    attended: list[Config] = [
        {"hooks": {"poststop": [{"path": "/bin/true"}]}},
        {"annotations": {"isoproof.init": "true"}},
        {"linux": config["linux"] | time},
    ]
    for more in attended:
        made.write(config | more)
        assert made.run("long").returncode == 0
        assert not made.is_quick()
    (directory / "rootfs/dev").rmdir()
    made.write(config)
    assert made.run("long").returncode == 0
    assert not made.is_quick()


def test_only_the_latest_images_are_kept(known: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST", 3)
    for age in range(5):
        path = known.folder / f"plan-{age}"
        path.touch()
        os.utime(path, (age, age))
    stored._remove_oldest(known.folder)
    assert {path.name for path in known.folder.iterdir()} > {"plan-3", "plan-4"}
    assert len(list(known.folder.iterdir())) == 3


def test_next_to_nothing_is_imported(known: Bundle) -> None:
    code = COMMAND.replace("import sys\n", "import sys\n\nbefore = set(sys.modules)\n", 1).replace(
        "    sys.exit(99", "    print(*sorted(set(sys.modules) - before))\n    sys.exit(99"
    )
    words = known.words("quick")
    words[2] = code
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    own = [name for name in done.stdout.split() if name.startswith("harness")]
    assert own == [
        "harness",
        "harness.runtime",
        *(f"harness.runtime.{name}" for name in ("folders", "quick", "signals")),
    ]
    assert sorted(set(done.stdout.split()) - set(own)) == ["_ctypes", "fcntl"]


def test_the_command_itself_takes_the_quick_way(known: Bundle) -> None:
    code = "from harness.runtime import quick; quick.run = lambda words: 42; from harness.__main__ import main; main()"
    assert subprocess.run([sys.executable, "-c", code, "run", "somewhere"], check=False).returncode == 42
