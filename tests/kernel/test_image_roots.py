"""Images as roots of containers: what is unpacked, what is kept inside, and that containers run on any libc or none."""

import os
import shutil
import signal
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness import image, outer
from harness.errors import HarnessError
from harness.language import Container
from harness.launches import config
from harness.shapes import COMMAND
from tests.unit.test_image import Member, archived, layout, link, tar

pytestmark = pytest.mark.usefixtures("needs_namespaces")
SHELL = ["/bin/sh", "-c", '"$@"', "sh"]
Roots = Callable[[str], Path]


def inside(name: str, **arguments: Any) -> dict[str, Any]:
    return {"probe": name, "args": arguments, "deadline": 10.0}


def look(path: Path | None, args: list[str], planted: dict[str, Any], **observe: Any) -> dict[str, Any]:
    """What is seen in a container that begins with an image, and what is planted over it."""
    wanted = config(Container(readonly=False, oci={"process": {"args": [*args, COMMAND]}}))
    request = {"runtime": "builtin", "config": wanted, "image": planted, "inside": {"init": inside("init"), **observe}}
    with outer.start(image.find(str(path)) if path else None) as sandbox:
        answer = sandbox.run(request, 30.0)
    assert answer["start"]["ran"], answer["start"]
    assert answer["start"]["status"] == 0
    return {name: entry["facts"] for name, entry in answer["inside"].items()}


def copied(program: str, root: Path) -> None:
    """Copy a program of this machine to a root, with the libraries that it names."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    for file in [program, *(word for word in said.split() if word.startswith("/"))]:
        (root / file.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(file), root / file.lstrip("/"))


@pytest.fixture
def roots(place: Path, missing: Callable[[str], NoReturn]) -> Roots:
    """A root of each kind: with busybox and musl's loader, with a shell of this machine's own, and with nothing."""

    def root(kind: str) -> Path:
        path = place / kind
        path.mkdir()
        if kind == "musl":
            loaders = list(Path("/lib").glob("ld-musl-*.so.1"))
            if not loaders or not os.path.exists("/bin/busybox"):
                missing("busybox or musl is not installed (Debian's packages busybox-static and musl)")
            for folder in ("bin", "lib"):
                (path / folder).mkdir()
            shutil.copy(loaders[0], path / "lib")
            shutil.copy("/bin/busybox", path / "bin/sh")
        elif kind == "glibc":
            copied("/bin/sh", path)
        if kind != "empty":
            (path / "etc").mkdir()
            (path / "etc/motd").write_text("hello\n")
            (path / "var").symlink_to("/nowhere")
        return path

    return root


@pytest.mark.parametrize("form", ["directory", "archive"])
@pytest.mark.parametrize("kind", ["musl", "glibc", "empty"])
def test_a_container_runs_on_any_root(kind: str, form: str, roots: Roots, place: Path) -> None:
    root = path = roots(kind)
    if form == "archive":
        path = place / "root.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(root, ".")
    before = image.find(str(path))
    planted = {"files": {"/etc/planted": "", "/var/lib/planted": ""}}
    seen = look(
        path,
        SHELL if kind != "empty" else [],
        planted,
        root=inside("listing", path="/"),
        etc=inside("listing", path="/etc"),
        var=inside("listing", path="/var/lib"),
        made=inside("create_file", path="/etc/made"),
        kit=inside("create_file", path="/isoproof/made"),
    )
    assert {"dev", "proc", "sys", "tmp", "isoproof", "etc"} <= set(seen["root"]["entries"])
    assert ("bin" in seen["root"]["entries"]) == (kind != "empty")
    assert seen["etc"]["entries"] == (["planted"] if kind == "empty" else ["motd", "planted"])
    assert seen["var"]["entries"] == ["planted"]  # laid over the link, and not behind it
    assert seen["made"]["errno"] is None
    assert seen["kit"]["errno"] == "EROFS"
    assert image.find(str(path)) == before


def test_no_path_of_the_host_shows_in_the_table_of_mounts(roots: Roots) -> None:
    seen = look(roots("glibc"), [], {}, mounts=inside("mounts"))
    [root] = [mount for mount in seen["mounts"]["mounts"] if mount["point"] == "/"]
    assert {"lowerdir=lower", "upperdir=upper", "workdir=work"} <= set(root["super_options"])


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[..., Path]:
    """Unpack layers, from below, and return where."""

    def unpack(*layers: list[Member], layered: bool = False) -> Path:
        path = tmp_path / "image.tar"
        if len(layers) == 1 and not layered:
            path.write_bytes(tar(layers[0]))
        else:
            archived(path, layout(*(tar(layer) for layer in layers)))
        found = image.find(str(path))
        image.check(found)
        target = tmp_path / "root"
        image.provide(found, target)
        return target

    return unpack


@pytest.mark.usefixtures("needs_root")
def test_all_that_an_image_has_is_unpacked(unpacked: Callable[..., Path]) -> None:
    capability = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    attributes = {"SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape")}
    root = unpacked(
        [
            ("./", {"type": tarfile.DIRTYPE, "mode": 0o755}),
            ("./bin/su", {"mode": 0o4755, "uid": 0}),
            ("bin/ping", {"mode": 0o755, "pax_headers": attributes}),
            ("/home/user/file", {"uid": 1000, "gid": 1001, "mode": 0o640, "mtime": 1_000_000_000}),
            ("etc/mtab", link("/proc/self/mounts")),
            ("bin/su2", link("bin/su", tarfile.LNKTYPE)),
            ("dev/null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "mode": 0o666}),
            ("run/pipe", {"type": tarfile.FIFOTYPE}),
            ("tmp", {"type": tarfile.DIRTYPE, "mode": 0o1777}),
            (".wh.file", b"a name like any other, where there are no layers"),
        ]
    )
    assert stat.filemode((root / "bin/su").stat().st_mode) == "-rwsr-xr-x"
    assert (root / "bin/su2").stat().st_ino == (root / "bin/su").stat().st_ino
    assert os.getxattr(root / "bin/ping", "security.capability") == capability
    file = (root / "home/user/file").stat()
    assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode), file.st_mtime) == (1000, 1001, 0o640, 1_000_000_000)
    assert os.readlink(root / "etc/mtab") == "/proc/self/mounts"
    assert (root / "dev/null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((root / "run/pipe").stat().st_mode)
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert (root / ".wh.file").exists()


@pytest.mark.usefixtures("needs_root")
def test_layers_lie_over_each_other(unpacked: Callable[..., Path]) -> None:
    root = unpacked(
        [
            ("etc/removed", b"1"),
            ("etc/kept", b"1"),
            ("etc/file", b"1"),
            ("opaque/old", b"1"),
            ("opaque/deep/old", b"1"),
            ("becomes-file/x", b"1"),
            ("becomes-folder", b"1"),
            ("link", link("etc/kept")),
            ("usr/lib/a", b"1"),
            ("lib", link("usr/lib")),
        ],
        [
            ("opaque/new", b"2"),
            ("opaque/.wh..wh..opq", b""),
            ("etc/.wh.removed", b""),
            ("etc/.wh.absent", b""),
            (".wh..wh.plnk", b""),
            ("etc/file", b"2"),
            ("becomes-file", b"2"),
            ("becomes-folder", {"type": tarfile.DIRTYPE}),
            ("becomes-folder/x", b"2"),
            ("link", b"2"),
            ("lib/b", b"2"),
        ],
        [("becomes-folder/x", b"3")],
    )
    found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    assert found == {
        "etc/kept": "1",
        "etc/file": "2",
        "opaque/new": "2",
        "becomes-file": "2",
        "becomes-folder/x": "3",
        "link": "2",
        "usr/lib/a": "1",
        "usr/lib/b": "2",
    }


@pytest.mark.usefixtures("needs_root")
def test_a_single_layer_has_no_files_that_remove_others(unpacked: Callable[..., Path]) -> None:
    assert os.listdir(unpacked([("a", b"1"), (".wh.b", b""), (".wh..wh..opq", b"")], layered=True)) == ["a"]


@pytest.mark.usefixtures("needs_root")
def test_links_lead_nowhere_but_into_the_image(unpacked: Callable[..., Path], tmp_path: Path) -> None:
    """cve-2014-9357-unpack: links of a layer, symbolic and hard, and then files behind them, as root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    climbing = "../" * 30 + str(outside).lstrip("/")
    root = unpacked(
        [
            *((f"{outside}".lstrip("/") + "/here", content) for content in (b"in the image",)),
            ("absolute", link(str(outside))),
            ("absolute/planted", b"x"),
            ("climbing", link(climbing)),
            ("climbing/planted2", b"x"),
            ("hard", link(f"{outside}/here", tarfile.LNKTYPE)),
            ("absolute/here", b"overwritten"),
        ]
    )
    assert sorted(os.listdir(outside)) == ["secret"]
    below = root / str(outside).lstrip("/")
    assert sorted(os.listdir(below)) == ["here", "planted", "planted2"]
    assert (root / "hard").read_text() == "in the image"


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([("a", link("/nowhere")), ("a/b", b"x")], "File exists"),
        ([("a", b"x"), ("a/b", b"x")], "Not a directory"),
        ([("a", link("b", tarfile.LNKTYPE))], "No such file or directory"),
    ],
)
def test_what_cannot_be_unpacked_is_said(unpacked: Callable[..., Path], members: list[Member], complaint: str) -> None:
    with pytest.raises(HarnessError, match=rf"^unpack image .*/image\.tar: .*{complaint}"):
        unpacked(members)


@pytest.mark.usefixtures("needs_root")
def test_an_image_is_not_there_where_nobody_says_that_it_is_unpacked(
    unpacked: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The OOM killer takes whoever unpacks one that is too large."""
    monkeypatch.setattr(image, "_unpack", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(HarnessError, match=r"^unpack image .*/image\.tar: it ended without a word$"):
        unpacked([("a", b"x")])


def test_an_image_that_is_damaged_meanwhile_is_one_line(place: Path) -> None:
    path = place / "root.tar"
    path.write_bytes(tar([("a", b"x")]))
    found = image.find(str(path))
    path.write_bytes(b"no archive")
    with pytest.raises(HarnessError, match=rf"^unpack image {path}: "), outer.start(found):
        pass
