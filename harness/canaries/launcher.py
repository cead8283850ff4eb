"""Bait in the process that starts the container."""

import contextlib
import fcntl
import os
import termios
import tty
from pathlib import Path

from harness import launcher_bait
from harness.canaries.base import Canary, Facts

LOGIN = Path("/proc/self/loginuid")
NOBODY_LOGGED_IN = 2**32 - 1  # proc_pid_loginuid(5)


class Launcher(Canary):
    """A launcher that is odd in everything that its children inherit, and has left a secret in its environment.

    It has a controlling terminal, and has left open a directory with a file `secret` in it and a namespace.
    """

    def place(self) -> None:
        (self.directory / "secret").write_text(self.token)

    def facts(self) -> Facts:
        return {
            "token": self.token,
            "file": "secret",
            "directory": launcher_bait.DIRECTORY,
            "namespace": launcher_bait.NAMESPACE,
        }

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        os.environ["CANARY_SECRET"] = self.token
        launcher_bait.take_terminal()
        launcher_bait.take_odd_attributes()
        launcher_bait.leave_open(self.directory)


class Pseudoterminal(Canary):
    """A pseudoterminal of the host's, as every shell has one: a name in the host's /dev/pts (pts(4))."""

    def place(self) -> None:
        for end in os.openpty():
            self.undo.callback(os.close, end)
            self.path = os.ttyname(end)

    def facts(self) -> Facts:
        return {"path": self.path, "name": os.path.basename(self.path)}


class Login(Canary):
    """A launcher that works for somebody who has logged in; the audit log knows him by this id, whoever he becomes."""

    def place(self) -> None:
        self.uid = int(LOGIN.read_text())
        if self.uid == NOBODY_LOGGED_IN:
            self.uid = os.geteuid() or 1000

    def facts(self) -> Facts:
        return {"uid": self.uid}

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        if int(LOGIN.read_text()) == NOBODY_LOGGED_IN:
            LOGIN.write_text(str(self.uid))


class Log(Canary):
    """A file of the host's with older lines in it, to which the launcher lets standard error be written."""

    def place(self) -> None:
        self.path = self.directory / "log"
        self.path.write_text(f"{self.token}\n")

    def facts(self) -> Facts:
        text = self.path.read_text(errors="replace")
        return {"path": str(self.path), "kept": text.startswith(self.token), "text": text[-4096:]}

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.dup2(file, streams[2], inheritable=False)
        os.close(file)


class Terminal(Canary):
    """The terminal in which the launcher was started, and to which standard error is written.

    Its act looks what has been typed on it, by whoever can: nobody sits there.
    """

    def place(self) -> None:
        self.typed = ""
        self.master, self.terminal = os.openpty()
        for end in (self.master, self.terminal):
            self.undo.callback(os.close, end)
        tty.setraw(self.terminal)
        os.set_blocking(self.terminal, False)

    def facts(self) -> Facts:
        return {"name": os.ttyname(self.terminal), "typed": self.typed}

    def act(self, context: Facts) -> Facts:
        with contextlib.suppress(BlockingIOError):
            self.typed += os.read(self.terminal, 4096).decode(errors="backslashreplace")
        return {}

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSCTTY, 0)
        os.dup2(self.terminal, streams[2], inheritable=False)


class Silence(Canary):
    """The host's null device, to which the launcher lets standard error be written."""

    def facts(self) -> Facts:
        return {"path": os.devnull}

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, streams[2], inheritable=False)
        os.close(null)
