"""Fills every writable tmpfs, one after the other: files there are memory."""

from __future__ import annotations

import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

NAME = "isoproof-filling"


def observe(mebibytes: int) -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    """Report in `filled`, for each writable tmpfs, the bytes `written` and what stopped it.

    What stopped it is `errno`, `ended_by`, or neither. The files are removed, then the host looks at what is
    still charged.
    """
    filled: dict[str, object] = {}
    for point in _writable():
        filled[point] = _fill(f"{point}/{NAME}", mebibytes)
    yield {"filled": filled}
    return {"filled": filled}


def _fill(path: str, mebibytes: int) -> dict[str, object]:
    try:
        return _kernel.fill(_one_file(path, mebibytes))
    finally:
        os.unlink(path)


def _writable() -> list[str]:
    return [point for point in _kernel.mount_points("tmpfs") if _can_create(f"{point}/{NAME}")]


def _can_create(path: str) -> bool:
    return _kernel.attempt_open(path, os.O_CREAT | os.O_WRONLY)["errno"] is None


def _one_file(path: str, times: int) -> Iterator[int]:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    for _ in range(times):
        yield file
