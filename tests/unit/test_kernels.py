"""`make kernels`: which packages, which machine, and what is said where there is none; a run takes too long."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import BadInput, HarnessError
from harness.guest import kernels, packages
from harness.guest.packages import Package

DEBIAN = {
    "linux-image-amd64": "Version: 6.1.192-3\nDepends: linux-image-6.1.0-57-amd64 (= 6.1.192-3)",
    "linux-image-6.1.0-57-amd64": "Version: 6.1.192-3\nDepends: kmod, linux-base (>= 4.3~), initramfs-tools | dracut",
    "apparmor": "Version: 3.0.8-3\nDepends: libc6 (>= 2.33)",
}
UBUNTU = {
    "linux-image-generic": "Version: 6.8.0-88.89\nDepends: linux-image-6.8.0-88-generic, linux-firmware",
    "linux-image-6.8.0-88-generic": "Version: 6.8.0-88.89\nDepends: kmod, linux-modules-6.8.0-88-generic",
    "linux-modules-6.8.0-88-generic": "Version: 6.8.0-88.89",
}


class Archive:
    """An archive of packages in the place of apt's: what it was asked to download is in `downloaded`."""

    def __init__(self, known: dict[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known = known
        self.failure = ""
        self.downloaded: list[str] = []
        self.cache = cache
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setattr(packages, "_apt", self.apt)

    def apt(self, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        name = words[-1].partition("=")[0]
        if words[1] == "pkgnames":
            names = [each for each in [*self.known, "linux-image-amd64-dbg"] if each.startswith(words[-1])]
            return subprocess.CompletedProcess(words, 0, "\n".join(names), "")
        if name not in self.known:
            return subprocess.CompletedProcess(words, 100, "", "E: No packages found")
        if words[1] == "show":
            return subprocess.CompletedProcess(words, 0, f"Package: {name}\n{self.known[name]}\n", "")
        if self.failure:
            return subprocess.CompletedProcess(words, 100, "", self.failure)
        assert folder is not None
        self.downloaded.append(words[-1])
        tree = folder / name
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: none\n"
        )
        for kind, place in (("image", "boot/vmlinuz"), ("modules", "lib/modules/modules.builtin")):
            if release := name.removeprefix(f"linux-{kind}-").partition(name)[0]:
                (tree / place).parent.mkdir(parents=True, exist_ok=True)
                (tree / f"{place}-{release}").touch()
        subprocess.run(["dpkg-deb", "--build", tree, folder / f"{name}.deb"], check=True, stdout=subprocess.DEVNULL)
        return subprocess.CompletedProcess(words, 0, "", "")


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    return Archive(DEBIAN, tmp_path, monkeypatch)


def test_a_flavour_stands_for_its_newest_kernel(debian: Archive) -> None:
    found = packages.kernel("amd64")
    assert (found.release, debian.downloaded) == ("6.1.0-57-amd64", ["linux-image-6.1.0-57-amd64=6.1.192-3"])
    assert (
        found.image
        == debian.cache / "isoproof/packages/linux-image-6.1.0-57-amd64_6.1.192-3/boot/vmlinuz-6.1.0-57-amd64"
    )
    assert found.image.exists()


def test_a_kernel_is_downloaded_once(debian: Archive) -> None:
    assert packages.kernel("amd64") == packages.kernel("6.1.0-57-amd64")
    assert len(debian.downloaded) == 1
    assert [path.name for path in (debian.cache / "isoproof/packages").iterdir()] == [
        "linux-image-6.1.0-57-amd64_6.1.192-3"
    ]


def test_a_kernel_may_be_spread_over_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(UBUNTU, tmp_path, monkeypatch)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "x86_64")))
    found = packages.kernel(packages.usual())
    assert found.release == "6.8.0-88-generic"
    assert [each.partition("=")[0] for each in archive.downloaded] == [
        "linux-image-6.8.0-88-generic",
        "linux-modules-6.8.0-88-generic",
    ]
    assert (found.folder / "lib/modules/modules.builtin-6.8.0-88-generic").exists()


def test_a_kernel_that_apt_does_not_know_is_one_line(debian: Archive) -> None:
    with pytest.raises(
        BadInput, match=r"^apt knows no package linux-image-arm64 .* it knows amd64; or: apt-get update$"
    ):
        packages.kernel("arm64")


def test_without_a_network_one_line_says_so(debian: Archive) -> None:
    debian.failure = "W: whatever\nE: Failed to fetch http://deb.debian.org/x  Could not resolve 'deb.debian.org'\n"
    with pytest.raises(
        HarnessError, match=r"download linux-image-6.1.0-57-amd64:  ?Failed to fetch.*it takes a network"
    ):
        packages.kernel("amd64")
    assert list((debian.cache / "isoproof/packages").iterdir()) == []


def test_without_apt_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match="apt-cache is not here: kernels come from packages of Debian's or Ubuntu's"):
        packages.usual()


def test_the_first_of_alternatives_is_what_a_package_depends_on() -> None:
    text = "Package: a\nVersion: 1:2\nDepends: b (>= 1) | c, d:any, e\nDescription: f\n more: g\n"
    assert packages.parsed(text) == Package("a", "1:2", ["b", "d:any", "e"])


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        packages, "which", lambda program: None if "qemu" in program or program == "depmod" else program
    )
    with pytest.raises(HarnessError, match=r"apt-get install qemu-system-x86 kmod$"):
        kernels.require_programs("x86_64")
    with pytest.raises(HarnessError, match=r"apt-get install qemu-system-arm kmod$"):
        kernels.require_programs("aarch64")
    with pytest.raises(HarnessError, match="no kernels for riscv64: x86_64 and aarch64 are known"):
        kernels.require_programs("riscv64")


def test_too_little_memory_is_one_line() -> None:
    kernels.require_memory("MemTotal: 9 kB\nMemAvailable:   99999999 kB\n")
    with pytest.raises(HarnessError, match="needs 3072 MiB of memory, and 1000 are free"):
        kernels.require_memory("MemTotal: 9 kB\nMemAvailable:   1024000 kB\n")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("cat >/dev/null", ""),
        ("echo 'failed to set MSR' >&2; echo more >&2; exit 1", "KVM does not work here (failed to set MSR)"),
        ("exit 3", "KVM does not work here (exit status 3)"),
    ],
)
def test_kvm_is_used_only_where_qemu_can(
    program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator = tmp_path / "qemu"
    emulator.write_text(f"#!/bin/sh\n{program}\n")
    emulator.chmod(0o755)
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert kernels.no_kvm(str(emulator), "q35") == said


def test_without_the_device_there_is_no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert kernels.no_kvm("no-such-emulator", "q35") == "/dev/kvm is not there, or not for this user to open"


def test_the_machine_has_this_ones_files_and_shares_the_results_alone() -> None:
    words = kernels.command(
        Path("/v/virtme-run"), Path("/c/boot/vmlinuz-1"), Path("/r/kernels/1"), None, ["-k", "a or b"]
    )
    assert words[:2] == ["/v/virtme-run", "--kimg=/c/boot/vmlinuz-1"]
    assert [word for word in words if word.startswith("--rw")] == ["--rwdir=/run/guest/results=/r/kernels/1"]
    script = words[-1]
    assert script.startswith(f"--script-sh={kernels.CHECKOUT / kernels.SCRIPT} {sys.executable} ")
    assert script.endswith(f" - -n {kernels.cpus()} -k 'a or b'")


def test_arguments_that_a_kernel_would_cut_off_are_refused() -> None:
    with pytest.raises(BadInput, match="characters too long"):
        kernels.command(Path("v"), Path("i"), Path("r"), None, ["-k", "x" * 2000])


def test_the_exit_status_is_the_scripts(tmp_path: Path) -> None:
    told = tmp_path / "status"
    assert kernels.boot(["sh", "-c", f"echo 1 >{told}"], told) == 1
    with pytest.raises(HarnessError, match="ended before the checks did, with exit status 255"):
        kernels.boot(["sh", "-c", "exit 255"], told)  # also where one of before was there


def test_nothing_of_the_machine_outlives_an_interruption(tmp_path: Path) -> None:
    """As Ctrl-C has it: the machine, which runs in the background of a shell, is ended, and so is what it has begun."""
    pids = tmp_path / "pids"
    program = f"sleep 600 & echo $! >{pids}; echo $$ >>{pids}; wait"
    code = (
        f"from pathlib import Path; from harness.guest.kernels import boot; boot(['sh', '-c', {program!r}], Path('s'))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(kernels.CHECKOUT)},
    ) as process:
        numbers = list(map(int, _lines(pids, 2)))
        process.send_signal(2)
        assert process.wait(30) != 0
    assert [number for number in numbers if _lives(number)] == []


def _lines(path: Path, count: int) -> list[str]:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError):
            if len(lines := path.read_text().split()) == count:
                return lines
        time.sleep(0.01)
    raise AssertionError(f"{path} has no {count} lines")


def _lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_bad_input_is_exit_status_2_and_one_line(
    debian: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "require_programs", lambda machine: "qemu")
    monkeypatch.setattr(sys, "executable", str(debian.cache / "python"))
    (debian.cache / "virtme-run").touch()
    assert kernels.main(["no-such-kernel"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("isoproof: apt knows no package linux-image-no-such-kernel for this machine")
    assert error.count("\n") == 1


def test_without_virtme_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert kernels.main([]) == 2
    assert capsys.readouterr().err == (
        "isoproof: /nowhere/virtme-run is not there: pip install virtme-ng, as `make kernels` does\n"
    )
