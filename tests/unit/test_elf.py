"""The programs that are made byte by byte: those of this machine are run, those of others read."""

import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from harness import elf
from harness.errors import HarnessError

SLEEPING = {"x86_64": ("34", "271"), "aarch64": ("73",)}  # pause(2) and ppoll(2), the latter as an emulator makes it


def run(program: bytes, directory: Path) -> bytes:
    path = directory / "program"
    path.write_bytes(program)
    path.chmod(0o755)
    return subprocess.run([path], capture_output=True, check=True).stdout


def test_the_clock_tells_the_time(tmp_path: Path) -> None:
    assert elf.nanoseconds(run(elf.clock_program(os.uname().machine), tmp_path)) > 0


def test_the_status_is_the_programs_own(tmp_path: Path) -> None:
    said = run(elf.status_program(os.uname().machine), tmp_path).decode()
    assert said.startswith("Name:\tprogram\n")
    assert f"Uid:\t{os.getuid()}\t" in said
    assert "CapEff:" in said


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_path_stands_where_the_instructions_look_for_it(machine: str, number: int) -> None:
    program = elf.status_program(machine)
    assert struct.unpack_from("<H", program, 18) == (number,)
    address = elf.ADDRESS + program.index(elf.STATUS)
    if machine == "x86_64":
        (loaded,) = struct.unpack_from("<I", program, program.index(b"\xbf") + 1)
    else:
        movz, movk = struct.unpack_from("<2I", program, elf.HEADERS + 8)
        loaded = (movk >> 5 & 0xFFFF) << 16 | movz >> 5 & 0xFFFF
    assert loaded == address


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_sleeper_sleeps_until_it_is_killed(
    machine: str, tmp_path: Path, missing: Callable[[str], NoReturn]
) -> None:
    path = tmp_path / "program"
    path.write_bytes(elf.pause_program(machine))
    path.chmod(0o755)
    foreign, emulator = os.uname().machine != machine, f"qemu-{machine}"
    if foreign and not shutil.which(emulator):
        missing(f"{emulator} is not installed; Debian has it in qemu-user")
    with subprocess.Popen([emulator, path] if foreign else [path]) as process:
        try:
            calls, end = Path(f"/proc/{process.pid}/syscall"), time.monotonic() + 20
            number = SLEEPING[os.uname().machine]
            while calls.read_text().split()[0] not in number:
                assert process.poll() is None
                assert time.monotonic() < end
        finally:
            process.terminate()
    assert process.returncode == -signal.SIGTERM


def test_an_unknown_machine_is_named() -> None:
    with pytest.raises(HarnessError, match="no status program for riscv64"):
        elf.status_program("riscv64")
    with pytest.raises(HarnessError, match="no pause program for riscv64"):
        elf.pause_program("riscv64")
