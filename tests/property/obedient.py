"""The program in the containers of test_lives.py, which does what it is told, as the test speaks to it.

It is made from `obedient.c`. Orders and answers are messages on a socket, which is its standard input and output.
"""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from harness import floor

SOURCE = Path(__file__).with_suffix(".c")
LONGEST_ANSWER = 1 << 16
PATIENCE = 5.0  # seconds; who has not answered by then does not


def build(program: Path, missing: Callable[[str], NoReturn]) -> None:
    """Compile the program; skip where that cannot be done."""
    compiler = floor.compiler() or missing("no C compiler is installed")
    done = subprocess.run([compiler, "-O2", "-static", "-o", program, SOURCE], capture_output=True, text=True)
    if done.returncode != 0:
        missing(f"{SOURCE.name} cannot be compiled: {done.stderr}")


class EndedError(Exception):
    """A program has ended instead of doing as it was told."""


class Obedient:
    """One of these programs. It ends when nobody has the test's end of its socket any more."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._socket.settimeout(PATIENCE)

    def order(self, order: str) -> None:
        """Give an order that will not be answered."""
        self._socket.send(order.encode())

    def ask(self, *orders: str) -> list[str]:
        """Give orders and return the answers. Raises EndedError."""
        try:
            self._socket.send("\n".join(orders).encode())
            answer = self._socket.recv(LONGEST_ANSWER)
        except ConnectionError:
            answer = b""
        if not answer:
            raise EndedError(", ".join(orders))
        return answer.decode().split("\0")[:-1]

    def close(self) -> None:
        """Say nothing any more."""
        self._socket.close()
