"""Images for `--rootfs`: which form one has, what is refused with one line, and what a digest tells."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import platform
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from harness import archive, image
from harness.errors import BadInput

Member = tuple[str, bytes | dict[str, Any]]
MACHINE = image.MACHINES.get(platform.machine(), platform.machine())


def tar(members: Iterable[Member]) -> bytes:
    """A tar archive: each member is a file with a text, or has other attributes of a TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else b""
            member.size = len(data)
            for key, value in content.items() if isinstance(content, dict) else ():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> dict[str, Any]:
    return {"type": kind, "linkname": target}


def blobs(parts: Iterable[bytes]) -> dict[str, bytes]:
    return {f"blobs/sha256/{hashlib.sha256(part).hexdigest()}": part for part in parts}


def descriptor(part: bytes, **others: Any) -> dict[str, Any]:
    return {"digest": f"sha256:{hashlib.sha256(part).hexdigest()}", "size": len(part), **others}


def layout(*layers: bytes, platforms: tuple[str, ...] = ("",)) -> dict[str, bytes]:
    """The files of an OCI layout whose index has an image for each platform, with different layers but for one."""
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'} | blobs(layers)
    entries = []
    for number, architecture in enumerate(platforms):
        manifest = json.dumps(
            {"layers": [descriptor(layer) for layer in layers], "annotations": {"n": number}}
        ).encode()
        files |= blobs([manifest])
        wanted = {"platform": {"os": "linux", "architecture": architecture}} if architecture else {}
        entries.append(descriptor(manifest, **wanted))
    return files | {"index.json": json.dumps({"manifests": entries}).encode()}


def written(directory: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return str(directory)


def archived(path: Path, files: dict[str, bytes]) -> str:
    path.write_bytes(tar(files.items()))
    return str(path)


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["none", "gzip", "bzip2", "xz"]
)
def test_an_archive_of_any_compression(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "root"
    data = compress(tar([("./", {"type": tarfile.DIRTYPE}), ("./bin/sh", b"#!"), ("/etc/motd", b"hello")]))
    path.write_bytes(data)
    found = image.find(str(path))
    assert found == image.Image(str(path), "archive", f"sha256:{hashlib.sha256(data).hexdigest()}")
    image.check(found)


def test_an_oci_layout_as_a_folder_and_as_an_archive(tmp_path: Path) -> None:
    files = layout(tar([("a", b"1")]), gzip.compress(tar([("b", b"2")])))
    folder = image.find(written(tmp_path / "layout", files))
    archive = image.find(archived(tmp_path / "archive.tar", files))
    assert (folder.form, archive.form) == ("OCI layout", "OCI archive")
    assert folder.digest == archive.digest
    assert folder.digest.removeprefix("sha256:") in "".join(files)
    image.check(folder)
    image.check(archive)


def test_of_several_platforms_it_is_this_machines(tmp_path: Path) -> None:
    files = layout(tar([("a", b"1")]), platforms=("riscv64", MACHINE))
    digest = json.loads(files["index.json"])["manifests"][1]["digest"]
    assert image.find(written(tmp_path, files)).digest == digest


def test_an_archive_of_docker(tmp_path: Path) -> None:
    manifest = [{"Config": f"{'c' * 64}.json", "RepoTags": ["a:b"], "Layers": ["x/layer.tar"]}]
    files = {"x/layer.tar": tar([("a", b"1")]), "manifest.json": json.dumps(manifest).encode()}
    found = image.find(archived(tmp_path / "image.tar", files))
    assert (found.form, found.digest) == ("Docker archive", f"sha256:{'c' * 64}")
    image.check(found)
    assert str(found) == f"{found.path} (Docker archive, {found.digest})"


def test_the_digest_of_a_directory_is_that_of_its_contents(tmp_path: Path) -> None:
    for name in ("one", "two"):
        written(tmp_path / name, {"bin/sh": b"#!", "etc/motd": b"hello"})
        (tmp_path / name / "bin/bash").symlink_to("sh")
    one, two = (image.find(str(tmp_path / name)) for name in ("one", "two"))
    assert one.form == "directory"
    assert one.digest == two.digest != ""
    (tmp_path / "two/etc/motd").write_text("hallo")
    assert image.find(str(tmp_path / "two")).digest != one.digest
    image.check(one)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([("../../etc/passwd", b"x")], "'../../etc/passwd': a name with '..' leads out of the image"),
        ([("a/../../b", b"x")], "'a/../../b': a name with '..' leads out of the image"),
        ([("a", link("../../etc/shadow", tarfile.LNKTYPE))], "a hard link with '..' leads out of the image"),
        ([("a", {"type": b"V"})], "'a': a member of unknown type b'V'"),
        ([(f"{number}", b"") for number in range(6)], "it has more than 5 members"),
        ([("a", b"x" * 60), ("b", b"x" * 60)], "it is larger than 0 MiB when it is unpacked"),
    ],
)
def test_what_no_image_has_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[Member], complaint: str
) -> None:
    monkeypatch.setattr(archive, "MOST", 5)
    monkeypatch.setattr(archive, "LARGEST", 100)
    path = tmp_path / "root.tar"
    path.write_bytes(tar(members))
    with pytest.raises(BadInput) as raised:
        image.check(image.find(str(path)))
    assert str(raised.value).startswith(f"--rootfs {path}: ")
    assert str(raised.value).endswith(complaint)
    assert "\n" not in str(raised.value)


def test_what_an_image_may_have_is_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    members: list[Member] = [
        ("bin/su", {"mode": 0o4755}),
        ("etc/mtab", link("/proc/self/mounts")),
        ("bin", link("usr/bin")),
        ("bin/through", b"x"),
        ("up", link("../../..")),
        ("dev/null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
        ("run/pipe", {"type": tarfile.FIFOTYPE}),
        ("bin/hard", link("bin/su", tarfile.LNKTYPE)),
    ]
    path.write_bytes(tar(members))
    image.check(image.find(str(path)))


def test_a_header_that_says_it_is_long_is_not_read(tmp_path: Path) -> None:
    """A few bytes, compressed, that tarfile would take into memory whole: the name of the next member."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 24
    path = tmp_path / "root.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 24)))
    with pytest.raises(BadInput, match=r": a header is longer than 1024 KiB$"):
        image.find(str(path))


def broken_layer() -> dict[str, bytes]:
    files = layout(tar([("a", b"1")]))
    [name] = blobs([tar([("a", b"1")])])
    return files | {name: tar([("a", b"2")])}


def with_index(**index: Any) -> dict[str, bytes]:
    return layout() | {"index.json": json.dumps(index).encode()}


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (broken_layer(), "its digest is sha256:"),
        (layout(b"\x28\xb5\x2f\xfd zstd"), "is compressed by zstd, which this cannot read"),
        (layout(b"no archive at all"), "it cannot be read as an image: "),
        (layout(gzip.compress(tar([("a", b"1" * 9999)]))[:-30]), "it cannot be read as an image: "),
        (layout(tar([]), platforms=(MACHINE, MACHINE)), "it holds 2 images for this machine; one is wanted"),
        (layout(tar([]), platforms=("riscv64",)), "it holds 0 images for this machine; one is wanted"),
        (with_index(manifests=[{"digest": "sha256:../../../etc/shadow"}]), "is no digest that this can read (sha256)"),
        (with_index(manifests=[{"digest": f"sha256:{'0' * 64}"}]), "No such file or directory"),
        (with_index(manifests=7), "it cannot be read as an image: "),
        (with_index(), "there is no manifests in it"),
        ({"oci-layout": b"{}", "index.json": b"[" * 9999}, "it cannot be read as an image: "),
    ],
)
def test_a_broken_layout_is_one_line(tmp_path: Path, files: dict[str, bytes], complaint: str) -> None:
    path = written(tmp_path, files)
    with pytest.raises(BadInput) as raised:
        image.check(image.find(path))
    assert str(raised.value).startswith(f"--rootfs {path}: ")
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_images_in_one_archive_of_docker(tmp_path: Path) -> None:
    files = {"manifest.json": json.dumps([{"Layers": []}, {"Layers": []}]).encode()}
    with pytest.raises(BadInput, match="it holds 2 images; save one alone"):
        image.find(archived(tmp_path / "image.tar", files))


def test_what_is_no_image(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = tmp_path / "text"
    text.write_text("hello")
    for path, complaint in (
        (tmp_path / "absent", "No such file or directory"),
        (pipe, "it is neither a directory nor a file"),
        (text, "it cannot be read as an image: "),
        (Path("/dev/shm"), "/dev/shm is not to be seen in the sandboxes; use a copy elsewhere"),
    ):
        with pytest.raises(BadInput, match=complaint):
            image.find(str(path), hidden=("dev", "proc"))
