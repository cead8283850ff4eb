"""Machine instructions from their source: the assembler of this machine, or of another."""

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

Missing = Callable[[str], NoReturn]


def tool(name: str, machine: str, missing: Missing) -> str:
    found = name if os.uname().machine == machine else f"{machine}-linux-gnu-{name}"
    if not shutil.which(found):
        missing(
            f"{found} is not installed; Debian has it in binutils, or binutils-{machine.replace('_', '-')}-linux-gnu"
        )
    return found


def assembled(directory: Path, machine: str, source: str, missing: Missing) -> Path:
    assembler = tool("as", machine, missing)
    (directory / "source.s").write_text(source)
    subprocess.run([assembler, "-o", directory / "source.o", directory / "source.s"], check=True)
    return directory / "source.o"


def text_of(file: bytes) -> bytes:
    """Return the first section of an object file that is to be executed: elf(5)."""
    (table,), (size, count) = struct.unpack_from("<Q", file, 40), struct.unpack_from("<HH", file, 58)
    for index in range(count):
        flags, _address, at, length = struct.unpack_from("<4Q", file, table + index * size + 8)
        if flags & 4:
            return file[at : at + length]
    raise AssertionError("no section of instructions")
