"""The terminal of a container: what the program finds, what goes through it, and what it leaves of the user's."""

import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from harness.runtime.config import Config, read
from harness.runtime.errors import StartError
from harness.runtime.step import Call, Plan, Step
from tests.kernel.bundles import bundle, output_of, snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces")

PTY_MAJOR = 136  # UNIX98_PTY_SLAVE_MAJOR, in hexadecimal 88
PATIENCE = 20.0  # seconds


def with_terminal(directory: Path, *command: str, **size: int) -> tuple[Path, Config]:
    """Make a bundle whose program has a terminal, of a size or of none."""
    directory, config = bundle(directory, *command)
    for name in ("stty", "tty", "stat", "readlink", "cut"):
        (directory / "rootfs/bin" / name).symlink_to("busybox")
    config["process"] |= {"terminal": True} | ({"consoleSize": size} if size else {})
    (directory / "config.json").write_text(json.dumps(config))
    return directory, config


def said(config: Config, directory: Path) -> list[str]:
    """Run it and return the lines of its terminal."""
    status, text = output_of(directory, read(config))
    assert status == 0, text
    return text.splitlines()  # read as text, where \r\n is a newline


def test_the_program_finds_a_terminal_of_its_own(tmp_path: Path) -> None:
    script = (
        "tty; stty size; stat -c '%t:%T %d' /dev/console; stat -c '%t:%T %d' /dev/pts/0; stat -c '%u' /dev/console;"
        "cut -d ' ' -f 5-8 /proc/1/stat; for i in 0 1 2; do readlink /proc/1/fd/$i; done; : < /dev/tty && echo ctty"
    )
    directory, config = with_terminal(tmp_path, "sh", "-c", script, height=33, width=111)
    before = snapshot()
    name, size, console, slave, owner, numbers, *streams, controlling = said(config, directory)
    assert (name, size, owner) == ("/dev/pts/0", "33 111", "0")
    assert console == slave
    assert console.startswith(f"{PTY_MAJOR:x}:0 ")
    group, session, terminal, foreground = map(int, numbers.split())
    assert (group, session, foreground) == (1, 1, 1)
    assert os.major(terminal) == PTY_MAJOR
    assert streams == ["/dev/pts/0"] * 3
    assert controlling == "ctty"
    assert snapshot() == before


def test_the_terminal_belongs_to_the_user(tmp_path: Path, needs_root: None) -> None:
    directory, config = with_terminal(tmp_path, "sh", "-c", "stat -c '%u %g %a' /dev/console; echo x > /dev/console")
    config["process"]["user"] = {"uid": 1234, "gid": 1234}
    assert said(config, directory) == ["1234 5 620", "x"]


def test_under_a_pid_1_that_reaps_the_program_is_in_the_foreground(tmp_path: Path) -> None:
    directory, config = with_terminal(tmp_path, "sh", "-c", "echo $$; cut -d ' ' -f 5,6,8 /proc/$$/stat")
    config["annotations"] = {"isoproof.init": "true"}
    assert said(config, directory) == ["2", "2 1 2"]  # process group, session, foreground process group


HOSTILE: dict[str, Callable[[Path], object]] = {
    "dev/console a symlink": lambda dev: (dev / "console").symlink_to("/../../../bait"),
    "dev/pts a symlink": lambda dev: (dev / "pts").symlink_to("/bin"),
    "dev/pts a file": lambda dev: (dev / "pts").write_text(""),
    "dev/ptmx a file": lambda dev: (dev / "ptmx").write_text("not a terminal"),
    "dev/console a directory": lambda dev: (dev / "console").mkdir(),
    "dev/pts with a ptmx": lambda dev: (dev / "pts/ptmx").mkdir(parents=True),
}


@pytest.mark.parametrize("trap", HOSTILE)
def test_what_the_image_ships_in_dev_does_not_matter(tmp_path: Path, trap: str) -> None:
    directory, config = with_terminal(tmp_path, "sh", "-c", "tty; stat -c %t:%T /dev/console /dev/ptmx; cat /bait")
    (directory / "rootfs/dev").mkdir()
    (directory / "rootfs/bait").write_text("untouched\n")
    HOSTILE[trap](directory / "rootfs/dev")
    found = said(config, directory)
    assert (found[:2], found[-1]) == (["/dev/pts/0", "88:0"], "untouched")


def test_a_mount_that_the_image_leads_over_dev_pts_does_not_matter(tmp_path: Path) -> None:
    directory, config = with_terminal(tmp_path, "sh", "-c", "stat -c %t:%T /dev/console; [ -t 0 ] && echo fine")
    (directory / "rootfs/trap").symlink_to("/dev/pts")
    config["mounts"].append({"destination": "/trap", "type": "tmpfs", "source": "tmpfs"})
    assert said(config, directory) == ["88:0", "fine"]


@pytest.mark.parametrize("name", ["terminal", "console", "meet:terminal", "controlling-terminal"])
def test_whatever_fails_nothing_stays_behind(tmp_path: Path, name: str) -> None:
    directory, config = with_terminal(tmp_path, "true")
    broken = Step("broken", "test", (Call("close", (-1,)),))

    def breaking(plan: Plan) -> Plan:
        (step,) = [step for step in plan.steps if step.name == name]
        return plan.exchange(name, step, broken)

    before = snapshot()
    with pytest.raises(StartError, match="broken: close"):
        output_of(directory, read(config), alter=breaking)
    assert snapshot() == before


class User:
    """A user with a terminal, in front of `isoproof run`."""

    def __init__(self, directory: Path) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(40, 120)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.cli", "run", str(directory)],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def sees(self, text: str) -> None:
        """Wait until this is on the screen, after what was seen before."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self.master, 4096)
        self.seen = self.seen.partition(text.encode())[2]

    def settings(self) -> list[object]:
        return list(termios.tcgetattr(self.slave))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@contextlib.contextmanager
def in_front_of(directory: Path) -> Iterator[User]:
    user = User(directory)
    try:
        yield user
    finally:
        user.close()


def test_a_user_works_in_it(tmp_path: Path) -> None:
    directory, _ = with_terminal(tmp_path, "sh")
    with in_front_of(directory) as user:
        user.sees("# ")
        assert not user.settings()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)  # type: ignore[operator]
        user.types("stty size\r")
        user.sees("\n40 120")
        user.resize(50, 90)
        user.types("stty size\r")
        user.sees("\n50 90")
        user.types("sleep 1000; echo $((60 + 6))\r")
        user.sees("6))")
        time.sleep(0.5)  # until sleep(1) runs
        user.types("\x03")
        user.sees("# ")
        user.types("exit 7\r")
        assert user.process.wait(PATIENCE) == 7
        assert user.settings() == user.before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_users_terminal_is_restored_when_the_run_is_killed(tmp_path: Path, number: int) -> None:
    directory, _ = with_terminal(tmp_path, "cat")  # no shell, which may catch SIGINT
    with in_front_of(directory) as user:
        user.types("ready\r")
        user.sees("ready\r\nready")  # as typed, and by cat
        assert user.settings() != user.before
        user.process.send_signal(number)
        time.sleep(0.2)
        user.process.send_signal(number)  # the second kills: harness.runtime.supervise
        assert user.process.wait(PATIENCE) == 128 + signal.SIGKILL
        assert user.settings() == user.before


def test_a_pipe_is_typed_into_it_and_its_end_is_the_end(tmp_path: Path) -> None:
    directory, _ = with_terminal(tmp_path, "cat")
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", str(directory)],
        input=b"one\ntwo",
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"one\r\n") == 2  # as typed, and by cat
    assert done.stdout.endswith(b"two")


def test_everything_written_arrives(tmp_path: Path) -> None:
    directory, config = with_terminal(
        tmp_path, "sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
    )
    status, text = output_of(directory, read(config))
    assert (status, text) == (0, "".join(f"line {number}\n" for number in range(3000)))


def test_a_program_that_leaves_its_terminal_goes_on_until_the_deadline(tmp_path: Path) -> None:
    from harness.runtime.launch import run

    directory, config = with_terminal(tmp_path, "sh", "-c", "exec sleep 1000 0<&- 1>&- 2>&-")
    null = os.open("/dev/null", os.O_RDWR)
    before = snapshot()
    assert run(read(config), directory, (null, null, null), 1.0) == 124
    assert snapshot() == before
    os.close(null)


def test_what_runc_spec_writes_runs_unchanged(tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    if not shutil.which("runc"):
        missing("runc is not installed")
    directory, _ = with_terminal(tmp_path)
    (directory / "config.json").unlink()
    subprocess.run(["runc", "spec", *([] if os.geteuid() == 0 else ["--rootless"])], cwd=directory, check=True)
    with in_front_of(directory) as user:
        user.sees("# ")
        user.types("tty\r")
        user.sees("\n/dev/pts/0")
        user.types("exit 5\r")
        assert user.process.wait(PATIENCE) == 5
