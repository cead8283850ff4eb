"""The programs that are made byte by byte: those of this machine are run, those of others read."""

import os
import resource
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


def test_the_clock_may_be_that_of_the_calendar(tmp_path: Path) -> None:
    before = time.time_ns()
    told = elf.nanoseconds(run(elf.clock_program(os.uname().machine, time.CLOCK_REALTIME), tmp_path))
    assert before < told < time.time_ns()


def timed(machine: str, directory: Path, emulator: list[str], *command: str) -> tuple[int, ...]:
    """Run a command by a machine's stopwatch and return what that has reported."""
    stopwatch, report = directory / "stopwatch", directory / "report"
    stopwatch.write_bytes(elf.stopwatch_program(machine))
    stopwatch.chmod(0o755)
    subprocess.run(["sh", "-c", 'exec "$@" 3> "$0"', report, *emulator, stopwatch, *command], check=True)
    return elf.TIMES_AND_USAGE.unpack(report.read_bytes())


def test_the_stopwatch_waits_for_its_command_and_tells_what_it_used(tmp_path: Path) -> None:
    before = time.monotonic_ns()
    busy = "n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; test ! -e /proc/self/fd/3; exit $((5 + $?))"
    report = timed(os.uname().machine, tmp_path, [], "/bin/sh", "-c", busy)
    begun, ended = (report[at] * 1_000_000_000 + report[at + 1] for at in (0, 2))
    assert before < begun < ended < time.monotonic_ns()
    assert os.waitstatus_to_exitcode(report[4]) == 5
    assert 0 < sum(report[at] * 1_000_000 + report[at + 1] for at in (5, 7)) * 1000 < (ended - begun) * 1.5
    assert 0 < report[9] < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 4, "its memory is that of its launcher"


def test_the_stopwatch_hands_on_arguments_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAID", "in the environment")
    timed(os.uname().machine, tmp_path, [], "/bin/sh", "-c", f'echo "$SAID, $0, $*" > {tmp_path}/said', "a", "b c", "")
    assert (tmp_path / "said").read_text() == "in the environment, a, b c \n"


def test_the_stopwatch_tells_of_a_command_that_is_not_there(tmp_path: Path) -> None:
    assert os.waitstatus_to_exitcode(timed(os.uname().machine, tmp_path, [], "/nowhere")[4]) == 127


def test_the_stopwatch_of_the_other_machine_does_the_same(tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if not emulator:
        missing("qemu-aarch64 is not installed; Debian has it in qemu-user-static")
    report = timed("aarch64", tmp_path, [emulator], "/bin/sh", "-c", "exit 7")
    assert report[:2] < report[2:4]
    assert os.waitstatus_to_exitcode(report[4]) == 7


def kept_by(machine: str, path: Path, emulator: list[str]) -> str:
    """Run a keeper with a shell's script as its arguments, which says what the kept descriptor is."""
    path.write_bytes(elf.keeper_program(machine))
    path.chmod(0o755)
    script = f'readlink /proc/self/fd/{elf.KEPT}; echo "$0 $1 $SAID"'
    command = [*emulator, str(path), "/bin/sh", "-c", script, "one", "two"]
    return subprocess.run(command, env={"SAID": "three"}, capture_output=True, check=True, text=True).stdout


def test_the_keeper_keeps_its_executable_and_becomes_its_arguments(tmp_path: Path) -> None:
    path = tmp_path / "keeper"
    assert kept_by(os.uname().machine, path, []) == f"{path}\none two three\n"


def test_the_keeper_of_the_other_machine_does_the_same(tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if not emulator:
        missing("qemu-aarch64 is not installed; Debian has it in qemu-user-static")
    path = tmp_path / "keeper"
    assert kept_by("aarch64", path, [emulator]) == f"{path}\none two three\n"


def test_all_of_the_last_page_of_the_keeper_can_be_written_to() -> None:
    """Linux 6.1 clears what is left of it, where the keeper is the loader, and this kernel may not show that."""
    for machine in ("x86_64", "aarch64"):
        of_the_segment = elf.keeper_program(machine)[64:]
        assert int.from_bytes(of_the_segment[4:8], "little") & 2  # p_flags, PF_W


def test_the_keeper_takes_the_place_of_a_dynamic_loader(tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    """As the loader of another program it keeps that one's file: a program of which nothing else is ever run."""
    keeper, program = tmp_path / "loader", tmp_path / "program"
    keeper.write_bytes(elf.keeper_program(os.uname().machine))
    keeper.chmod(0o755)
    compiler = shutil.which("cc") or missing("no C compiler is installed")
    source = "int main(void) { return 1; }"
    for kind in ("-pie", "-no-pie"):
        command = [compiler, kind, f"-Wl,--dynamic-linker={keeper}", "-xc", "-", "-o", str(program)]
        subprocess.run(command, input=source, text=True, check=True)
        command = [str(program), "/bin/sh", "-c", f"readlink /proc/self/fd/{elf.KEPT}"]
        assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == f"{program}\n"


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
    with pytest.raises(HarnessError, match="no keeper program for riscv64"):
        elf.keeper_program("riscv64")
    with pytest.raises(HarnessError, match="no stopwatch program for riscv64"):
        elf.stopwatch_program("riscv64")
