"""Random profiles on the kernel: every call ends as the emulation says, be it by its result or by the caller's end."""

import errno
import functools
import platform
from collections.abc import Callable
from operator import or_
from typing import NoReturn

import pytest
from hypothesis import given, settings

from harness.filters import Call, calls, emulate, place, spelled
from harness.random_profiles import Profile, profiles
from harness.runtime.seccomp import SKIPPED, compile_filter, pack
from harness.runtime.syscalls import SECCOMP_FILTER_FLAG
from tests.kernel import filtered
from tests.unit.assembly import assembled, text_of

# Whatever their arguments are, these only fail where nothing is open, with EBADF or ENOSYS; or tell what is always the
# same, and not 0.
HARMLESS = """
    read write close ioctl fstat lseek fcntl flock fsync fdatasync fchdir fchmod fchown ftruncate dup dup2 readv writev
    pread64 pwrite64 getdents getdents64 fstatfs fcntl64 _llseek ftruncate64 fchown32 inotify_rm_watch getppid getpgrp
    create_module get_kernel_syms query_module afs_syscall vserver putpmsg
""".split()
ARCHITECTURES = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86")
DEADLY = {*filtered.ENDS.values()}
UNANSWERED = {"TRACE", "NOTIFY"}  # by a tracer or a listener


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> bytes:
    if platform.machine() != "x86_64":
        pytest.skip("the calls are made by instructions of x86_64")  # which is no feature that could be missing
    return text_of(assembled(tmp_path_factory.mktemp("code"), "x86_64", filtered.SOURCE, missing).read_bytes())


def is_harmless(call: Call) -> bool:
    audit, number, _ = call
    architecture, name = place(audit, number)
    return name in HARMLESS or (bool(architecture) and number == SKIPPED)


@settings(max_examples=50)
@given(profile=profiles(HARMLESS))
def test_each_call_ends_as_the_emulation_says(profile: Profile, code: bytes) -> None:
    program = compile_filter(profile, "x86_64")
    answers = {call: spelled(emulate(program, *call)) for call in calls(profile, ARCHITECTURES) if is_harmless(call)}
    survived = [call for call, answer in answers.items() if answer not in DEADLY]
    deadly = [call for call, answer in answers.items() if answer in DEADLY][:1]
    free, _ = filtered.outcomes(code, b"", 0, survived)
    expected = [result_of(answers[call], result) for call, result in zip(survived, free, strict=True)]
    found, end = filtered.outcomes(code, pack(program), flags(profile), survived + deadly)
    assert dict(zip(survived, found, strict=True)) == dict(zip(survived, expected, strict=True))
    assert end == (answers[deadly[0]] if deadly else "")


def result_of(answer: str, free: int) -> int:
    """Return what a call returns for an answer of the filter; `free` is what it returns without one."""
    action, _, number = answer.partition(" ")
    if action == "ERRNO":
        return -int(number)
    return -errno.ENOSYS if action in UNANSWERED else free


def flags(profile: Profile) -> SECCOMP_FILTER_FLAG:
    """Return the flags but for two: one is for all threads, the other for a listener, and there is none."""
    known = (SECCOMP_FILTER_FLAG[name.removeprefix("SECCOMP_FILTER_FLAG_")] for name in profile.get("flags", []))
    asked = functools.reduce(or_, known, SECCOMP_FILTER_FLAG(0))
    return asked & ~(SECCOMP_FILTER_FLAG.TSYNC | SECCOMP_FILTER_FLAG.WAIT_KILLABLE_RECV)
