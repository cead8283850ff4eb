"""Packages of Debian's or Ubuntu's, downloaded by apt-get and unpacked in the cache; none is ever installed."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from harness.errors import BadInput, HarnessError
from harness.rootfs import cache_directory
from harness.runtime.errors import on_one_line

USUAL = {"x86_64": ("amd64", "generic"), "aarch64": ("arm64", "generic")}  # flavours of Debian's and of Ubuntu's
IMAGE = "linux-image-"
PARTS = re.compile(r"linux-(?:image|modules)-\d\S*")  # the packages that a kernel is spread over; Debian's has but one
ADMINISTRATORS = ("/usr/sbin", "/sbin")  # where programs lie that an ordinary user's PATH does not name


class Package(NamedTuple):
    """A package that apt knows: its version, and the packages that it depends on, the first of alternatives."""

    name: str
    version: str
    depends: list[str]


class Kernel(NamedTuple):
    """An unpacked kernel: its release, as uname(2) will tell it, the folder, and the image to be booted."""

    release: str
    folder: Path
    image: Path


def usual() -> str:
    """Return the name of the distribution's usual kernel for this machine."""
    for name in USUAL[os.uname().machine]:
        if _look_up(IMAGE + name):
            return name
    raise HarnessError(f"apt knows no {IMAGE}{USUAL[os.uname().machine][0]}: apt-get update, on Debian or Ubuntu")


def kernel(name: str) -> Kernel:
    """Return the kernel of a package, unpacked; raises BadInput where apt knows none, HarnessError without network."""
    found = _look_up(IMAGE + name)
    if not found:
        near = ", ".join(sorted(_flavours())) or "none at all"
        raise BadInput(f"apt knows no package {IMAGE}{name} for this machine; it knows {near}; or: apt-get update")
    parts = _parts(found)
    if not parts:
        raise HarnessError(f"{IMAGE}{name} depends on no image of a kernel; name one with its version")
    folder = _unpacked(parts)
    images = sorted(folder.glob("boot/vmlinu*-*"))
    if not images:
        raise HarnessError(f"{folder} has no boot/vmlinuz-*, so {parts[0].name} is not what it seems: remove it")
    return Kernel(images[0].name.partition("-")[2], folder, images[0])


def apparmor_parser() -> Path | None:
    """Return the program that loads profiles of AppArmor, this machine's or an unpacked one, or None without either."""
    own = which("apparmor_parser")
    if own:
        return Path(own)
    try:
        found = _look_up("apparmor")
        folder = _unpacked([found]) if found else None
    except HarnessError as error:
        print(f"no profile of AppArmor is loaded: {error}", flush=True)
        return None
    return next(folder.glob("**/sbin/apparmor_parser"), None) if folder else None


def which(program: str) -> str | None:
    """Return where a program is, also one for administrators only."""
    return shutil.which(program, path=search_path())


def search_path() -> str:
    """Return PATH with the folders of programs for administrators."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *ADMINISTRATORS])


def _look_up(name: str) -> Package | None:
    """Return the newest package of a name, if apt knows one."""
    shown = _apt("apt-cache", "show", "--no-all-versions", name)
    return parsed(shown.stdout) if shown.returncode == 0 and shown.stdout.strip() else None


def parsed(text: str) -> Package:
    """Return the package that a paragraph of apt-cache(8) is about."""
    fields = dict(re.findall(r"^([A-Z][\w-]*): *(.*)$", text, re.MULTILINE))
    depends = [entry.split("|")[0].split("(")[0].strip() for entry in fields.get("Depends", "").split(",")]
    return Package(fields["Package"], fields["Version"], [name for name in depends if name])


def _parts(package: Package) -> list[Package]:
    """Return the packages that hold a kernel and its modules, the image first: those that a flavour stands for."""
    found = [package] if PARTS.fullmatch(package.name) else []
    for name in package.depends:
        if PARTS.fullmatch(name) and (part := _look_up(name)):
            found += _parts(part)
    return list({part.name: part for part in found}.values())


def _flavours() -> list[str]:
    """Return the names that may stand behind `linux-image-`, without those of versions."""
    names = _apt("apt-cache", "pkgnames", IMAGE).stdout.split()
    found = [name.removeprefix(IMAGE) for name in names]
    return [name for name in found if not name[:1].isdigit() and not re.search("dbg|template|unsigned", name)]


def _unpacked(parts: list[Package]) -> Path:
    """Return the folder in the cache with what the packages hold; it is filled once, and appears when it is whole."""
    cache = cache_directory() / "packages"
    folder = cache / f"{parts[0].name}_{parts[0].version.replace(':', '_')}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=cache) as scratch:
            filled = Path(scratch, "filled")
            filled.mkdir()
            for part in parts:
                _download(part, Path(scratch))
            for archive in Path(scratch).glob("*.deb"):
                subprocess.run(["dpkg-deb", "--extract", archive, filled], check=True)
            filled.rename(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HarnessError(f"unpack {parts[0].name} in {cache}: {error}; it takes 500 MB: make room there") from None
    return folder


def _download(package: Package, folder: Path) -> None:
    print(f"downloading {package.name} {package.version}", flush=True)
    done = _apt("apt-get", "download", f"{package.name}={package.version}", folder=folder)
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if line.startswith("E:")] or ["E: no reason given"]
        reason = on_one_line(complaints[0].removeprefix("E:"))
        raise HarnessError(f"apt-get download {package.name}: {reason}; it takes a network, and perhaps apt-get update")


def _apt(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise HarnessError(f"{words[0]} is not here: kernels come from packages of Debian's or Ubuntu's") from None
