"""Whatever somebody offers as an image: it is refused with one line, or lies within its directory; and soon."""

import functools
import gzip
import io
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import archive, image
from harness.errors import BadInput, HarnessError
from harness.runtime.syscalls import AT, AT_FDCWD, MOUNT_ATTR, MS, invoke, mount_attr
from tests.kernel.throwaway import in_throwaway
from tests.property.archives import OUTSIDE, archived, header, images, pax, record, tars
from tests.property.hostile import assert_lines, in_time
from tests.unit.test_image import descriptor, written

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

PATIENCE = 20  # seconds for one image, on a machine that is busy
END = bytes(1024)


def refused(path: Path) -> str:
    """What is said of an image when the session begins, if it is refused."""
    try:
        with in_time(PATIENCE):
            image.check(image.find(str(path)))
    except BadInput as error:
        said = str(error)
        assert said.startswith(f"--rootfs {path}: ")
        assert_lines(said)
        assert "\n" not in said
        return said
    return ""


@given(tars() | images().map(archived) | st.binary(max_size=600))
def test_any_archive_is_taken_or_refused_with_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("image") / "image.tar"
    path.write_bytes(data)
    refused(path)


@given(images())
def test_any_folder_is_taken_or_refused_with_one_line(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    path = tmp_path_factory.mktemp("image")
    written(path, files | {"oci-layout": b"{}"})
    refused(path)


def sparse(extended: bytes) -> bytes:
    """A member whose header says that it goes on, in GNU's old format for files with holes."""
    block = bytearray(header("a", tarfile.GNUTYPE_SPARSE))
    block[482] = 1
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + extended


IMPOSSIBLE = {
    "a time": header("a", b"0", mtime=2**62),
    "a time that is no number": pax([record("mtime", "nan")]) + header("a", b"0"),
    "a time without an end": pax([record("mtime", "inf")]) + header("a", b"0"),
    "an owner": header("a", b"0", uid=2**40),
    "an owner below nothing": header("a", b"0", gid=-1),
    "a device": header("a", b"3", devmajor=2**40),
    "a name": pax([record("path", "a\0b")]) + header("a", b"0"),
    "a link": pax([record("linkpath", "a\0b")]) + header("a", b"2"),
}
BOMBS = {
    "records that overlap": pax([b"2 " * 50_000 + b"="]) + header("a", b"0"),
    "a number without an end": pax([record("x", "1" * 100_000)]) + header("a", b"0"),
    "as many records as can be": pax(record(f"k{n}", "") for n in range(200_000)) + header("a", b"0"),
    "records for all that come": pax((record(f"k{n}", "") for n in range(50_000)), b"g")
    + b"".join(header(f"a{n}", b"0") for n in range(100)),
    "a header after the other": pax([record("a", "b")]) * 5000 + header("a", b"0"),
    "long records, one after the other": pax([record("x", "y" * 500_000)]) * 40 + header("a", b"0"),
    "holes without end": sparse((b"00000000001\0" * 42 + b"\1" + bytes(7)) * 100_000),
    "a map of holes without end": pax([record("GNU.sparse.major", "1"), record("GNU.sparse.minor", "0")])
    + header("a", b"0", size=1 << 30)
    + b"1" * 20_000_000,
    "a long way to the next header": header("a", tarfile.GNUTYPE_SPARSE, size=1 << 60) + bytes(30_000_000),
    "a name without an end": header("a", tarfile.GNUTYPE_LONGNAME, size=1 << 40) + b"x" * 10_000_000,
    "larger than an image": header("a", b"0", size=1 << 40) + bytes(30_000_000),
    "a size below nothing": header("a", b"0", size=-1024),
    "a size below nothing in a record": pax([record("size", "-1024")]) + header("a", b"0"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_made_is_refused_when_the_session_begins(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(IMPOSSIBLE[name] + END)
    assert "that cannot be" in refused(path) or "a NUL in it" in refused(path)


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(archived({"manifest.json": b'[{"Config": "c.json", "Layers": ["0/layer.tar"]}]'}))
    assert refused(path).endswith(": there is no 0/layer.tar in it")


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image.tar.gz"
    path.write_bytes(gzip.compress(BOMBS[name] + END, 1))
    assert refused(path), "it is taken"


@pytest.mark.parametrize("name", ["index.json", f"blobs/sha256/{'0' * 64}"])
@pytest.mark.parametrize("kind", ["fifo", "endless", "loop", "directory"])
def test_nobody_waits_for_a_part_that_is_no_file(kind: str, name: str, tmp_path: Path) -> None:
    manifest = b'{"layers": [{"digest": "sha256:%s"}]}' % (b"0" * 64)
    index = b'{"manifests": [{"digest": "%s"}]}' % descriptor(manifest)["digest"].encode()
    blob = f"blobs/sha256/{descriptor(manifest)['digest'].removeprefix('sha256:')}"
    written(tmp_path, {"oci-layout": b"{}", "index.json": index, blob: manifest})
    place = tmp_path / name
    place.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to({"endless": "/dev/zero", "loop": place.name}[kind])
    assert refused(tmp_path)


def test_nobody_unpacks_what_lies_beyond_the_end_of_any_image() -> None:
    """On the way to the next header all of it would be: a kilobyte of gzip is a mebibyte of zeros."""
    with pytest.raises(BadInput, match=r"^it is larger than 2048 MiB when it is unpacked$"):
        archive.Bounded(io.BytesIO()).seek(1 << 33)


def test_what_is_behind_the_members_of_a_damaged_archive_is_not_lost_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(header("a", b"0") + b"no header at all".ljust(512, b"!") + header("b", b"0") + END)
    assert refused(path).endswith("it is damaged: behind its members is what is no header")


def provided(data: bytes) -> tuple[str, list[str], list[str]]:
    """Unpack an image as root, where nothing but one directory can be written.

    Return what is said if it cannot be done, what has changed outside, and what within is more than it seems.
    """
    read_only = mount_attr(MOUNT_ATTR.RDONLY, 0, MS(0))
    work, outside = Path("/var/tmp"), Path(OUTSIDE)
    invoke("mount_setattr", AT_FDCWD, b"/", AT.RECURSIVE, read_only, len(read_only))
    for place in (work, outside):
        invoke("mount", b"tmpfs", bytes(place), b"tmpfs", 0, b"size=64m,mode=755")
    (outside / "secret").write_text("secret")
    path = work / "image.tar"
    path.write_bytes(data)
    before = looked_at(outside)
    _refuse_imports_below_another_root()
    said = ""
    target = work / "root"
    try:
        with in_time(PATIENCE):
            image.provide(image.find(str(path)), target)
    except (BadInput, HarnessError) as error:
        said = str(error)
    strange = [
        str(entry)
        for entry in target.rglob("*")
        if not entry.is_symlink() and entry.stat().st_dev != target.stat().st_dev
    ]
    changed = list(set(before) ^ set(looked_at(outside))) + sorted({*os.listdir(work)} - {"image.tar", "root"})
    return said, changed, strange


def looked_at(directory: Path) -> list[str]:
    return [f"{path} {path.lstat()}" for path in (directory, *directory.rglob("*"))]


def _refuse_imports_below_another_root() -> None:
    """Below the image's root, a module would be one of the image's."""
    chroot, roots = os.chroot, []

    def noted(path: Any) -> None:
        chroot(path)
        roots.append(path)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" and roots:
            raise AssertionError(f"imports {arguments[0]} below the image's root")

    os.chroot = noted
    sys.addaudithook(hook)


@pytest.mark.usefixtures("needs_root", "needs_namespaces")
@settings(max_examples=50)  # a process, its namespaces and their mounts for each
@given(tars() | images().map(archived))
@example(header("tmp/secret", b"0") + header("a", b"2", linkname="/tmp") + header("a/secret", b"0") + END)
@example(header("a", b"2", linkname="/tmp/secret") + header("b", b"1", linkname="a") + header("b", b"0") + END)
def test_an_image_lies_within_its_directory_whatever_it_is(data: bytes) -> None:
    said, changed, strange = in_throwaway(functools.partial(provided, data))
    assert_lines(said or "-")
    assert "\n" not in said
    assert "AssertionError" not in said
    assert (changed, strange) == ([], [])
