"""A filter that reports calls to a program on the host, which answers them."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import Config, read
from harness.runtime.errors import StartError
from tests.kernel.bundles import bundle, output_of, snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces")

# include/uapi/linux/seccomp.h
RECEIVE, SEND = 0xC0502100, 0xC0182101
NOTIFICATION = struct.Struct("=Q I I iIQ 6Q")  # struct seccomp_notif
ANSWER = struct.Struct("=Qq iI")  # struct seccomp_notif_resp
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE

NOTIFIED: dict[str, Any] = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}


@contextlib.contextmanager
def answering(path: Path, told: Path) -> Iterator[None]:
    """Have a process answer at a socket: EXDEV to the first call, and that the others may go on as they were."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        agent = os.fork()
        if agent == 0:
            try:
                answer(server, told)
            finally:
                os._exit(0)
    try:
        yield
    finally:
        os.waitpid(agent, 0)


def answer(server: socket.socket, told: Path) -> None:
    """Take the listener of one container, tell what came with it, and answer until its last process has ended."""
    connection, _ = server.accept()
    text, (listener,), _, _ = socket.recv_fds(connection, 1 << 16, 1)
    while more := connection.recv(1 << 16):
        text += more
    told.write_bytes(text)
    error, flag = -errno.EXDEV, 0
    while True:
        notification = bytearray(NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, RECEIVE, notification)
            fcntl.ioctl(listener, SEND, ANSWER.pack(NOTIFICATION.unpack(notification)[0], 0, error, flag))
            error, flag = 0, CONTINUE
        except OSError:  # ENOENT: nobody is left under the filter, or the caller was killed meanwhile
            return


def reporting(directory: Path, path: Path, *command: str, **section: Any) -> tuple[Path, Config]:
    """Make a bundle whose filter reports what makes directories."""
    directory, config = bundle(directory, *command)
    for name in ("mkdir", "echo"):
        (directory / "rootfs/bin" / name).symlink_to("busybox")
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [NOTIFIED], "listenerPath": str(path)}
    config["linux"]["seccomp"] = profile | section
    return directory, config


@pytest.mark.parametrize("locked", [True, False])
@pytest.mark.parametrize("shim", ["true", "false"])
@pytest.mark.parametrize("flags", [[], ["TSYNC", "WAIT_KILLABLE_RECV"]])
def test_the_program_that_is_named_decides(tmp_path: Path, locked: bool, shim: str, flags: list[str]) -> None:
    script = "mkdir /dev/a; mkdir /dev/b && echo made; ls -l /proc/$$/fd /proc/self/fd"
    directory, config = reporting(
        tmp_path / "bundle",
        tmp_path / "socket",
        *("sh", "-c", script),
        listenerMetadata="what it is told",
        flags=[f"SECCOMP_FILTER_FLAG_{flag}" for flag in flags],
    )
    config["annotations"] = {"isoproof.init": shim}
    config["process"]["noNewPrivileges"] = locked
    before = snapshot()
    with answering(tmp_path / "socket", tmp_path / "told"):
        status, text = output_of(directory, read(config))
    assert status == 0, text
    assert f"mkdir: can't create directory '/dev/a': {os.strerror(errno.EXDEV)}\nmade\n" in text
    assert "seccomp" not in text  # as /proc/PID/fd calls a listener
    told = json.loads((tmp_path / "told").read_text())
    assert told["fds"] == ["seccompFd"]
    assert told["metadata"] == "what it is told"
    assert told["pid"] == told["state"]["pid"]
    assert told["state"] | {"pid": 0, "id": ""} == {
        "ociVersion": config["ociVersion"],
        "id": "",
        "status": "creating",
        "pid": 0,
        "bundle": str(directory),
        "annotations": {"isoproof.init": shim},
    }
    assert snapshot() == before


def test_a_program_that_goes_as_soon_as_it_has_the_listener_is_fine(tmp_path: Path) -> None:
    directory, config = reporting(tmp_path / "bundle", tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        program = os.fork()
        while program == 0:
            with server.accept()[0] as connection:
                os.close(socket.recv_fds(connection, 1 << 16, 1)[1][0])
    try:
        assert [output_of(directory, read(config))[0] for _ in range(20)] == [0] * 20
    finally:
        os.kill(program, signal.SIGKILL)
        os.waitpid(program, 0)


def test_without_the_program_there_is_no_start(tmp_path: Path) -> None:
    directory, config = reporting(tmp_path / "bundle", tmp_path / "socket")
    before = snapshot()
    with pytest.raises(StartError, match=r"seccomp: connect .*/socket: ENOENT .*linux\.seccomp\.listenerPath"):
        output_of(directory, read(config))
    assert snapshot() == before
