"""Asks for the mounts of other mount namespaces by their number: listmount(2)."""

from __future__ import annotations

import struct

import _kernel

LSMT_ROOT = 0xFFFF_FFFF_FFFF_FFFF
FIRST = range(1, 65)
AT_MOST = 256


def observe(host: int) -> dict[str, object]:
    """Report the outcomes for `own` namespace and for the `host`'s, whose number this is, and which of the machine's
    `first` ones showed their mounts.

    Namespaces are numbered in the order in which they are made, so the machine's first ones have small numbers.
    """
    return {
        "own": _list(0),
        "host": _list(host),
        "first": [number for number in FIRST if _list(number)["errno"] is None],
    }


def _list(number: int) -> dict[str, object]:
    # struct mnt_id_req, of MNT_ID_REQ_SIZE_VER1 bytes
    request = bytearray(struct.pack("=IIQQQ", 32, 0, LSMT_ROOT, 0, number))
    return _kernel.attempt_syscall("listmount", request, bytearray(8 * AT_MOST), AT_MOST, 0)
