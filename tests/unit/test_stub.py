"""The machine code of the replay executor: it is what its source says, and on the other machine it does its work."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.runtime import stub
from harness.runtime.syscalls import NUMBERS
from tests.unit.assembly import Missing, assembled, text_of, tool

SOURCES = {"x86_64": stub.X86_64, "aarch64": stub.AARCH64}
AARCH64 = 1  # the column of NUMBERS


@pytest.mark.parametrize("machine", SOURCES)
def test_the_instructions_are_those_of_the_source(tmp_path: Path, machine: str, missing: Missing) -> None:
    file = assembled(tmp_path, machine, SOURCES[machine], missing).read_bytes()
    assert text_of(file) == stub.CODE[machine]


def entry(name: str, *arguments: int | str, errnos: str = "none", users: str = "none") -> str:
    words = [NUMBERS[name][AARCH64], *arguments, 0, 0, 0, 0, 0, 0]
    return f".quad {', '.join(map(str, words[:7]))}, {errnos}, 0, {users}"


def run_on_aarch64(
    directory: Path, missing: Missing, context: str, status: str, data: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """Run a program that gives the stub a context; `status` makes its exit status of x0, what the stub has returned."""
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if os.uname().machine != "aarch64" and not emulator:
        missing("qemu-aarch64 is not installed; Debian has it in qemu-user-static")
    source = f"""
        .global _start
_start: adr     x0, context
        bl      stub
        ldr     x1, failed
        {status}
        mov     x8, #94                 // exit_group
        svc     #0
stub:
{stub.AARCH64}
        .align  3
context: .quad  {context}
failed: .quad   0
none:   .quad   0
{data}
"""
    file = assembled(directory, "aarch64", source, missing)
    subprocess.run([tool("ld", "aarch64", missing), "--omagic", "-o", directory / "program", file], check=True)
    emulation = [emulator] if emulator else []
    return subprocess.run([*emulation, directory / "program"], capture_output=True, timeout=20)


def test_on_aarch64_a_table_is_walked(tmp_path: Path, missing: Missing) -> None:
    """Results get to where they are wanted, allowed errnos count as success, the first other one ends it."""
    data = f"""
table:  {entry("dup3", 1, 9, 0, users="wanted")}
first:  {entry("write", 77, "text", 2)}
second: {entry("write", 77, "text + 2", 2)}
        {entry("openat", -100, "nowhere", 0, errnos="allowed", users="wanted_too")}
third:  {entry("close", 77, errnos="allowed")}          // 77 becomes -1
        {entry("write", 1, "text + 4", 2)}
last:   {entry("close", 1234)}
wanted: .quad   first + 8, second + 8, 0
wanted_too: .quad third + 8, 0
allowed: .quad  {-errno.ENOENT}, {-errno.EBADF}, 0
text:   .ascii  "abcdef"
nowhere: .asciz "/nowhere"
"""
    status = "adr x0, last; cmp x0, x1; cset x0, ne".replace(";", "\n")
    done = run_on_aarch64(tmp_path, missing, "0, 0, table", status, data)
    assert (done.stdout, done.returncode) == (b"abcdef", 0), done.stderr


def test_on_aarch64_a_table_has_an_end(tmp_path: Path, missing: Missing) -> None:
    data = f"""
table:  {entry("write", 1, "text", 2)}
        .quad -1
text:   .ascii  "ab"
"""
    done = run_on_aarch64(tmp_path, missing, "0, 0, table", "orr x0, x0, x1", data)
    assert (done.stdout, done.returncode) == (b"ab", 0), done.stderr


def test_on_aarch64_a_clone_that_fails_is_told(tmp_path: Path, missing: Missing) -> None:
    done = run_on_aarch64(tmp_path, missing, "context, 1, 0", "neg x0, x0")  # no clone_args is that small
    assert done.returncode in (errno.EINVAL, errno.ENOSYS), done
