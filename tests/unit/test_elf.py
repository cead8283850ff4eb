"""The programs that are made byte by byte: those of this machine are run, those of others read."""

import os
import struct
import subprocess
from pathlib import Path

import pytest

from harness import elf
from harness.errors import HarnessError


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


def test_an_unknown_machine_is_named() -> None:
    with pytest.raises(HarnessError, match="no status program for riscv64"):
        elf.status_program("riscv64")
