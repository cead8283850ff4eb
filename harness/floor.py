"""The floor of a start: the table of calls that our own runtime replays, made from C by a process that is nothing else.

What is above the floor is the runtime's own; what is below it no runtime can reach that makes these calls.
"""

import bisect
import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

from harness.errors import HarnessError
from harness.runtime.replay import CHANNEL_ENDS, Child
from harness.runtime.step import Plan, Step
from harness.runtime.table import Table

SOURCE = Path(__file__).with_suffix(".c")
COMPILERS = ("cc", "gcc", "clang")
HEADER = struct.Struct("=11Q")
ALIGNMENT = 16  # bytes
CLONE_FLAGS = 0xFFFFFFFF  # those that clone(2) takes; it has handlers of signals to clear only where there are any


def compiler() -> str | None:
    """Return the C compiler of this machine, if there is one."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def build(directory: Path, plan: Plan) -> list[str]:
    """Make the program of the floor for a plan that is replayed; return the command that serves it.

    Raises HarnessError where it cannot be compiled.
    """
    program, image = directory / "floor", directory / "floor.table"
    image.write_bytes(imaged(plan))
    command = [compiler() or "cc", "-O2", "-static", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HarnessError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    return [str(program), str(image)]


def imaged(plan: Plan) -> bytes:
    """Return the memory of a plan's tables as the program reads it: a header, the bytes, and where addresses are."""
    child = Child(plan)
    undo = [Step(f"undo {step.name}", step.why, step.undo) for step in reversed(plan.before)]
    tables = (Table(plan.before), child.table, Table(undo))
    memory = sorted((ctypes.addressof(part), bytes(part)) for table in tables for part in [table.words, *table.kept])
    begins = [address for address, _ in memory]
    places, size = [], 0
    for _, content in memory:
        places.append(size)
        size += (len(content) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT

    def moved(address: int) -> int | None:
        """Return where in the image an address in the tables' memory is, None for any other number."""
        index = bisect.bisect(begins, address) - 1
        inside = index >= 0 and address - begins[index] < max(1, len(memory[index][1]))
        return places[index] + address - begins[index] if inside else None

    image, relocations = bytearray(size), []
    for place, (_, content) in zip(places, memory, strict=True):
        image[place : place + len(content)] = content
        for at in range(place, place + len(content) - 7, 8):
            target = moved(struct.unpack_from("=Q", image, at)[0])
            if target is not None:
                struct.pack_into("=Q", image, at, target)
                relocations.append(at)
    given = [*child.streams, *(child.table.given[name] for name in CHANNEL_ENDS)]
    words = [*(table.words for table in tables), *(word for word, *_ in given)]
    offsets = [moved(ctypes.addressof(word)) or 0 for word in words]
    header = HEADER.pack(size, len(relocations), child.flags & CLONE_FLAGS, *offsets)
    return header + image + struct.pack(f"={len(relocations)}Q", *relocations)
