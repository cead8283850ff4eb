"""The smallest programs that tell the time, or who they are, or sleep: under 300 bytes of ELF, without libc or loader.

The clock reads CLOCK_MONOTONIC with its first instructions, writes the struct timespec (16 bytes) to fd 1 and
exits. What passes between a request and that clock reading is the time that a runtime takes, and nothing
else.
"""

import struct
from collections.abc import Callable

from harness.errors import HarnessError

EM_X86_64 = 62
EM_AARCH64 = 183
ADDRESS = 0x400000
HEADERS = 64 + 56  # the ELF header and one program header
SYSTEM_CALL = 0xD4000001  # svc #0, of aarch64
TIMESPEC = struct.Struct("=qq")
STATUS = b"/proc/self/status\0"


def clock_program(machine: str) -> bytes:
    """The program for a machine as `uname -m` names it; HarnessError for one that we have no instructions for."""
    if machine == "x86_64":
        return _executable(EM_X86_64, _x86_64())
    if machine == "aarch64":
        return _executable(EM_AARCH64, _aarch64())
    raise HarnessError(f"no clock program for {machine}; there is one for x86_64 and aarch64 (harness/elf.py)")


def status_program(machine: str) -> bytes:
    """The program that writes its /proc/self/status to fd 1: its ids and capabilities (proc_pid_status(5)).

    HarnessError for a machine that we have no instructions for.
    """
    if machine == "x86_64":
        return _executable(EM_X86_64, _with_text(_x86_64_status, STATUS))
    if machine == "aarch64":
        return _executable(EM_AARCH64, _with_text(_aarch64_status, STATUS))
    raise HarnessError(f"no status program for {machine}; there is one for x86_64 and aarch64 (harness/elf.py)")


def pause_program(machine: str) -> bytes:
    """The program that does nothing until it is killed: pause(2).

    HarnessError for a machine that we have no instructions for.
    """
    if machine == "x86_64":
        return _executable(EM_X86_64, b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7")  # mov eax, 34; syscall; jmp back
    if machine == "aarch64":
        return _executable(EM_AARCH64, _aarch64_pause())
    raise HarnessError(f"no pause program for {machine}; there is one for x86_64 and aarch64 (harness/elf.py)")


def _with_text(instructions: Callable[[int], bytes], text: bytes) -> bytes:
    """Instructions that need a text, and the text behind them; they are told its address."""
    size = len(instructions(ADDRESS))
    return instructions(ADDRESS + HEADERS + size) + text


def nanoseconds(output: bytes) -> int:
    """What the program wrote, as nanoseconds of CLOCK_MONOTONIC; HarnessError if it wrote anything else."""
    if len(output) != TIMESPEC.size:
        raise HarnessError(f"the clock program wrote {len(output)} bytes, not {TIMESPEC.size}: {output[:200]!r}")
    seconds, rest = TIMESPEC.unpack(output)
    return int(seconds) * 1_000_000_000 + int(rest)


def _executable(machine: int, code: bytes) -> bytes:
    """An ELF file of one segment that is loaded whole, readable and executable (elf(5))."""
    size = HEADERS + len(code)
    identification = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)  # 64 bits, little endian, version 1, System V
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, ADDRESS + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, ADDRESS, ADDRESS, size, size, 0x10000)
    return identification + header + segment + code


def _x86_64() -> bytes:
    def call(number: int) -> bytes:
        return b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"  # mov eax, number; syscall

    return b"".join(
        [
            b"\x48\x83\xec\x10",  # sub rsp, 16
            b"\xbf\x01\x00\x00\x00\x48\x89\xe6",  # mov edi, 1 (CLOCK_MONOTONIC); mov rsi, rsp
            call(228),  # clock_gettime
            b"\xbf\x01\x00\x00\x00\x48\x89\xe6",  # mov edi, 1 (standard output); mov rsi, rsp
            b"\xba\x10\x00\x00\x00",  # mov edx, 16
            call(1),  # write
            b"\x31\xff",  # xor edi, edi
            call(60),  # exit
        ]
    )


def _move(register: int, number: int) -> int:
    return 0xD2800000 | number << 5 | register  # movz xN, #number


def _aarch64() -> bytes:
    stack_to_x1 = 0x910003E1  # add x1, sp, #0
    instructions = [
        0xD10043FF,  # sub sp, sp, #16
        *(_move(0, 1), stack_to_x1, _move(8, 113), SYSTEM_CALL),  # clock_gettime(CLOCK_MONOTONIC, sp)
        *(_move(0, 1), stack_to_x1, _move(2, 16), _move(8, 64), SYSTEM_CALL),  # write(1, sp, 16)
        *(_move(0, 0), _move(8, 93), SYSTEM_CALL),  # exit(0)
    ]
    return struct.pack(f"<{len(instructions)}I", *instructions)


def _x86_64_status(path: int) -> bytes:
    return b"".join(
        [
            b"\x48\x81\xec\x00\x10\x00\x00",  # sub rsp, 4096
            b"\xbf" + struct.pack("<I", path),  # mov edi, path
            b"\x31\xf6\xb8\x02\x00\x00\x00\x0f\x05",  # xor esi, esi; mov eax, 2 (open); syscall
            b"\x89\xc7\x48\x89\xe6\xba\x00\x10\x00\x00",  # mov edi, eax; mov rsi, rsp; mov edx, 4096
            b"\x31\xc0\x0f\x05",  # xor eax, eax (read); syscall
            b"\x89\xc2\xbf\x01\x00\x00\x00\x48\x89\xe6",  # mov edx, eax; mov edi, 1; mov rsi, rsp
            b"\xb8\x01\x00\x00\x00\x0f\x05",  # mov eax, 1 (write); syscall
            b"\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05",  # xor edi, edi; mov eax, 60 (exit); syscall
        ]
    )


def _aarch64_status(path: int) -> bytes:
    stack_to_x1 = 0x910003E1  # add x1, sp, #0
    instructions = [
        0xD14007FF,  # sub sp, sp, #1, lsl #12
        0x92800000 | 99 << 5,  # movn x0, #99: AT_FDCWD
        *(_move(1, path & 0xFFFF), 0xF2A00000 | path >> 16 << 5 | 1),  # movk x1, #high, lsl #16
        *(_move(2, 0), _move(8, 56), SYSTEM_CALL),  # openat(AT_FDCWD, path, 0)
        *(stack_to_x1, _move(2, 4096), _move(8, 63), SYSTEM_CALL),  # read(…, sp, 4096)
        0xAA0003E2,  # mov x2, x0
        *(_move(0, 1), stack_to_x1, _move(8, 64), SYSTEM_CALL),  # write(1, sp, …)
        *(_move(0, 0), _move(8, 93), SYSTEM_CALL),  # exit(0)
    ]
    return struct.pack(f"<{len(instructions)}I", *instructions)


def _aarch64_pause() -> bytes:
    instructions = [
        *(_move(register, 0) for register in range(5)),
        *(_move(8, 73), SYSTEM_CALL),  # ppoll(NULL, 0, NULL, NULL, 0): there is no pause(2)
        0x17FFFFF9,  # b, back by seven instructions
    ]
    return struct.pack(f"<{len(instructions)}I", *instructions)
