"""Tables as bytes, with which another process has them in its own memory: `harness.runtime.table`."""

import bisect
import ctypes
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from harness.runtime.table import Table

ALIGNMENT = 16  # bytes; the child's stack wants it

if TYPE_CHECKING:
    Part = ctypes.Array[Any] | ctypes.Structure | ctypes._SimpleCData[Any]


class Image:
    """What some tables, and other parts that point into them, are in memory.

    An address in `memory` is counted from its beginning; `relocations` are the places of all words that hold one, to
    which whoever uses it adds the address of the beginning. `pointers` are the addresses of such words in the parts
    that are no tables.
    """

    def __init__(self, tables: Iterable[Table], parts: "Iterable[Part]" = (), pointers: Iterable[int] = ()) -> None:
        tables = list(tables)
        found = [*parts, *(part for table in tables for part in [table.words, *table.kept])]
        self._parts = sorted((ctypes.addressof(part), bytes(part)) for part in found)
        self._begins = [address for address, _ in self._parts]
        self._places: list[int] = []
        self.memory = bytearray()
        for _, content in self._parts:
            self._places.append(len(self.memory))
            self.memory += content + bytes(-len(content) % ALIGNMENT)
        self.relocations = [self.place(address) for address in (*pointers, *(a for t in tables for a in t.pointers))]
        for at in self.relocations:
            address = int.from_bytes(self.memory[at : at + 8], "little")
            self.memory[at : at + 8] = self.place(address).to_bytes(8, "little")

    def place(self, address: int) -> int:
        """Return where in the image an address of this process is. Raises ValueError for one of no part."""
        index = bisect.bisect(self._begins, address) - 1
        begin, content = self._parts[index]
        if index < 0 or address - begin >= len(content):
            raise ValueError(f"{address:#x} is in no part of the image")
        return self._places[index] + address - begin
