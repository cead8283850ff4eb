"""The tree of a container, and the kit: when it is built, where it is kept, what it leaves alone."""

import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import elf, rootfs
from harness.errors import HarnessError

ROOT = Path(__file__).parents[2]
BUILD = "from harness.rootfs import build_kit; print(build_kit(), flush=True)"


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def build_elsewhere(**environment: str) -> "subprocess.Popen[str]":
    """A builder in a process of its own, started and not waited for."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILD],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.usefixtures("umask")
def test_an_empty_image_gives_mount_points(tmp_path: Path) -> None:
    rootfs.make_rootfs(tmp_path, {})
    assert {path.name for path in tmp_path.iterdir()} == {*("dev", "etc", "isoproof", "proc", "root", "sys", "tmp")}
    assert mode(tmp_path / "etc") == 0o755
    assert mode(tmp_path / "tmp") == 0o1777


@pytest.mark.usefixtures("umask")
def test_an_image_plants_directories_files_and_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    image: dict[str, Any] = {
        "directories": ["/data/deep"],
        "files": {"/etc/motd": "hello\n", "link/file": "text"},
        "symlinks": {"/proc": "/etc", "/data/out": str(outside), "/dangling": "nowhere"},
    }
    rootfs.make_rootfs(root, image)
    assert (root / "data" / "deep").is_dir()
    assert mode(root / "data") == 0o755
    assert (root / "etc" / "motd").read_text() == "hello\n"
    assert mode(root / "etc" / "motd") == 0o644
    assert os.readlink(root / "proc") == "/etc"
    assert os.readlink(root / "data" / "out") == str(outside)
    assert os.readlink(root / "dangling") == "nowhere"
    assert not list(outside.iterdir())


@pytest.mark.usefixtures("umask")
def test_an_image_brings_programs_with_rights_and_devices(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make them")
    image = {"setuid": ["/bin/su"], "capable": {"/ping": "NET_RAW"}, "devices": {"/null": "c 1:3", "/disk": "b 7:0"}}
    rootfs.make_rootfs(tmp_path, image)
    assert mode(tmp_path / "bin" / "su") == 0o4755
    expected = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # version 2, effective; CAP_NET_RAW
    assert os.getxattr(tmp_path / "ping", "security.capability") == expected
    null, disk = (tmp_path / name for name in ("null", "disk"))
    assert stat.S_ISCHR(null.stat().st_mode)
    assert null.stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISBLK(disk.stat().st_mode)
    assert mode(null) & 0o077 == 0


@pytest.mark.parametrize("path", ["../outside", "/a/../../outside", "/", ""])
@pytest.mark.parametrize("kind", ["directories", "files", "symlinks"])
def test_an_image_stays_in_its_directory(tmp_path: Path, kind: str, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(HarnessError, match="it must be a path below /"):
        rootfs.make_rootfs(root, {kind: [path] if kind == "directories" else {path: "x"}})
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_an_image_writes_nothing_through_its_own_links(tmp_path: Path) -> None:
    """cve-2014-9357-unpack: a link and then a file behind it, as a member of an archive may follow another."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    with pytest.raises(OSError, match="not empty"):
        rootfs.make_rootfs(root, {"symlinks": {"/a": str(outside)}, "files": {"/a/b": "x"}})
    assert not list(outside.iterdir())


@pytest.mark.usefixtures("umask")
def test_an_image_brings_a_loader(tmp_path: Path) -> None:
    rootfs.make_rootfs(tmp_path, {"loaders": ["/lib64/ld.so"]})
    assert (tmp_path / "lib64/ld.so").read_bytes() == elf.keeper_program(os.uname().machine)
    assert mode(tmp_path / "lib64/ld.so") == 0o755


@pytest.mark.usefixtures("umask")
def test_a_kit_is_whole_and_for_every_user(tmp_path: Path) -> None:
    kit = rootfs.build_kit(tmp_path)
    library = kit / sys.platlibdir / f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (kit / "bin" / "python", kit / "lib" / "loader", library / "os.pyc", library / "lib-dynload"):
        assert path.exists(), path
    probes = {source.stem for source in (ROOT / "probes").glob("*.py")}
    assert {path.name for path in (kit / "probes").iterdir()} == {f"{probe}.pyc" for probe in probes}
    for path in [kit, *kit.rglob("*")]:
        if path.is_symlink():
            assert "/" not in os.readlink(path), f"{path} leads out of the kit"
        else:
            assert mode(path) & 0o555 == (0o555 if path.is_dir() else mode(path) & 0o111 | 0o444), path
            assert not mode(path) & 0o022, path


def test_a_kit_is_built_once(tmp_path: Path) -> None:
    kit = rootfs.build_kit(tmp_path)
    inode = kit.stat().st_ino
    assert rootfs.build_kit(tmp_path) == kit
    assert kit.stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir()] == [kit.name]


def test_another_probe_makes_another_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = tmp_path / "probes"
    shutil.copytree(ROOT / "probes", probes, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(rootfs, "PROBES", probes)
    first = rootfs.build_kit(tmp_path / "cache")
    (probes / "another.py").write_text("import zlib\n")
    second = rootfs.build_kit(tmp_path / "cache")
    assert first != second
    assert not list(first.rglob("*zlib*"))
    assert (second / "probes" / "another.pyc").is_file()
    if "zlib" not in sys.builtin_module_names:
        assert list(second.rglob("zlib.*")), "what the new probe imports is missing"


def test_a_probe_that_is_no_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = tmp_path / "probes"
    probes.mkdir()
    (probes / "__main__.py").write_text("")
    (probes / "wrong.py").write_text("a = 1\ndef observe(:\n")
    monkeypatch.setattr(rootfs, "PROBES", probes)
    with pytest.raises(HarnessError, match=r"build probe kit: .*wrong\.py:2: "):
        rootfs.build_kit(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_builders_at_the_same_time_agree(tmp_path: Path) -> None:
    builders = [build_elsewhere(XDG_CACHE_HOME=str(tmp_path)) for _ in range(4)]
    answers = [builder.communicate() for builder in builders]
    assert [builder.returncode for builder in builders] == [0] * 4, answers
    assert len({output for output, _ in answers}) == 1
    kit = Path(answers[0][0].strip())
    assert [path.name for path in (tmp_path / "isoproof").iterdir()] == [kit.name]
    assert (kit / "probes" / "__main__.pyc").is_file()


def test_without_a_writable_cache_the_kit_goes_away_with_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    script = BUILD + "; print((build_kit() / 'bin/python').exists())"
    script += "; import os; pid = os.fork(); pid or exit(); os.wait(); print(build_kit().exists())"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
    )
    kit, *exist = result.stdout.split()
    assert exist == ["True", "True"], result.stderr
    assert Path(kit).is_relative_to(temporary)
    assert not list(temporary.iterdir())


def test_without_a_home_there_is_a_private_kit(tmp_path: Path) -> None:
    builder = build_elsewhere(XDG_CACHE_HOME="relative", HOME="", TMPDIR=str(tmp_path))
    output, errors = builder.communicate()
    assert builder.returncode == 0, errors
    assert Path(output).is_relative_to(tmp_path)
    assert not (ROOT / "relative").exists()


def test_no_room_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(HarnessError, match=r"^build probe kit .*: ENOSPC \(No space left on device\); .*XDG_CACHE"):
        rootfs.build_kit(tmp_path)
    assert not list(tmp_path.iterdir())


def test_kits_that_nobody_uses_are_removed(tmp_path: Path) -> None:
    for name in ("kit-old", ".building-old", "kit-used", "other"):
        (tmp_path / name).mkdir()
    long_ago = time.time() - 2 * rootfs.UNUSED_AFTER
    for name in ("kit-old", ".building-old", "other"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    kit = rootfs.build_kit(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {kit.name, "kit-used", "other"}


def test_a_kit_in_use_is_touched(tmp_path: Path) -> None:
    kit = rootfs.build_kit(tmp_path)
    os.utime(kit, (0, 0))
    rootfs.build_kit(tmp_path)
    assert kit.stat().st_mtime > time.time() - 60


def test_an_interpreter_without_a_loader_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = {
        "executable": sys.executable,
        "libraries": [],
        "modules": [],
        "standard_library": os.path.dirname(os.__file__),
        "platlibdir": "lib",
    }
    monkeypatch.setattr(rootfs, "_take_inventory", lambda modules: json.loads(json.dumps(inventory)))
    with pytest.raises(HarnessError, match="has no dynamic loader"):
        rootfs.build_kit(tmp_path)
    assert not list(tmp_path.iterdir())
