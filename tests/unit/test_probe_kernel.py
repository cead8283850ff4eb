"""What probes share: the tables of system calls, attempts, mountinfo, JSON without the module json."""

import errno
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.runtime.seccomp_numbers import numbers as numbers_of
from harness.runtime.syscalls import NUMBERS, O

sys.path.append(str(Path(__file__).parents[2] / "probes"))  # as the runner does

import _kernel

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def test_numbers_are_those_of_the_runtime() -> None:
    """Two tables by necessity, for neither side may import the other; one truth."""
    for name, numbers in NUMBERS.items():
        if name in _kernel.SYSCALLS_BY_MACHINE:
            assert _kernel.SYSCALLS_BY_MACHINE[name] == numbers, name
        elif name in _kernel.SYSCALLS:
            assert (_kernel.SYSCALLS[name],) * 2 == numbers, name


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
def test_numbers_are_those_of_the_kernels_lists(column: int) -> None:
    """Both columns, on whatever machine: a wrong number of the other one would be found by nobody for long."""
    listed = numbers_of(("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")[column])
    both = NUMBERS | _kernel.SYSCALLS_BY_MACHINE | {name: (number,) * 2 for name, number in _kernel.SYSCALLS.items()}
    assert {name: numbers[column] for name, numbers in both.items()} == {name: listed.get(name) for name in both}


def test_flags_of_open_are_those_of_this_machine() -> None:
    """Which are others on aarch64: `make aarch64` asks a Python that was compiled for it."""
    assert {flag.name: flag.value for flag in O} == {flag.name: getattr(os, f"O_{flag.name}") for flag in O}


@pytest.mark.parametrize(("told", "number"), [("i686", 63), ("x86_64", 63), ("armv8l", 160), ("aarch64", 160)])
def test_numbers_are_those_of_the_program_whatever_machine_its_personality_shows(
    told: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.uname", lambda: os.uname_result(("Linux", "cell", "6.18", "#1", told)))
    assert _kernel.syscall_number("uname") == number


def test_signals_have_the_names_of_pythons() -> None:
    for number in range(1, 32):
        assert _kernel.signal_name(number) == signal.Signals(number).name
    assert [_kernel.signal_name(number) for number in (0, 32, 65)] == ["signal 0", "signal 32", "signal 65"]


def test_a_system_call_returns_its_result_or_raises_its_errno(tmp_path: Path) -> None:
    assert _kernel.syscall("getpid") == os.getpid()
    assert _kernel.attempt_syscall("getpid") == {"errno": None, "result": os.getpid()}
    assert _kernel.attempt_syscall("chdir", str(tmp_path / "none")) == {"errno": "ENOENT"}
    assert _kernel.attempt_syscall("openat", _kernel.AT_FDCWD, b"/nowhere", 0, 0) == {"errno": "ENOENT"}
    names = bytearray(6 * 65)
    assert _kernel.syscall("uname", names) == 0
    assert names.startswith(b"Linux\0")
    with pytest.raises(KeyError):
        _kernel.syscall("no_such_call")


def test_attempts_report_their_errno(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    assert _kernel.attempt(lambda: os.mkdir(tmp_path)) == {"errno": "EEXIST"}
    assert _kernel.attempt_open("/nowhere") == {"errno": "ENOENT"}
    assert _kernel.attempt_open("/") == {"errno": None}
    assert _kernel.read("/nowhere") == {"errno": "ENOENT"}
    assert _kernel.read("/") == {"errno": "EISDIR"}
    assert _kernel.read_text("/nowhere") == ""
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ZeroDivisionError):
        _kernel.attempt(lambda: 1 / 0)


def test_an_act_is_repeated_until_it_is_refused() -> None:
    before = os.listdir("/proc/self/fd")

    def refuse_the_third(number: int) -> None:
        if number == 2:
            raise OSError(errno.EMFILE, "enough")

    assert _kernel.until_refused(refuse_the_third, 9) == {"count": 2, "errno": "EMFILE"}
    assert _kernel.until_refused(refuse_the_third, 2) == {"count": 2, "errno": None}
    assert _kernel.until_refused(refuse_the_third, 9, done=3) == {"count": 9, "errno": None}
    assert os.listdir("/proc/self/fd") == before


def test_reading_is_bounded_and_never_fails_on_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\xffb" * 100)
    assert _kernel.read(str(tmp_path / "file"), limit=3) == "a\\xffb"


def test_a_text_is_written_to_what_is_there_and_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _kernel.write(str(tmp_path / "file"), "text")
    assert (tmp_path / "file").read_text() == "text"
    with pytest.raises(FileNotFoundError):
        _kernel.write(str(tmp_path / "none"), "text")


def test_directories_and_processes_are_listed_as_far_as_they_are_there(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).touch()
    assert _kernel.entries(str(tmp_path)) == ["a", "b"]
    assert _kernel.entries(str(tmp_path / "none")) == []
    assert str(os.getpid()) in _kernel.processes()
    assert _kernel.stat_fields(os.getpid())[1] == str(os.getppid())
    assert _kernel.stat_fields(0) == []
    assert _kernel.parse_status("Name:\ta: b\nUid:\t1\t2\n") == {"Name": "a: b", "Uid": "1\t2"}
    assert "/proc" in _kernel.mount_points("proc", "sysfs")
    assert set(_kernel.mount_points("proc")) < set(_kernel.mount_points())


def test_mountinfo_names_the_fields_and_undoes_escapes(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(
        "36 35 98:0 /mnt\\0401 /mnt\\0112\\134040 rw,noatime master:1 shared:7 - ext4 /dev/a\\040b rw,x=\\134\n"
        "37 35 0:5 / /dev rw - devtmpfs none rw\n"
    )
    first, second = _kernel.mountinfo(str(tmp_path / "mountinfo"))
    assert first == {
        "id": 36,
        "parent": 35,
        "device": "98:0",
        "root": "/mnt 1",
        "point": "/mnt\t2\\040",
        "options": ["rw", "noatime"],
        "optional": ["master:1", "shared:7"],
        "type": "ext4",
        "source": "/dev/a b",
        "super_options": ["rw", "x=\\"],
    }
    assert (second["point"], second["optional"]) == ("/dev", [])
    assert _kernel.mountinfo("/nowhere") == []


@given(st.dictionaries(st.text(), values, max_size=4))
def test_json_is_what_json_says(value: dict[str, object]) -> None:
    text = _kernel.encode(value)
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text) == value
    assert _kernel.decode(json.dumps(value, indent=1)) == value


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": 1} 2', "nonsense", '{"a": 1,}', "{'a': 1}"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        _kernel.decode(text)
