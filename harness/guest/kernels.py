"""`make kernels`: the checks under another kernel, in a virtual machine that has this machine's files.

    python -m harness.guest.kernels [--reports DIR] [KERNEL...] [-- ARGUMENTS OF PYTEST]

KERNEL is what stands behind `linux-image-` in the name of a package of Debian's or Ubuntu's: a flavour, as `amd64` or
`cloud-amd64`, or one version of it, as `6.1.0-57-amd64`. The package is unpacked in a folder of its own and never
installed. virtme-ng boots it with this machine's root file system, which cannot be written to from there; only the
folder of the results is shared both ways.

Exit status: that of pytest, the highest of all kernels, and 2 for bad input; make has 2 wherever this is not 0.
"""

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import reporting
from harness.bench.leavings import INTERRUPTIONS, ended_in_order, undone, uninterrupted
from harness.errors import BadInput, HarnessError, IsoproofError
from harness.guest import packages
from harness.runtime.errors import on_one_line

CHECKOUT = Path(__file__).resolve().parents[2]
REPORTS = Path("reports")
SCRIPT = "harness/guest/kernels.sh"
PROGRAMS = {"depmod": "kmod", "file": "file", "busybox": "busybox-static"}
EMULATORS = {
    "x86_64": ("qemu-system-x86_64", "qemu-system-x86", "q35"),
    "aarch64": ("qemu-system-aarch64", "qemu-system-arm", "virt"),
}
MEBIBYTES = 3072  # of the virtual machine, whose files lie in its memory, too
CPUS = 2  # at least, for checks that are about a second one
PATIENCE = 20.0  # seconds that QEMU gets to say that it can use KVM, and to end
PATIENCE_EMULATED = "5"  # times as long as usual, for the checks on a machine that is emulated
LONGEST = 900  # characters of a script: it travels on the kernel's command line, which has room for 2048 with all else


def main(words: Sequence[str] | None = None) -> int:
    """Run the checks under each kernel, tell all of it as one matrix, and return the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="python -m harness.guest.kernels", description="checks under other kernels")
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="default: the usual one of the distribution")
    parser.add_argument("--reports", type=Path, default=REPORTS, metavar="DIR", help="where reports are written")
    options = parser.parse_args(words[:end])
    try:
        with ended_in_order():
            return run(options.kernels, options.reports, words[end + 1 :])
    except IsoproofError as error:
        print(f"isoproof: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("isoproof: interrupted; the virtual machine has been ended", file=sys.stderr)
        return 130


def run(names: Sequence[str], reports: Path, arguments: Sequence[str]) -> int:
    """Run the checks under each kernel; raises IsoproofError where that cannot begin."""
    virtme = Path(sys.executable).with_name("virtme-run")
    if not virtme.exists():
        raise HarnessError(f"{virtme} is not there: pip install virtme-ng, as `make kernels` does")
    emulator = require_programs(os.uname().machine)
    require_memory(Path("/proc/meminfo").read_text())
    kernels = [packages.kernel(name) for name in names or [packages.usual()]]
    parser = packages.apparmor_parser()
    reason = no_kvm(emulator, EMULATORS[os.uname().machine][2])
    if reason:
        print(f"{reason}: the machine is emulated, which takes ten times as long", flush=True)
    status, told = 0, []
    for kernel in kernels:
        print(f"=== {kernel.release}, from {kernel.folder}", flush=True)
        results = (reports / "kernels" / kernel.release).absolute()
        stored = results / "isolation.json"
        try:
            results.mkdir(parents=True, exist_ok=True)
            stored.unlink(missing_ok=True)  # or one of before would be told where there is none now
        except OSError as error:
            raise BadInput(f"write {error.filename}: {error.strerror}; --reports DIR names another folder") from None
        slowly = ["--patience", PATIENCE_EMULATED] if reason else []
        words = command(virtme, kernel.image, results, parser, [*slowly, *arguments])
        status = max(status, boot([*words, *(["--disable-kvm"] if reason else [])], results / "status"))
        told += [stored] if stored.exists() else []
    here = reports / "isolation.json"
    if told:
        reporting.tell_matrix([*([here] if here.exists() else []), *told], "terminal", reports / "kernels")
    return status


def require_programs(machine: str) -> str:
    """Return the emulator of this machine; raise HarnessError where a program is missing, with its package."""
    if machine not in EMULATORS:
        raise HarnessError(f"no kernels for {machine}: x86_64 and aarch64 are known")
    emulator, package, _ = EMULATORS[machine]
    missing = [of for program, of in {emulator: package, **PROGRAMS}.items() if not packages.which(program)]
    if missing:
        raise HarnessError(f"a virtual machine needs more than is here: apt-get install {' '.join(missing)}")
    return emulator


def require_memory(meminfo: str) -> None:
    """Raise HarnessError where the virtual machine does not fit into what is free, by the text of /proc/meminfo."""
    free = int(meminfo.partition("MemAvailable:")[2].split()[0]) // 1024
    if free < MEBIBYTES:
        raise HarnessError(f"the virtual machine needs {MEBIBYTES} MiB of memory, and {free} are free: end something")


def no_kvm(emulator: str, machine: str) -> str:
    """Return why KVM cannot be used here, or nothing where QEMU has made a processor with it."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm is not there, or not for this user to open"
    arguments = [emulator, "-accel", "kvm", "-cpu", "host", "-machine", machine, "-display", "none", "-nodefaults"]
    commands = '{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n'
    try:
        tried = subprocess.run(
            [*arguments, "-S", "-qmp", "stdio"], input=commands, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return "KVM does not answer"
    said = tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"]
    return f"KVM does not work here ({on_one_line(said[0])})" if tried.returncode else ""


def command(virtme: Path, image: Path, results: Path, parser: Path | None, arguments: Sequence[str]) -> list[str]:
    """Return the command that boots a kernel with this machine's files, and makes the checks there."""
    folders = ":".join(map(str, (Path(os.__file__).parent, sys.prefix, CHECKOUT)))
    script = [str(CHECKOUT / SCRIPT), sys.executable, folders, str(parser or "-"), "-n", str(cpus()), *arguments]
    text = shlex.join(script)
    if len(text) > LONGEST:
        raise BadInput(f"the arguments of pytest are {len(text) - LONGEST} characters too long for a kernel's to take")
    return [
        str(virtme),
        f"--kimg={image}",
        "--mods=auto",
        f"--cpus={cpus()}",
        f"--memory={MEBIBYTES}M",
        "--user=root",
        f"--cwd={CHECKOUT}",
        "--rodir=/run/guest/machine=/",
        f"--rwdir=/run/guest/results={results}",
        "--show-boot-console",  # that is where the script's output goes without udev, and a panic everywhere
        f"--script-sh={text}",
    ]


def cpus() -> int:
    """Return how many processors the virtual machine gets."""
    return max(CPUS, len(os.sched_getaffinity(0)))


def boot(arguments: Sequence[str], told: Path) -> int:
    """Run the virtual machine to its end; return the exit status that its script has told in a file.

    Raises HarnessError where it has told none. Whatever happens, nothing of the machine is left running.
    """
    told.unlink(missing_ok=True)
    # depmod is one of the programs that an ordinary user's PATH may not have.
    search = {**os.environ, "PATH": packages.search_path()}
    with undone() as undo:
        with uninterrupted():  # or it could be there already, and nobody know of it
            # In a session of its own, so that all that belongs to it can be ended: QEMU, and who serves files to it.
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, env=search, start_new_session=True, preexec_fn=_let_interrupt
            )
            undo.callback(_end, process)
        process.wait()
    try:
        status = int(told.read_text())
    except (OSError, ValueError):
        raise HarnessError(
            f"the virtual machine ended before the checks did, with exit status {process.returncode}; "
            "what it said last stands above"
        ) from None
    told.unlink()
    return status


def _let_interrupt() -> None:
    """Take back for a new process what `uninterrupted` has it inherit."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the session that a process leads."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
