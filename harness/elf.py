"""The smallest programs that tell the time, or who they are, or sleep, or keep a file: some 300 bytes of ELF, no libc.

The clock reads CLOCK_MONOTONIC with its first instructions, writes the struct timespec (16 bytes) to fd 1 and
exits. What passes between a request and that clock reading is the time that a runtime takes, and nothing
else.
"""

import struct
import time
from collections.abc import Callable

from harness.errors import HarnessError

EM_X86_64 = 62
EM_AARCH64 = 183
ADDRESS = 0x400000
ANYWHERE = 0  # in the place of an address: ET_DYN, for instructions that know none
HEADERS = 64 + 56  # the ELF header and one program header
TIMESPEC = struct.Struct("=qq")
STATUS = b"/proc/self/status\0"
OWN_EXECUTABLE = b"/proc/self/exe\0"
KEPT = 100  # the descriptor that the keeper leaves open
TIMES_AND_USAGE = struct.Struct("=4qi4x18q")  # two of struct timespec, the status of wait4(2), and struct rusage
SVC = 0xD4000001  # svc #0: a system call on aarch64
CLONE_FLAGS = 0x4111  # CLONE_VM | CLONE_VFORK | SIGCHLD: what has been nobody's memory but this program's


def clock_program(machine: str, clock: int = time.CLOCK_MONOTONIC) -> bytes:
    """The program for a machine as `uname -m` names it; HarnessError for one that we have no instructions for."""
    return _program("clock", machine, _x86_64(clock), _aarch64(clock))


def stopwatch_program(machine: str) -> bytes:
    """The program that runs its arguments as a command and writes to fd 3 how long that took and what it used.

    It writes TIMES_AND_USAGE: CLOCK_MONOTONIC before it starts the command, and after it has waited for it. As it is
    next to nothing, nothing of it is in what it measures: struct rusage counts the memory of whoever starts a program
    as the program's own. The command is a path, and has no fd 3. HarnessError for a machine that we have no
    instructions for.
    """
    return _program("stopwatch", machine, _x86_64_stopwatch(), _aarch64_stopwatch())


def status_program(machine: str) -> bytes:
    """The program that writes its /proc/self/status to fd 1: its ids and capabilities (proc_pid_status(5)).

    HarnessError for a machine that we have no instructions for.
    """
    return _program("status", machine, _with_text(_x86_64_status, STATUS), _with_text(_aarch64_status, STATUS))


def pause_program(machine: str) -> bytes:
    """The program that does nothing until it is killed: pause(2).

    HarnessError for a machine that we have no instructions for.
    """
    return _program("pause", machine, _x86_64_pause(), _aarch64_pause())


def keeper_program(machine: str) -> bytes:
    """The program that opens its /proc/self/exe for reading, as descriptor KEPT, and becomes its arguments.

    It can stand in the place of a dynamic loader (ld.so(8)): then that file is the one whose loader it was to be, and
    not itself. So the kernel loads it wherever there is room. HarnessError for a machine that we have no instructions
    for.
    """
    return _program("keeper", machine, _x86_64_keeper() + OWN_EXECUTABLE, _aarch64_keeper() + OWN_EXECUTABLE, ANYWHERE)


def _program(name: str, machine: str, x86_64: bytes, aarch64: bytes, address: int = ADDRESS) -> bytes:
    if machine == "x86_64":
        return _executable(EM_X86_64, x86_64, address)
    if machine == "aarch64":
        return _executable(EM_AARCH64, aarch64, address)
    raise HarnessError(f"no {name} program for {machine}; there is one for x86_64 and aarch64 (harness/elf.py)")


def _with_text(instructions: Callable[[int], bytes], text: bytes) -> bytes:
    """Instructions that need a text, and the text behind them; they are told its address."""
    size = len(instructions(ADDRESS))
    return instructions(ADDRESS + HEADERS + size) + text


def nanoseconds(output: bytes) -> int:
    """What the clock program wrote, as nanoseconds; HarnessError if it wrote anything else."""
    if len(output) != TIMESPEC.size:
        raise HarnessError(f"the clock program wrote {len(output)} bytes, not {TIMESPEC.size}: {output[:200]!r}")
    seconds, rest = TIMESPEC.unpack(output)
    return int(seconds) * 1_000_000_000 + int(rest)


def _executable(machine: int, code: bytes, address: int) -> bytes:
    """An ELF file of one segment that is loaded whole, readable and executable (elf(5)).

    Of what may be loaded as a dynamic loader, older kernels (Linux 6.1 is one) clear what is left of the last page, and
    end the process by SIGSEGV where that cannot be written to; so there the segment is writable, too.
    """
    kind, rights = (3, 7) if address == ANYWHERE else (2, 5)  # ET_DYN, ET_EXEC; of PF_X = 1, PF_W = 2, PF_R = 4
    size = HEADERS + len(code)
    identification = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)  # 64 bits, little endian, version 1, System V
    header = struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, address + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, rights, 0, address, address, size, size, 0x10000)
    return identification + header + segment + code


def _x86_64_call(number: int) -> bytes:
    return b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"  # mov eax, number; syscall


def _x86_64(clock: int) -> bytes:
    return b"".join(
        [
            b"\x48\x83\xec\x10",  # sub rsp, 16
            b"\xbf" + struct.pack("<I", clock) + b"\x48\x89\xe6",  # mov edi, clock; mov rsi, rsp
            _x86_64_call(228),  # clock_gettime
            b"\xbf\x01\x00\x00\x00\x48\x89\xe6",  # mov edi, 1 (standard output); mov rsi, rsp
            b"\xba\x10\x00\x00\x00",  # mov edx, 16
            _x86_64_call(1),  # write
            b"\x31\xff",  # xor edi, edi
            _x86_64_call(60),  # exit
        ]
    )


def _move(register: int, number: int) -> int:
    return 0xD2800000 | number << 5 | register  # movz xN, #number


def _aarch64(clock: int) -> bytes:
    stack_to_x1 = 0x910003E1  # add x1, sp, #0
    instructions = [
        0xD10043FF,  # sub sp, sp, #16
        *(_move(0, clock), stack_to_x1, _move(8, 113), SVC),  # clock_gettime(clock, sp)
        *(_move(0, 1), stack_to_x1, _move(2, 16), _move(8, 64), SVC),  # write(1, sp, 16)
        *(_move(0, 0), _move(8, 93), SVC),  # exit(0)
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
        *(_move(2, 0), _move(8, 56), SVC),  # openat(AT_FDCWD, path, 0)
        *(stack_to_x1, _move(2, 4096), _move(8, 63), SVC),  # read(…, sp, 4096)
        0xAA0003E2,  # mov x2, x0
        *(_move(0, 1), stack_to_x1, _move(8, 64), SVC),  # write(1, sp, …)
        *(_move(0, 0), _move(8, 93), SVC),  # exit(0)
    ]
    return struct.pack(f"<{len(instructions)}I", *instructions)


def _x86_64_keeper() -> bytes:
    after = [
        b"\x31\xf6\xb8\x02\x00\x00\x00\x0f\x05",  # xor esi, esi; mov eax, 2 (open); syscall
        b"\x89\xc7\xbe" + struct.pack("<I", KEPT),  # mov edi, eax; mov esi, KEPT
        _x86_64_call(33),  # dup2
        b"\x48\x8b\x7c\x24\x10\x48\x8d\x74\x24\x10",  # mov rdi, [rsp + 16]; lea rsi, [rsp + 16]
        b"\x48\x8b\x04\x24\x48\x8d\x54\xc4\x10",  # mov rax, [rsp]; lea rdx, [rsp + 8 * rax + 16]
        _x86_64_call(59),  # execve
        b"\xbf\x7f\x00\x00\x00" + _x86_64_call(60),  # mov edi, 127; exit
    ]
    return b"\x48\x8d\x3d" + struct.pack("<i", sum(map(len, after))) + b"".join(after)  # lea rdi, [rip + …]


def _aarch64_keeper() -> bytes:
    after = [
        0x92800000 | 99 << 5,  # movn x0, #99: AT_FDCWD
        *(_move(2, 0), _move(8, 56), SVC),  # openat(AT_FDCWD, x1, 0)
        *(_move(1, KEPT), _move(2, 0), _move(8, 24), SVC),  # dup3(x0, KEPT, 0)
        *(0xF9400BE0, 0x910043E1),  # ldr x0, [sp, #16]; add x1, sp, #16
        *(0xF94003E2, 0x8B020C22),  # ldr x2, [sp]; add x2, x1, x2, lsl #3
        *(_move(8, 221), SVC),  # execve(x0, x1, x2)
        *(_move(0, 127), _move(8, 93), SVC),  # exit(127)
    ]
    offset = 4 * (len(after) + 1)
    instructions = [0x10000001 | offset >> 2 << 5, *after]  # adr x1, behind the last of them
    return struct.pack(f"<{len(instructions)}I", *instructions)


def _x86_64_stopwatch() -> bytes:
    child = [
        b"\xbf\x03\x00\x00\x00" + _x86_64_call(3),  # mov edi, 3; close
        b"\x49\x8b\x7d\x00\x4c\x89\xee\x4c\x89\xf2",  # mov rdi, [r13]; mov rsi, r13; mov rdx, r14
        _x86_64_call(59),  # execve
        b"\xbf\x7f\x00\x00\x00" + _x86_64_call(60),  # mov edi, 127; exit
    ]
    return b"".join(
        [
            b"\x4c\x8b\x24\x24",  # mov r12, [rsp]: how many arguments there are
            b"\x4c\x8d\x6c\x24\x10",  # lea r13, [rsp + 16]: those of the command
            b"\x4e\x8d\x74\xe4\x10",  # lea r14, [rsp + 8 * r12 + 16]: the environment
            b"\x48\x81\xec\xc0\x00\x00\x00",  # sub rsp, 192
            b"\xbf\x01\x00\x00\x00\x48\x89\xe6",  # mov edi, 1 (CLOCK_MONOTONIC); mov rsi, rsp
            _x86_64_call(228),  # clock_gettime
            b"\xbf"
            + struct.pack("<I", CLONE_FLAGS)
            + b"\x31\xf6\x31\xd2",  # mov edi, flags; xor esi, esi; xor edx, edx
            b"\x45\x31\xd2\x45\x31\xc0",  # xor r10d, r10d; xor r8d, r8d
            _x86_64_call(56),  # clone, with the same stack, for the child calls no function
            b"\x85\xc0\x75" + bytes([sum(map(len, child))]),  # test eax, eax; jnz to where the parent goes on
            *child,
            b"\x89\xc7\x48\x8d\x74\x24\x20",  # mov edi, eax; lea rsi, [rsp + 32]
            b"\x31\xd2\x4c\x8d\x54\x24\x28",  # xor edx, edx; lea r10, [rsp + 40]
            _x86_64_call(61),  # wait4
            b"\xbf\x01\x00\x00\x00\x48\x8d\x74\x24\x10",  # mov edi, 1; lea rsi, [rsp + 16]
            _x86_64_call(228),  # clock_gettime
            b"\xbf\x03\x00\x00\x00\x48\x89\xe6",  # mov edi, 3; mov rsi, rsp
            b"\xba" + struct.pack("<I", TIMES_AND_USAGE.size),  # mov edx, size
            _x86_64_call(1),  # write
            b"\x31\xff" + _x86_64_call(60),  # xor edi, edi; exit
        ]
    )


def _aarch64_stopwatch() -> bytes:
    def on_stack(register: int, offset: int) -> int:
        return 0x910003E0 | offset << 10 | register  # add xN, sp, #offset

    child = [
        *(_move(0, 3), _move(8, 57), SVC),  # close(3)
        *(0xF9400280, 0xAA1403E1, 0xAA1503E2),  # ldr x0, [x20]; mov x1, x20; mov x2, x21
        *(_move(8, 221), SVC),  # execve(x0, x1, x2)
        *(_move(0, 127), _move(8, 93), SVC),  # exit(127)
    ]
    instructions = [
        0xF94003F3,  # ldr x19, [sp]: how many arguments there are
        0x910043F4,  # add x20, sp, #16: those of the command
        0x8B130E95,  # add x21, x20, x19, lsl #3: the environment
        0xD10303FF,  # sub sp, sp, #192
        *(_move(0, 1), on_stack(1, 0), _move(8, 113), SVC),  # clock_gettime(CLOCK_MONOTONIC, sp)
        *(_move(0, CLONE_FLAGS), *(_move(register, 0) for register in range(1, 5)), _move(8, 220), SVC),  # clone
        0xB5000000 | (len(child) + 1) << 5,  # cbnz x0, to where the parent goes on
        *child,
        *(on_stack(1, 32), _move(2, 0), on_stack(3, 40), _move(8, 260), SVC),  # wait4(x0, sp + 32, 0, sp + 40)
        *(_move(0, 1), on_stack(1, 16), _move(8, 113), SVC),  # clock_gettime(CLOCK_MONOTONIC, sp + 16)
        *(_move(0, 3), on_stack(1, 0), _move(2, TIMES_AND_USAGE.size), _move(8, 64), SVC),  # write(3, sp, size)
        *(_move(0, 0), _move(8, 93), SVC),  # exit(0)
    ]
    return struct.pack(f"<{len(instructions)}I", *instructions)


def _x86_64_pause() -> bytes:
    return _x86_64_call(34) + b"\xeb\xf7"  # pause; jmp, back by nine bytes


def _aarch64_pause() -> bytes:
    instructions = [
        *(_move(register, 0) for register in range(5)),
        *(_move(8, 73), SVC),  # ppoll(NULL, 0, NULL, NULL, 0): there is no pause(2)
        0x17FFFFF9,  # b, back by seven instructions
    ]
    return struct.pack(f"<{len(instructions)}I", *instructions)
