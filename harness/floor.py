"""The floor of a start: the table of calls that our own runtime replays, made from C by a process that is nothing else.

What is above the floor is the runtime's own; what is below it no runtime can reach that makes these calls.
"""

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

from harness.errors import HarnessError
from harness.runtime.image import Image
from harness.runtime.replay import CHANNEL_ENDS, Child, undone
from harness.runtime.step import Plan
from harness.runtime.table import Table

SOURCE = Path(__file__).with_suffix(".c")
COMPILERS = ("cc", "gcc", "clang")
HEADER = struct.Struct("=11Q")
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
    tables = (Table(plan.before), child.table, Table(undone(plan.before)))
    image = Image(tables)
    given = [*child.streams, *(child.table.given[name] for name in CHANNEL_ENDS)]
    words = [*(table.words for table in tables), *(word for word, *_ in given)]
    places = [image.place(ctypes.addressof(word)) for word in words]
    header = HEADER.pack(len(image.memory), len(image.relocations), child.flags & CLONE_FLAGS, *places)
    return header + image.memory + struct.pack(f"={len(image.relocations)}Q", *image.relocations)
