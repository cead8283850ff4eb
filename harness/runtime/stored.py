"""What a run leaves for the next one of the same bundle: the tables of its plan as an image.

`harness.runtime.quick` uses it. Only for plans that nobody has to attend to: their calls are all that happens.
"""

import ctypes
import json
import marshal
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.runtime import cgroup, folders, inspect, leftovers, limits, quick, stub
from harness.runtime.config import powerless
from harness.runtime.image import Image
from harness.runtime.launch import Prepared
from harness.runtime.privileges import UNDUMPABLE
from harness.runtime.replay import CHANNEL_ENDS, NEEDLESS, Child, undone
from harness.runtime.step import Call, Packed, Saved, Step
from harness.runtime.syscalls import (
    AF_UNIX,
    AT_FDCWD,
    CLONE,
    LOCK_NB,
    LOCK_SH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    O,
    clone_args,
    open_how,
)
from harness.runtime.table import Table

MOST = 32  # images that are kept; they are in memory, where /run is
STATFS_SIZE = 256


Facts = tuple[object, ...]


def facts(bundle: Path, command: list[str]) -> Facts | None:
    """Return what decides about the plan of a bundle; None where there is nothing that could be stored."""
    try:
        return quick.facts(str(bundle), command)
    except OSError:
        return None


def keep(container: Prepared, bundle: Path, command: list[str], known: Facts | None) -> None:
    """Store what came of a bundle that has been run, if the next run can do with that.

    `known` are the facts from before its config was read; where they or the host have changed since, nothing is stored.
    """
    if known is None or not _is_enough(container):
        return
    host = inspect.host(container.config, bundle)
    if replace(host, name=container.host.name) != container.host or facts(bundle, command) != known:
        return
    content = marshal.dumps({"facts": known} | _image(container, bundle))
    name = quick.file_name(str(bundle), command)
    for folder in folders.folders():
        try:
            if not folders.make(folder):
                continue
            _write(Path(folder, name), content)
        except OSError:  # as where the file system is read-only
            continue
        _remove_oldest(Path(folder))
        return


def _is_enough(container: Prepared) -> bool:
    """Return whether a plan is all that there is to do for a start, before, while and after the program runs."""
    plan = container.plan
    return (
        container.child is not None
        and (container.host_side is not None or not plan.before)
        and not plan.after
        and not container.places
        and not any(step.name.startswith("enable:") for step in plan.before)  # others may come to rely on that
        and not powerless(container.config)  # of which the user is warned each time
        and set(container.child.table.given) == set(CHANNEL_ENDS)
    )


def _image(container: Prepared, bundle: Path) -> dict[str, Any]:
    config, host, plan = container.config, container.host, container.plan
    child = Child(plan)
    ready = Table([Step("ready", "what a start needs of the host", tuple(_ready_calls(container)))])
    opened = Call("openat", (AT_FDCWD, plan.into, O.PATH | O.CLOEXEC), saves="into")
    into = [Step("into", "the cgroup to be born into: clone3(2)", (opened,))] if plan.into else []
    before = Table([*plan.before, *into])
    undo = Table(undone(plan.before))
    if plan.into:
        child.arguments.flags |= CLONE.INTO_CGROUP
    contexts = {name: _context(table) for name, table in (("ready", ready), ("before", before), ("undo", undo))}
    contexts["child"] = child.context.words
    for name in ("root", "lock"):
        ready.words[_result(ready, name)] = -1
    if plan.into:
        before.words[_result(before, "into")] = -1
    image = Image(
        (ready, before, child.table, undo),
        (*contexts.values(), child.arguments, child.stack, child.pidfd),
        (
            *(ctypes.addressof(context) + 16 for context in contexts.values()),
            ctypes.addressof(child.context.words),
            ctypes.addressof(child.arguments) + clone_args.pidfd.offset,
            ctypes.addressof(child.arguments) + clone_args.stack.offset,
        ),
    )

    def word(table: Table, index: int) -> int:
        return image.place(ctypes.addressof(table.words) + 8 * index)

    def pointed(name: str, argument: int) -> int:
        return image.place(ready.words[_entry(ready, name) + 1 + argument])

    ends = pointed("socketpair", 3)
    at = {name: image.place(ctypes.addressof(context)) for name, context in contexts.items()} | {
        "pidfd": image.place(ctypes.addressof(child.pidfd)),
        "proc": pointed("statfs", 1),
        "near_end": ends,
        "far_end": ends + 4,
        "root": word(ready, _result(ready, "root")),
        "lock": word(ready, _result(ready, "lock")),
        "cgroup": image.place(ctypes.addressof(child.arguments) + clone_args.cgroup.offset),
        "streams": [_places(image, words) for words in child.streams],
        "channel": [_places(image, child.table.given[name]) for name in CHANNEL_ENDS],
    }
    if plan.into:
        at["into"] = word(before, _result(before, "into"))
    descriptors = [name for name in ("pidfd", "near_end", "far_end", "root", "lock", "into") if name in at]
    made = [(hierarchy, cgroup.directory(hierarchy, config, host)) for hierarchy in cgroup.used(config, host)]
    root = os.path.join(os.path.abspath(bundle), config["root"]["path"])
    sources = [mount["source"] for mount in config.get("mounts", []) if mount.get("source", "").startswith("/")]
    return {
        "memory": bytes(image.memory),
        "relocations": b"".join(place.to_bytes(4, "little") for place in image.relocations),
        "code": stub.CODE[host.machine],
        "at": at,
        "descriptors": descriptors,
        "name": host.name.encode() if plan.before else b"",
        "record": json.dumps(asdict(leftovers.of(plan, host.rootfs, []))).encode() if plan.before else b"",
        "freezers": [os.fsencode(path) for hierarchy, path in made if "freezer" in hierarchy.controllers],
        "rootfs": host.rootfs,
        "root": root,
        "root_identity": quick.identity(root),
        "sources": [(source, quick.is_directory(source)) for source in sources],
        "hierarchies": quick.hierarchies() if host.hierarchies else (),
        "texts": [(path, quick.text(path)) for path in _read_of_cgroups(container)],
    }


def _ready_calls(container: Prepared) -> "list[Call]":
    """Return what a start needs done on the host, for itself: the first call that fails leaves it to the long way."""
    no_symlinks = open_how(O.PATH | O.DIRECTORY | O.CLOEXEC, RESOLVE_NO_SYMLINKS)
    in_root = open_how(O.PATH | O.CLOEXEC, RESOLVE_IN_ROOT)
    root, place = Saved("root"), Saved("place")
    calls = [
        *NEEDLESS.calls,  # not needless here: this process is nobody else's, and the child shares its memory
        Call("statfs", ("/proc", Packed(bytes(STATFS_SIZE), "what it is")), saves="proc"),
        UNDUMPABLE,
        Call("socketpair", (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, Packed(b"\xff" * 8, "both ends"))),
        Call("openat2", (AT_FDCWD, container.host.rootfs, Packed(no_symlinks, ""), len(no_symlinks)), saves="root"),
        Call("openat", (root, ".", O.DIRECTORY | O.CLOEXEC), saves="lock"),
        Call("flock", (Saved("lock"), LOCK_SH | LOCK_NB)),
    ]
    for path in inspect.wanted_places(container.config):
        calls += [
            Call("openat2", (root, path, Packed(in_root, ""), len(in_root)), saves="place"),
            Call("close", (place,)),
        ]
    return calls


def _read_of_cgroups(container: Prepared) -> list[str]:
    """Return the files that say where a container's cgroups may be made, and what they are given from above."""
    paths = []
    for hierarchy in cgroup.used(container.config, container.host):
        if hierarchy.cpus or hierarchy.mems:
            paths += [f"{hierarchy.parent}/cpuset.effective_{what}" for what in ("cpus", "mems")]
        if hierarchy.version == 2 and limits.controllers(container.config, 2):
            directory = hierarchy.own
            while directory.startswith(hierarchy.point):
                paths += [f"{directory}/cgroup.{what}" for what in ("subtree_control", "controllers")]
                directory = os.path.dirname(directory)
    return paths


def _context(table: Table) -> "ctypes.Array[ctypes.c_uint64]":
    """Return what the instructions are given to walk a table without a child."""
    return (ctypes.c_uint64 * 4)(0, 0, ctypes.addressof(table.words), 0)


def _entry(table: Table, name: str) -> int:
    """Return the first word of the entry of the call of this name."""
    return stub.ENTRY * next(index for index, (_, call) in enumerate(table.calls) if call.name == name)


def _result(table: Table, name: str) -> int:
    """Return the word of the result that is kept under a name."""
    return stub.RESULT + stub.ENTRY * next(index for index, (_, call) in enumerate(table.calls) if call.saves == name)


def _places(image: Image, words: "Sequence[ctypes.c_int32]") -> list[int]:
    return [image.place(ctypes.addressof(word)) for word in words]


def _write(path: Path, content: bytes) -> None:
    """Write a file at once: whoever reads it meanwhile has the old one or the new one."""
    new = path.with_name(f".{path.name}-{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
        new.rename(path)
    except OSError:
        new.unlink()
        raise
    finally:
        os.close(descriptor)


def _remove_oldest(folder: Path) -> None:
    """Remove images that others have outlived."""
    found = sorted(folder.glob("plan-*"), key=lambda path: path.stat().st_mtime_ns)
    for path in found[:-MOST]:
        path.unlink(missing_ok=True)
