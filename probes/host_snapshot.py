"""What a container could leave behind on its host, as sets to compare before and after."""

from __future__ import annotations

import os

import _kernel

PF_EXITING = 0x4  # include/linux/sched.h; a zombie has it, too


def observe(rootfs: str) -> dict[str, object]:
    """Report `mounts`, `cgroups`, `processes`, `namespaces`, `interfaces`, `objects` and `files`.

    Mounts are "point type"; cgroups are directories of every mounted hierarchy; processes leave out the one that asks
    and those whose every thread has ended or is about to; namespaces are those that a process is in; objects are of
    System V IPC, by kind and number; files are those of the root, and what runtimes keep below XDG_RUNTIME_DIR.
    """
    mounts = _kernel.mountinfo()
    processes = [name for name in _kernel.processes() if _lives(name)]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return {
        "mounts": sorted(f"{mount['point']} {mount['type']}" for mount in mounts),
        "cgroups": sorted(
            directory
            for mount in mounts
            if mount["type"] in ("cgroup", "cgroup2")
            for directory in _tree(mount["point"])
        ),
        "processes": sorted(processes),
        "namespaces": sorted({name for process in processes for name in _namespaces(process)}),
        "interfaces": sorted(line.partition(":")[0].strip() for line in _lines("/proc/net/dev")[2:]),
        "objects": [
            f"{kind} {line.split()[1]}"
            for kind in ("msg", "sem", "shm")
            for line in _lines(f"/proc/sysvipc/{kind}")[1:]
        ],
        "files": sorted([*_files(rootfs), *(_files(f"{runtime}/isoproof") if runtime else ())]),
    }


def _lines(path: str) -> list[str]:
    return _kernel.read_text(path).splitlines()


def _lives(process: str) -> bool:
    # All threads count: the first may have ended long ago, and the last, while it gives back much memory, is no zombie.
    threads = _kernel.entries(f"/proc/{process}/task")
    return int(process) != os.getpid() and any(_goes_on(f"{process}/task/{thread}") for thread in threads)


def _goes_on(thread: str) -> bool:
    fields = _kernel.stat_fields(thread)
    return bool(fields) and not int(fields[6]) & PF_EXITING  # the ninth field of proc_pid_stat(5)


def _namespaces(process: str) -> list[str]:
    return [f"{kind} {inode}" for kind, inode in _kernel.namespaces(process).items() if inode is not None]


def _tree(point: object) -> list[str]:
    return [directory for directory, _, _ in os.walk(str(point))]


def _files(directory: str) -> list[str]:
    return [os.path.join(parent, name) for parent, inner, files in os.walk(directory) for name in [*inner, *files]]
