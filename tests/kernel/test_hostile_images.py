"""Images made to trick the runtime: whatever they ship, nothing of the host's is read, changed or waited for.

A start either gives a container within its own root or is refused with one line; in both cases the canary, a directory
of the host's to which everything here tries to lead, is as it was.
"""

import contextlib
import ctypes
import os
import random
import re
import shutil
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import Config, read, read_file
from harness.runtime.errors import ConfigError, IsoproofError
from tests.kernel.bundles import BUSYBOX, bundle, output_of, snapshot
from tests.kernel.test_mounts import mount, with_user_namespace

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

SECRET = "secret of the host"
PATIENCE = 20  # seconds that one start may take on a busy machine before it counts as hanging
RENAME_EXCHANGE = 2
LONGEST_PAUSE = 0.2  # seconds, more than one start takes on a busy machine
STARTS = 50  # at least, in a race
MOST_STARTS = 1000  # until both ends of a race have been seen
LOOP_CONTROL = os.makedev(10, 237)
in_user_namespace = pytest.mark.parametrize("user", [False, True], ids=["", "user-namespace"])


@pytest.fixture(autouse=True)
def never_hangs() -> Iterator[None]:
    """Fail a test whose runtime waits for something of the image's."""

    def fail(_number: int, _frame: object) -> None:
        raise TimeoutError("the runtime hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(PATIENCE * 3)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def place(place: Path) -> Path:
    """A directory that has one above it, for what must have a name that a config can hold."""
    (place / "in").mkdir()
    return place / "in"


@pytest.fixture
def canary(place: Path) -> Path:
    """A directory of the host's with what a tricked runtime would fill, cover or remove in it."""
    path = place / "canary"
    for name in ("proc", "sys", "dev", "pts", "shm", "inner"):
        (path / name).mkdir(parents=True)
        (path / name).chmod(0o777)
    for name in ("null", "hosts", "program", "secret"):
        (path / name).write_text(SECRET)
        (path / name).chmod(0o755)
    (path / "blank").touch()
    path.chmod(0o777)
    return path


def state(directory: Path) -> list[tuple[object, ...]]:
    """Return all that changes when somebody touches a tree: what is in it, whose, and when it was last changed."""
    found: list[tuple[object, ...]] = []
    for path in [directory, *sorted(directory.rglob("*"))]:
        seen = path.lstat()
        text = path.read_text() if stat.S_ISREG(seen.st_mode) else ""
        found.append((str(path), seen.st_mode, seen.st_uid, seen.st_gid, seen.st_ino, seen.st_mtime_ns, text))
    return found


def hostile(place: Path, user: bool, own_dev: bool = True) -> tuple[Path, Config]:
    """Make a bundle whose config goes to every kind of place, and whose program tells what it finds there."""
    command = (
        "cat /marker; ls -l . /a /a/b /etc /masked /readonly /dev /etc/hosts 2>&1; "
        "for file in /masked /etc/hosts /readonly secret /a/b/secret /dev/null; "
        "do [ -p $file ] || cat $file; done 2>&1; true"
    )
    directory, config = bundle(place / "bundle", "/programs/busybox", "sh", "-c", command)
    rootfs = directory / "rootfs"
    (rootfs / "marker").write_text("within its root\n")
    (rootfs / "programs").mkdir()
    shutil.copy(BUSYBOX, rootfs / "programs")
    (rootfs / "work").mkdir()
    hosts = place.parent / "hosts"
    hosts.write_text("127.0.0.1 cell\n")
    if not own_dev:
        (rootfs / "dev").mkdir()
        (rootfs / "dev/null").touch()
        config["mounts"] = [entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")]
        config["mounts"].append(mount("/dev/pts", "tmpfs", "tmpfs"))
    config["mounts"] += [
        mount("/a/b", "tmpfs", "tmpfs"),
        mount("/etc/hosts", "bind", hosts, "bind", "ro"),
    ]
    config["linux"]["maskedPaths"].append("/masked")
    config["linux"]["readonlyPaths"].append("/readonly")
    config["process"]["cwd"] = "/work"
    return directory, with_user_namespace(config) if user else config


def start(directory: Path, config: Config, **options: Any) -> str:
    """Start it; return what the program has said, or `refused` and the one line with which the start was."""
    try:
        status, text = output_of(directory, read(config), **options)
    except IsoproofError as error:
        return one_line(f"refused: {error}")
    assert status == 0, text
    assert text.startswith("within its root\n"), text
    return text


def one_line(text: str) -> str:
    assert "\n" not in text
    return text


def put(path: Path, make: Callable[[Path], Any]) -> None:
    """Put something of the image's in the place of whatever is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    make(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as channel, contextlib.chdir(path.parent):
        channel.bind(path.name)


def make_setuid(path: Path) -> None:
    path.write_text("of the image\n")
    path.chmod(0o6755)


PLACES = [
    "proc",
    "sys",
    "dev",
    "dev/null",
    "dev/pts",
    "etc",
    "etc/hosts",
    "a",
    "a/b",
    "masked",
    "readonly",
    "work",
    "programs/busybox",
]
LINKS: dict[str, Callable[[Path], str]] = {
    "absolute": str,
    "relative": lambda canary: "../" * 20 + str(canary).lstrip("/"),
    "inner": lambda canary: f"{canary}/inner",
    "file": lambda canary: f"{canary}/secret",
    "absent": lambda canary: f"{canary}/new",
    "loop": lambda _: "/loop",
    "self": lambda _: "/proc/self",
    "root": lambda canary: f"/proc/1/root{canary}",
    "working-directory": lambda _: "/proc/self/cwd",
    "descriptor": lambda _: "/proc/self/fd/77",
}
FILES: dict[str, Callable[[Path], Any]] = {
    "file": lambda path: path.write_text("of the image\n"),
    "directory": Path.mkdir,
    "fifo": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, LOOP_CONTROL),
    "setuid": make_setuid,
}


def check(directory: Path, config: Config, canary: Path) -> str:
    """Start it and hold the host to what it was before."""
    before, host = state(canary), snapshot()
    said = start(directory, config)
    assert state(canary) == before
    assert snapshot() == host
    assert SECRET not in said
    assert " blank" not in said
    return said


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("where", PLACES)
@in_user_namespace
def test_a_symlink_leads_nowhere_on_the_host(
    place: Path, canary: Path, where: str, link: str, user: bool, request: pytest.FixtureRequest
) -> None:
    directory, config = hostile(place, user, own_dev=not where.startswith("dev/"))
    rootfs = directory / "rootfs"
    (rootfs / "loop").symlink_to("loop")
    put(rootfs / where, lambda path: path.symlink_to(LINKS[link](canary)))
    # What the launcher happens to hold open is what a link to /proc/self/fd would lead to.
    opened = os.open(canary, os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(opened, 77)
    try:
        said = check(directory, config, canary)
    finally:
        os.close(opened)
        os.close(77)
    if where in ("proc", "sys"):
        assert said.startswith(f"refused: mount:/{where}")


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("where", PLACES)
@in_user_namespace
def test_what_is_in_the_place_of_something_else_is_used_rightly_or_refused(
    place: Path, canary: Path, where: str, kind: str, user: bool
) -> None:
    directory, config = hostile(place, user, own_dev=not where.startswith("dev/"))
    put(directory / "rootfs" / where, FILES[kind])
    said = check(directory, config, canary)
    if where == "masked":
        assert "of the image" not in said
    if kind == "directory" and where not in ("etc/hosts", "programs/busybox", "dev/null"):
        assert said.startswith("within its root")
    if kind != "directory" and where in ("proc", "sys", "dev", "dev/pts", "etc", "a", "a/b", "work"):
        assert said.startswith("refused: ")


@pytest.mark.parametrize("kind", ["file", "device", "fifo"])
@in_user_namespace
def test_a_null_device_of_the_images_does_not_show_through_a_mask(place: Path, kind: str, user: bool) -> None:
    directory, config = hostile(place, user, own_dev=False)
    put(directory / "rootfs/dev/null", FILES[kind])
    put(directory / "rootfs/masked", lambda path: path.write_text(SECRET))
    config["process"]["args"][3] = "cat /marker /masked; ls -l /masked"
    said = start(directory, config)
    assert SECRET not in said
    assert "of the image" not in said
    assert " 1,   3 " in said


@pytest.mark.parametrize("where", ["node", "dev/node", "a/node"])
@in_user_namespace
def test_a_device_node_of_the_images_cannot_be_opened(place: Path, where: str, user: bool) -> None:
    directory, config = bundle(place / "bundle", "cat", f"/{where}")
    config["mounts"] = [entry for entry in config["mounts"] if not entry["destination"].startswith("/dev")]
    del config["linux"]["maskedPaths"]
    put(directory / "rootfs" / where, lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)))
    status, text = output_of(directory, read(with_user_namespace(config) if user else config))
    assert (status, text) == (1, f"cat: can't open '/{where}': Permission denied\n")


@pytest.mark.parametrize("denied", [True, False])
def test_a_setuid_program_of_the_images_gives_nothing(place: Path, denied: bool) -> None:
    directory, config = bundle(place / "bundle", "/bin/su", "-c", "true", "nobody")
    shutil.copy(BUSYBOX, directory / "rootfs/bin/su")
    (directory / "rootfs/bin/su").chmod(0o6755)
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    config["process"]["noNewPrivileges"] = denied
    _, text = output_of(directory, read(config))
    assert ("must be suid to work properly" in text) == denied


STRANGE = [b"new\nline", b"\xff\xfe", b"\x1b[2J", b"-rf", b" ", b"%s{pid}", "\N{RIGHT-TO-LEFT OVERRIDE}".encode()]


@pytest.mark.parametrize("name", STRANGE)
@in_user_namespace
def test_strange_names_of_bundles_and_of_files_in_the_image_are_names(place: Path, name: bytes, user: bool) -> None:
    strange = os.fsdecode(name)
    directory, config = hostile(place / strange, user)
    for where in ("", "etc", "a"):
        (directory / "rootfs" / where).mkdir(exist_ok=True)
        (directory / "rootfs" / where / strange).mkdir()
    assert start(directory, config).startswith("within its root")
    config["process"]["args"] = ["/bin/nonesuch"]
    assert start(directory, config).startswith("refused: execute /bin/nonesuch: ENOENT")
    shutil.rmtree(directory / "rootfs")
    assert start(directory, config).startswith("refused: open ")


@pytest.mark.parametrize("name", [name for name in STRANGE if name != b"\xff\xfe"])
def test_strange_names_of_mounts_are_names(place: Path, name: bytes) -> None:
    strange = name.decode()
    directory, config = hostile(place, user=False)
    (place / strange).mkdir()
    (place / strange / "file").write_text("found it\n")
    config["mounts"].append(mount(f"/{strange}/{strange}", "bind", place / strange, "bind"))
    config["process"]["args"] = ["/bin/sh", "-c", 'cat /marker "$1"', "sh", f"/{strange}/{strange}/file"]
    assert start(directory, config) == "within its root\nfound it\n"
    config["mounts"][-1]["source"] += "/absent"
    assert start(directory, config).startswith("refused: open:/")


@pytest.mark.parametrize("text", [rb'"/\udcff"', rb'"/\ud800"', b'"/\xff"', rb'"/a\u0000b"'])
def test_a_destination_that_is_no_text_is_refused(place: Path, text: bytes) -> None:
    directory, _ = hostile(place, user=False)
    written = (directory / "config.json").read_bytes()
    assert b'"/dev/shm"' in written
    (directory / "config.json").write_bytes(written.replace(b'"/dev/shm"', text))
    with pytest.raises(ConfigError) as caught:
        read_file(directory / "config.json")
    assert "\n" not in str(caught.value)
    assert re.search(r"mounts\[3\]\.destination: |not JSON", str(caught.value))


@contextlib.contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Have another process exchange two names at moments that nobody can foresee."""
    rename = ctypes.CDLL(None, use_errno=True).renameat2
    names = os.fsencode(one), os.fsencode(other)
    launcher = os.getpid()
    swapper = os.fork()
    if swapper == 0:
        with contextlib.suppress(BaseException):
            while os.getppid() == launcher and rename(-100, names[0], -100, names[1], RENAME_EXCHANGE) == 0:
                time.sleep(LONGEST_PAUSE * random.random() ** 3)  # mostly short, and now and then longer than a start
        os._exit(1)
    try:
        yield
    finally:
        ended, _ = os.waitpid(swapper, os.WNOHANG)
        if not ended:
            os.kill(swapper, signal.SIGKILL)
            os.waitpid(swapper, 0)
    assert not ended, "the other process has stopped before its time"


def outcomes(said: list[str]) -> set[str]:
    return {"refused" if text.startswith("refused") else "started" for text in said}


@pytest.mark.parametrize("where", ["bundle/rootfs", "bundle/rootfs/a", "bundle/rootfs/a/b", "bundle/rootfs/etc"])
@in_user_namespace
def test_a_directory_that_is_swapped_for_a_symlink_during_the_start(
    place: Path, canary: Path, where: str, user: bool
) -> None:
    directory, config = hostile(place, user)
    (place / where).mkdir(parents=True, exist_ok=True)
    if where != "bundle/rootfs":
        (place / where / "kept").touch()  # an empty directory could be taken for one that the runtime had to make
    link = place / where
    link = link.with_name(link.name + "-link")
    link.symlink_to(canary)
    before = state(canary)
    said: list[str] = []
    with swapping(place / where, link):
        host = snapshot()
        while len(said) < STARTS or (len(outcomes(said)) < 2 and len(said) < MOST_STARTS):
            signal.alarm(PATIENCE)
            said.append(start(directory, config))
            assert SECRET not in said[-1]
            assert state(canary) == before
        assert snapshot() == host
    assert outcomes(said) == {"refused", "started"}, f"the race was never run, or never won: {set(said)}"
