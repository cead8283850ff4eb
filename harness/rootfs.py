"""The smallest tree in which a probe can run, and the probe kit that is mounted into it.

The kit is an interpreter with its own loader, its shared libraries, the part of the standard library that the probes
import, and the probes. It needs nothing of the image: an empty root, busybox and musl serve it alike.

What belongs to it is not guessed from package lists: the interpreter itself, started once with every module
that the probe sources name, tells which files it has loaded (dl_iterate_phdr(3) names each library as the
loader looked it up, whatever the loader's search rules were). Modules are stored compiled, so a start in the
container compiles nothing, writes nothing and looks for no source.
"""

import ast
import atexit
import contextlib
import errno
import functools
import hashlib
import json
import os
import py_compile
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness import bait
from harness.elf import keeper_program, status_program
from harness.errors import HarnessError
from harness.runtime.fields import CAPABILITIES
from harness.runtime.syscalls import MS

KIT = "/isoproof"
VFS_CAP_REVISION_2, VFS_CAP_EFFECTIVE = 0x02000000, 1
DIRECTORIES = ["dev", "etc", "isoproof", "proc", "root", "sys", "tmp"]
UNUSED_AFTER = 24 * 3600  # seconds: kits that no run has touched since are removed when a new one is built

# Prints what an interpreter that imports the given modules consists of.
INVENTORY = """
import ctypes, os, sys

for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        pass  # not built into this interpreter; a probe that needs it reports the error

modules = sorted({module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)})
libraries = []

class Information(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("name", ctypes.c_char_p)]

@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Information), ctypes.c_size_t, ctypes.c_void_p)
def note(information, size, data):
    libraries.append(os.fsdecode(information.contents.name or b""))
    return 0

ctypes.CDLL(None).dl_iterate_phdr(note, None)

import json
print(json.dumps({
    "executable": os.readlink("/proc/self/exe"), "libraries": libraries, "modules": modules,
    "standard_library": os.path.dirname(os.__file__), "platlibdir": sys.platlibdir,
}))
"""


def command(request: str) -> list[str]:
    """The arguments that run the kit's probes in a container where the kit is mounted at /isoproof."""
    # The loader is named because the one that the executable asks for may not be in the image.
    loader = [f"{KIT}/lib/loader", "--library-path", f"{KIT}/lib"]
    # The compiled runner, not its directory: to run a directory Python needs runpy, which the kit has no use for.
    return [*loader, f"{KIT}/bin/python", "-I", "-S", "-B", "-X", "utf8", f"{KIT}/probes/__main__.pyc", request]


def mount_layer(undo: contextlib.ExitStack, root: Path, image: Path) -> Path:
    """A file system for the tree of a container: at its root, or apart where it will lie over an image."""
    if not image.exists():
        undo.enter_context(_mounted("tmpfs", root, "mode=755,size=64m"))
        return root
    apart = root.with_name("over")
    apart.mkdir()
    undo.enter_context(_mounted("tmpfs", apart, "mode=755,size=64m"))
    for name in ("upper", "work"):
        _make_directory(apart / name)
    return apart / "upper"


def mount_over_image(undo: contextlib.ExitStack, root: Path, layer: Path, image: Path) -> None:
    """Mount the tree of a container, made apart and so through no link of the image, over that.

    The layers have relative names, for a container's mount table shows them. What overlayfs notes down of directories
    that are renamed an ordinary user can only have it note in attributes of users (since Linux 6.6 on a tmpfs).
    """
    (layer.parent / "lower").symlink_to(image)
    notes = "" if os.geteuid() == 0 else ",userxattr"
    with contextlib.chdir(layer.parent):
        undo.enter_context(_mounted("overlay", root, f"lowerdir=lower,upperdir=upper,workdir=work{notes}"))


def _mounted(kind: str, point: Path, options: str) -> contextlib.AbstractContextManager[None]:
    return bait.mounted(kind, point, options, MS(0))  # an image may have devices, and programs that are set-user-ID


def make_rootfs(directory: Path, image: dict[str, Any], below: Path | None = None) -> None:
    """Make the tree of a container: empty mount points, and on top of them what the image plants.

    Where it will lie over another tree, `below`, if that exists, the mount points are only those that are not there.

    `image` has the fields of the scenario language's Image; paths are the container's. Symbolic links come last, so
    nothing is planted through one, and may replace a mount point. Raises HarnessError for a path with `..`.
    """
    for name in DIRECTORIES:
        if below is None or not os.path.lexists(below / name):
            _make_directory(directory / name)
            (directory / name).chmod(0o1777 if name == "tmp" else 0o755)
    for path in image.get("directories", []):
        _make_directory(_inside(directory, path))
    for path, text in image.get("files", {}).items():
        file = _inside(directory, path)
        _make_directory(file.parent)
        file.write_text(text)
        file.chmod(0o644)
    machine = os.uname().machine
    for path in image.get("setuid", []):
        _make_program(_inside(directory, path), status_program(machine)).chmod(0o4755)
    for path, capability in image.get("capable", {}).items():
        program = _make_program(_inside(directory, path), status_program(machine))
        os.setxattr(program, "security.capability", _file_capability(capability))
    for path in image.get("loaders", []):
        _make_program(_inside(directory, path), keeper_program(machine))
    for path, device in image.get("devices", {}).items():
        kind, major, minor = device.replace(":", " ").split()
        node = _inside(directory, path)
        _make_directory(node.parent)
        os.mknod(node, 0o600 | {"b": stat.S_IFBLK, "c": stat.S_IFCHR}[kind], os.makedev(int(major), int(minor)))
    for path, target in image.get("symlinks", {}).items():
        link = _inside(directory, path)
        _make_directory(link.parent)
        if link.is_dir() and not link.is_symlink():
            link.rmdir()
        link.symlink_to(target)


def _inside(directory: Path, path: str) -> Path:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise HarnessError(f"plant {path!r} in the image: it must be a path below / without '..'")
    return directory.joinpath(*parts)


def _make_program(path: Path, program: bytes) -> Path:
    _make_directory(path.parent)
    path.write_bytes(program)
    path.chmod(0o755)
    return path


def _file_capability(name: str) -> bytes:
    """The extended attribute by which a program has a capability, permitted and effective: struct vfs_cap_data."""
    number = CAPABILITIES.index(f"CAP_{name}")
    permitted = 1 << number
    return struct.pack("<5I", VFS_CAP_REVISION_2 | VFS_CAP_EFFECTIVE, permitted & 0xFFFFFFFF, 0, permitted >> 32, 0)


def _make_directory(directory: Path) -> None:
    """Make a directory and its parents, mode 0755 whatever the umask: the container's user may be anybody."""
    if not directory.is_dir():
        _make_directory(directory.parent)
        directory.mkdir()
        directory.chmod(0o755)


def build_kit(cache: Path | None = None) -> Path:
    """The kit for the running interpreter, made once and kept in `cache`.

    `cache` is $XDG_CACHE_HOME/isoproof unless given. Where it cannot be written, the kit is made in a
    temporary directory that goes away with this process. Builders at the same time do not disturb each
    other: each fills a directory of its own, and one of them is renamed to the kit. Raises HarnessError when
    it cannot be built.
    """
    name = f"kit-{_key()}"
    kit = (cache or cache_directory()) / name
    if not kit.is_dir() and not _is_writable(kit.parent):
        kit = _private_directory(os.getpid()) / name
    if kit.is_dir():
        _touch(kit)
        return kit
    try:
        _remove_unused(kit.parent)
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=kit.parent))
        try:
            _fill(building)
            building.rename(kit)
        except OSError:
            if not kit.is_dir():  # else somebody was faster
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except SyntaxError as error:
        raise HarnessError(f"build probe kit: {error.filename}:{error.lineno}: {error.msg}") from error
    except OSError as error:
        raise HarnessError(
            f"build probe kit {kit}: {errno.errorcode.get(error.errno or 0)} ({error.strerror}); "
            "it takes 20 MB: make room there, or set XDG_CACHE_HOME to another place"
        ) from error
    return kit


def _fill(kit: Path) -> None:
    sources = sorted(_probe_directory().glob("*.py"))
    inventory = _take_inventory(_imported(sources))
    kit.chmod(0o755)

    _copy_binary(Path(inventory["executable"]), kit / "bin" / "python")
    library = kit / inventory["platlibdir"] / Path(inventory["standard_library"]).name
    _make_directory(library / "lib-dynload")  # the landmark by which the interpreter finds its exec_prefix
    for module in map(Path, inventory["modules"]):
        if not module.is_relative_to(inventory["standard_library"]):
            raise HarnessError(f"build probe kit: {module} is not in the standard library; probes may import no other")
        target = library / module.relative_to(inventory["standard_library"])
        if module.suffix == ".py":
            _compile(module, target.with_suffix(".pyc"))
        else:
            _copy_binary(module, target)
    for path in map(Path, inventory["libraries"]):
        # Without a slash: the executable itself and the vdso. Extension modules have been copied above.
        if path.is_absolute() and str(path) not in inventory["modules"]:
            _copy_binary(path, kit / "lib" / path.name)
            if path.name.startswith("ld-"):
                (kit / "lib" / "loader").symlink_to(path.name)
    if not (kit / "lib" / "loader").is_symlink():
        raise HarnessError(f"build probe kit: {inventory['executable']} has no dynamic loader; use another Python")

    for source in sources:
        _compile(source, kit / "probes" / f"{source.stem}.pyc")


def _take_inventory(modules: Iterable[str]) -> dict[str, Any]:
    arguments = [sys.executable, "-I", "-S", "-B", "-c", INVENTORY, *modules]
    result = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise HarnessError(f"build probe kit: {sys.executable} cannot list its own files: {lines[-1]}")
    return dict(json.loads(result.stdout))


def _imported(sources: Iterable[Path]) -> set[str]:
    """The names of all modules that the sources import, wherever they do."""
    names: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_bytes(), str(source))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    return names - {"_kernel"}


def _copy(source: Path, target: Path, mode: int) -> None:
    _make_directory(target.parent)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _copy_binary(source: Path, target: Path) -> None:
    """Copy an ELF file (elf(5)) up to the last byte that is loaded: without debugging information, if it has
    any.

    A Python built with it is 20 MB larger, and each outer sandbox has a copy of the kit in memory.
    """
    _copy(source, target, 0o755)
    with target.open("r+b") as file:
        header = bytearray(file.read(64))
        if header[:6] != b"\x7fELF\x02\x01":  # not of 64 bits, little endian: leave it as it is
            return
        (first,), (entry_size, entries) = struct.unpack_from("<Q", header, 32), struct.unpack_from("<HH", header, 54)
        end = 64
        for entry in range(entries):
            file.seek(first + entry * entry_size)
            offset, _, _, size = struct.unpack("<8xQQQQ", file.read(40))
            end = max(end, offset + size, first + entries * entry_size)
        struct.pack_into("<Q", header, 40, 0)  # where the section headers were, which only linkers and debuggers read
        struct.pack_into("<HH", header, 60, 0, 0)
        file.seek(0)
        file.write(header)
        file.truncate(end)


def _compile(source: Path, target: Path) -> None:
    """Compile a module so that an import takes it as it is, without a look at the source."""
    _make_directory(target.parent)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), str(target), doraise=True, invalidation_mode=mode)
    target.chmod(0o644)


def _key() -> str:
    """What the kit is made from, as a short hash: another interpreter, probe or builder makes another kit.

    The libraries are not in it: a kit has its own copies, which go on working together after an upgrade.
    """
    interpreter = os.stat(sys.executable)
    key = hashlib.sha256(repr((sys.executable, sys.version, interpreter.st_mtime_ns, interpreter.st_size)).encode())
    for source in [Path(__file__), *sorted(_probe_directory().glob("*.py"))]:
        content = source.read_bytes()
        key.update(f"{source.name} {len(content)}\n".encode() + content)
    return key.hexdigest()[:20]


def _probe_directory() -> Path:
    """Where the probes are: inside the package when it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for directory in (package / "probes", package.parent / "probes"):
        if (directory / "__main__.py").is_file():
            return directory
    raise HarnessError(f"find probes: neither {package / 'probes'} nor {package.parent / 'probes'} has __main__.py")


def cache_directory() -> Path:
    for variable, below in (("XDG_CACHE_HOME", ""), ("HOME", ".cache")):
        directory = Path(os.environ.get(variable, ""))
        if directory.is_absolute():  # the XDG base directory specification: ignore it otherwise
            return directory / below / "isoproof"
    return _private_directory(os.getpid())


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)


@functools.cache
def _private_directory(pid: int) -> Path:
    """A directory for this process alone; removed at its end, but not at that of its forked children."""
    directory = Path(tempfile.mkdtemp(prefix="isoproof-"))
    directory.chmod(0o755)

    def remove() -> None:
        if os.getpid() == pid:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    return directory


def _remove_unused(cache: Path) -> None:
    """Remove kits that no run has used lately, and what a builder that was killed has left."""
    for pattern in ("kit-*", ".building-*"):
        for directory in cache.glob(pattern):
            try:
                if time.time() - directory.stat().st_mtime > UNUSED_AFTER:
                    shutil.rmtree(directory, ignore_errors=True)
            except FileNotFoundError:
                pass  # somebody else was faster


def _touch(kit: Path) -> None:
    try:
        os.utime(kit)
    except OSError:
        pass  # a kit in somebody else's cache: it is theirs to keep
