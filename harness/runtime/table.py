"""Calls laid out in memory, as machine instructions walk them: `harness.runtime.stub`."""

import ctypes
import struct
from collections.abc import Iterable
from typing import Any

from harness.runtime import stub
from harness.runtime.forked import Failed, Results
from harness.runtime.step import Argument, Call, Packed, Program, Record, Saved, Step, Strings
from harness.runtime.syscalls import number

LAID_OUT = int | str | Saved | Strings | Packed | Program | Record | None
SOCK_FPROG = struct.Struct("=H6xQ")  # seccomp(2)
END = -1  # in the place of a system call's number


def may_be_laid_out(step: Step) -> bool:
    """Return whether a step is nothing but calls whose arguments are known, but for results of other calls."""
    return not (step.program or step.hook or step.holder) and all(
        call.least == 0 and all(isinstance(argument, LAID_OUT) for argument in call.arguments) for call in step.calls
    )


class Table:
    """The calls of some steps, in memory; one process walks them at a time.

    `words` are the entries, `kept` is what they point to, `pointers` are the addresses of all words that hold an
    address, `given` are the words that want a result which none of the calls has.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self.calls = [(step, call) for step in steps for call in step.calls]
        self.words = (ctypes.c_int64 * (stub.ENTRY * len(self.calls) + 1))()
        self.kept: list[ctypes.Array[Any]] = []
        self.pointers: list[int] = []
        self._inherited: dict[str, list[int]] = {}  # the addresses that want a result which no call here has
        users: dict[str, list[int]] = {}  # those that want the result of the latest call that left one
        lists = [self._lay_out(index, call, users) for index, (_, call) in enumerate(self.calls)]
        for index, wanting in enumerate(lists):
            self._point(stub.ENTRY * index + stub.USERS, self._addresses(wanting))
        self.words[stub.ENTRY * len(self.calls)] = END
        self.given = {
            name: [ctypes.c_int32.from_address(address) for address in addresses]
            for name, addresses in self._inherited.items()
        }

    def fill(self, results: Results) -> None:
        """Fill in what calls want that none of them has made."""
        for name, value in results.items():
            for word in self.given.get(name, ()):
                word.value = value

    def index(self, address: int) -> int:
        """Return which entry begins at an address."""
        return (address - ctypes.addressof(self.words)) // (8 * stub.ENTRY)

    def argument(self, index: int, at: int) -> int:
        """Return the word of a call's argument: a number, or an address."""
        return self.words[stub.ENTRY * index + 1 + at]

    def result(self, index: int) -> int:
        """Return what a call has returned: a negative number is an errno."""
        return self.words[stub.ENTRY * index + stub.RESULT]

    def failed(self, address: int) -> Failed:
        """Return the failure of the call whose entry is at an address."""
        index = self.index(address)
        step, call = self.calls[index]
        return Failed(step, call, -self.result(index))

    def _lay_out(self, index: int, call: Call, users: dict[str, list[int]]) -> list[int]:
        """Fill in an entry; return the list of the addresses that want its result, to which later calls add."""
        first = stub.ENTRY * index
        self.words[first] = number(call.name)
        for at, argument in enumerate(call.arguments, start=first + 1):
            if isinstance(argument, Saved):
                self._wanting(argument.name, users).append(ctypes.addressof(self.words) + 8 * at)
            elif argument is None or isinstance(argument, int):
                self.words[at] = _number(argument)
            else:
                self._point(at, self._value(argument, users))
        allowed = (ctypes.c_int64 * (len(call.allowed) + 1))(*(-code for code in call.allowed))
        self._point(first + stub.ERRNOS, self._keep(allowed))
        if not call.saves:
            return []
        users[call.saves] = []
        return users[call.saves]

    def _wanting(self, name: str, users: dict[str, list[int]]) -> list[int]:
        return users[name] if name in users else self._inherited.setdefault(name, [])

    def _value(self, argument: Argument, users: dict[str, list[int]]) -> int:
        """Lay an argument out in memory; return its address."""
        match argument:
            case str():
                return self._keep(ctypes.create_string_buffer(argument.encode(errors="surrogateescape")))
            case Packed():
                return self._keep(ctypes.create_string_buffer(argument.value, max(1, len(argument.value))))
            case Program():
                count, instructions = len(argument.instructions) // 8, argument.instructions
                address = self._keep(ctypes.create_string_buffer(instructions, len(instructions)))
                program = self._keep(ctypes.create_string_buffer(SOCK_FPROG.pack(count, address), SOCK_FPROG.size))
                self.pointers.append(program + 8)
                return program
            case Strings():
                return self._addresses([self._keep(ctypes.create_string_buffer(text)) for text in argument.values])
            case Record():
                return self._record(argument, users)
        raise TypeError(f"{argument} is for the executor that forks")

    def _record(self, record: Record, users: dict[str, list[int]]) -> int:
        buffer = ctypes.create_string_buffer(record.size)
        address, at = self._keep(buffer), 0
        for letters, value in record.members:
            if isinstance(value, Saved):
                self._wanting(value.name, users).append(address + at)
            elif isinstance(value, Packed | Record):
                struct.pack_into(f"={letters}", buffer, at, self._value(value, users))
                self.pointers.append(address + at)
            elif value is not None:
                struct.pack_into(f"={letters}", buffer, at, value)
            at += struct.calcsize(f"={letters}")
        return address

    def _addresses(self, found: list[int]) -> int:
        """Lay out a list of addresses that ends with a zero."""
        address = self._keep((ctypes.c_int64 * (len(found) + 1))(*found))
        self.pointers += range(address, address + 8 * len(found), 8)
        return address

    def _point(self, at: int, address: int) -> None:
        """Have a word hold an address."""
        self.words[at] = address
        self.pointers.append(ctypes.addressof(self.words) + 8 * at)

    def _keep(self, kept: "ctypes.Array[Any]") -> int:
        """Keep what the table points to for as long as there is a table; return its address."""
        self.kept.append(kept)
        return ctypes.addressof(kept)


def _number(argument: int | None) -> int:
    """Return the word for a number, which is signed."""
    return 0 if argument is None else argument if argument < 2**63 else argument - 2**64
