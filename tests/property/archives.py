"""Archives of images as somebody hostile writes them, for the tests of `harness.image`."""

import bz2
import gzip
import json
import lzma
import tarfile
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

from tests.property.hostile import mutated
from tests.unit.test_image import layout, tar

OUTSIDE = "/tmp"  # where what must stay as it is lies, for whoever unpacks
NAMES = (
    *("a", "b", "a/b", "a/b/c", "dir/", "./a", "//a", "/a", ".", "/", "", "a/./b", "a//b", "ü", "x" * 101, "y" * 300),
    *("../a", "a/../..", "..", "a/..", f"../..{OUTSIDE}/secret", f"{OUTSIDE}/secret", "a\n\x1b[2Jb", "\udcff", "-x"),
    *(".wh.a", "a/.wh.b", ".wh..wh..opq", "a/.wh..wh..opq", ".wh.", ".wh..", ".wh...", ".wh..wh.plnk", "dir/.wh.x"),
    *("proc/self/root/a", "etc/passwd", "usr/lib/python3.11/encodings/hostile.py", "/".join("d" * 120)),
)
LINKS = (
    "a",
    "b",
    "a/b",
    "/",
    ".",
    "..",
    "../../..",
    OUTSIDE,
    f"{OUTSIDE}/secret",
    f"..{OUTSIDE}",
    "/proc/self/root",
    "",
)
TYPES = st.sampled_from([bytes([number]) for number in b"0000005555522221134567SKLgxXVZ\0\xff"])
NUMBERS = (0, 1, 0o644, 0o4755, 0o7777, 1000, -1, 2**31, 2**32 - 1, 2**33, 2**55, -(2**55), 1 << 30)
VALUES = (
    *(
        "",
        "0",
        "-1",
        "1",
        "nan",
        "inf",
        "1e400",
        "a",
        "../x",
        f"{OUTSIDE}/x",
        "a\0b",
        "\udcff",
        "9" * 30,
        "9" * 50,
        "x=y",
    ),
    *("0,1,2", "1,512", "-512,512", "0," * 50, "1.5", "BINARY", "a/b", "x" * 600, "9" * 50),
)
KEYS = (
    *("path", "linkpath", "size", "mtime", "uid", "gid", "uname", "hdrcharset", "comment", "x", "charset", "atime"),
    *("GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.realsize"),
    *("GNU.sparse.name", "GNU.sparse.offset", "GNU.sparse.numbytes", "GNU.sparse.numblocks"),
    *("SCHILY.xattr.security.capability", "SCHILY.xattr.user.x", "SCHILY.acl.access"),
)
COMPRESSIONS: st.SearchStrategy[Callable[[bytes], bytes]] = st.sampled_from(
    [bytes, bytes, gzip.compress, bz2.compress, lzma.compress]
)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % tarfile.BLOCKSIZE)


def header(name: str, kind: bytes, **fields: Any) -> bytes:
    """The first block of a member, or several where the name is long; numbers may be of any size."""
    member = tarfile.TarInfo(name)
    member.type = kind
    for key, value in fields.items():
        setattr(member, key, value)
    if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, *b"xg"):
        member.name = name[:90]
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def record(key: str, value: str) -> bytes:
    """A record of a pax header, as long as it says."""
    rest = f" {key}={value}\n".encode("utf-8", "surrogateescape")
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def pax(records: Iterable[bytes], kind: bytes = tarfile.XHDTYPE) -> bytes:
    data = b"".join(records)
    return header("pax", kind, size=len(data)) + padded(data)


RECORDS = st.lists(
    st.builds(record, st.sampled_from(KEYS), st.sampled_from(VALUES))
    | st.sampled_from(
        [b"1 a=b\n", b"99 a=b\n", b"0 a=\n", b"3 =\n", b"a=b\n", b"11 \xff=\xff\xfe\xfd\n", b"5 a\n", b"\n"]
    ),
    max_size=4,
)


@st.composite
def members(draw: st.DrawFn) -> bytes:
    """A member with its header and its data, of which the header need not tell the truth."""
    if draw(st.integers(0, 5)) == 0:
        return pax(draw(RECORDS), draw(st.sampled_from([b"x", b"x", b"g", b"X"])))
    data = draw(st.sampled_from([b"", b"text", bytes(600), b"1\n0\n512\n" + bytes(504)]))
    numbers = st.sampled_from(NUMBERS)
    fields: dict[str, Any] = {"size": len(data), "linkname": draw(st.sampled_from(LINKS))}
    for key in draw(
        st.lists(st.sampled_from(["size", "mode", "uid", "gid", "mtime", "devmajor", "devminor"]), max_size=2)
    ):
        fields[key] = draw(numbers)
    return header(draw(st.sampled_from(NAMES)), draw(TYPES), **fields) + padded(data)


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """An archive, good or damaged, that may be compressed."""
    pieces = draw(st.lists(members(), max_size=6))
    if pieces and draw(st.integers(0, 3)) == 0:
        pieces.append(draw(st.sampled_from(pieces)))
    data = b"".join(pieces) + draw(st.sampled_from([bytes(1024), bytes(1024), bytes(512), b"", b"garbage" * 80]))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from([b"", b"\0", b"\xff", b"8", bytes(512)])) + data[at + 1 :]
    compressed = draw(COMPRESSIONS)(data)
    return compressed[: draw(st.integers(0, len(compressed)))] if draw(st.integers(0, 7)) == 0 else compressed


@st.composite
def images(draw: st.DrawFn) -> dict[str, bytes]:
    """The files of an OCI layout or of what `docker save` writes, with something in them changed."""
    layers = draw(st.lists(tars(), max_size=2))
    if draw(st.booleans()):
        files = layout(*layers)
        index = json.loads(files["index.json"])
        digest = index["manifests"][0]["digest"].removeprefix("sha256:")
        for name, document in {
            "index.json": index,
            f"blobs/sha256/{digest}": json.loads(files[f"blobs/sha256/{digest}"]),
        }.items():
            if draw(st.booleans()):
                files[name] = json.dumps(draw(mutated(st.just(document), most=2))).encode()
    else:
        names = [f"{number}/layer.tar" for number in range(len(layers))]
        manifest = [{"Config": "c.json", "RepoTags": ["a:b"], "Layers": names}]
        files = dict(zip(names, layers, strict=True))
        files["manifest.json"] = json.dumps(draw(mutated(st.just(manifest), most=1))).encode()
    if draw(st.integers(0, 5)) == 0:
        del files[draw(st.sampled_from(sorted(files)))]
    return files


def archived(files: dict[str, bytes]) -> bytes:
    return tar(files.items())
