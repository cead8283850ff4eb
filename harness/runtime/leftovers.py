"""What a launcher leaves behind if it is killed: written down before it is made, found and removed later.

The container dies with its launcher, and what it made in namespaces of its own goes with it. What was made on the host
stays: cgroups, and places for mounts in the root. So every launcher keeps a record, a file of one JSON object, and
holds a lock on it: flock(2). The kernel drops the lock with the last process that has the file open: the launcher, or a
child of it that has not become the program yet. A process number would tell less: it is used again, and means nothing
in another PID namespace.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.runtime import folders, inspect, members, rootlock
from harness.runtime.errors import BundleError
from harness.runtime.step import Plan


@dataclass(frozen=True, slots=True)
class Record:
    """What one launcher makes on the host.

    `cgroups` are the container's own, `above` those that had to be made around them, outermost first, and which may
    have others in them by now; `places` are paths in the root, outermost first; `enabled` are the files in which a
    version 2 cgroup was told to hand a controller down, each with the controller.
    """

    rootfs: str
    places: list[str]
    cgroups: list[str]
    above: list[str]
    enabled: list[tuple[str, str]] = field(default_factory=list)


def of(plan: Plan, rootfs: str, places: list[str]) -> Record:
    """Return what a plan will make on the host: no cgroup that is there already, for that is somebody else's."""
    made: dict[str, list[str]] = {"cgroup": [], "above-cgroup": []}
    for step in plan.before:
        kind, _, path = step.name.partition(":")
        if kind in made and not os.path.isdir(path):
            made[kind].append(path)
    enabled = [
        (str(step.calls[0].arguments[1]), step.name.partition(":")[2])
        for step in plan.before
        if step.name.startswith("enable:")
    ]
    return Record(rootfs, places, made["cgroup"], made["above-cgroup"], enabled)


@contextlib.contextmanager
def recorded(name: str, record: Record) -> Iterator[None]:
    """Keep a record while the context lasts, and longer if something could not be undone.

    Where the whole file system is read-only none can be kept, and the container starts without.
    """
    kept = folders.create(f"{name}.json", json.dumps(asdict(record)).encode())
    undone = False
    try:
        yield
        undone = True
    finally:
        if kept:
            path, descriptor = kept
            # Those above, and what was enabled, may be another container's by now; `remove` can when that has ended.
            left = record.above if undone else record.cgroups + record.above
            there = [cgroup for cgroup in left if os.path.isdir(cgroup)]
            if not there and not any(_is_enabled(file, controller) for file, controller in record.enabled):
                Path(path).unlink(missing_ok=True)
            os.close(descriptor)


def remove_places(lock: int, root: int, rootfs: str, places: list[str]) -> None:
    """Remove the places that a launcher has made in a root; while others live on it, leave that to the last of them.

    `lock` is the launcher's own on the root (`harness.runtime.rootlock`). What is left to others is in a record of its
    own, one for each root, which nobody holds: `remove` finds it, should the last of them be killed.
    """
    name = folders.record_of(root)
    if not rootlock.alone(lock):
        if places:
            _leave(name, rootfs, places)
        return
    left = list(map(Path, folders.find(name)))
    inspect.remove_places(root, sorted({*places, *(place for path in left for place in _places_in(path))}))
    for path in left:
        with contextlib.suppress(OSError):  # on a file system that is read-only by now
            path.unlink()


def _leave(name: str, rootfs: str, places: list[str]) -> None:
    """Add places to the record of what is left to the last container on a root."""
    for path in map(Path, folders.find(name)):
        others = _places_in(path)
        with contextlib.suppress(OSError):
            path.unlink()
        places = sorted({*places, *others})
    if kept := folders.create(name, json.dumps(asdict(Record(rootfs, places, [], []))).encode()):
        os.close(kept[1])


def _places_in(path: Path) -> list[str]:
    """Return the places that a record of what is left names, none where there is no such record."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # whoever writes it has that until all is written
            record = _read(descriptor)
            return record.places if record else []
        finally:
            os.close(descriptor)
    return []


def remove() -> Iterator[str]:
    """Remove what dead launchers of this user have left, and say so, one line for each thing.

    A line that begins with `left` is about what could not be removed, and why.
    """
    dead: list[tuple[Path, Record | None]] = []
    with contextlib.ExitStack() as descriptors:
        for path in _records():
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                descriptors.callback(os.close, descriptor)
                if _lock(descriptor):
                    dead.append((path, _read(descriptor)))
        dead.sort(key=lambda found: _depth(found[1]), reverse=True)
        own = {path: [*_removed_cgroups(record)] for path, record in dead if record}
        for path, record in dead:  # what is around one may have been around others, whose own cgroups are gone by now
            yield f"{path}: the launcher has ended"
            left = False
            for line in (*own[path], *_removed_around(record)) if record else ():
                left = left or line.startswith("left")
                yield f"  {line}"
            if not left:
                path.unlink(missing_ok=True)


def take_back(text: bytes) -> None:
    """Undo what a record is about, by whoever has made it all."""
    record = Record(**json.loads(text))
    for _ in (*_removed_cgroups(record), *_removed_around(record)):
        pass


def _records() -> list[Path]:
    found = []
    for folder in filter(folders.is_ours, folders.folders()):
        with contextlib.suppress(OSError):
            found += sorted(Path(folder).glob("*.json"))
    return found


def _lock(descriptor: int) -> bool:
    """Take the lock if nobody has it; then nobody can start to live on this record."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Record | None:
    """Return what a record says; nothing where its launcher was killed while it wrote it, before it made anything."""
    try:
        fields: dict[str, Any] = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        return Record(**fields)
    except (ValueError, TypeError):
        return None


def _depth(record: Record | None) -> int:
    """Return how deep the innermost of the cgroups is that had to be made around a container's own."""
    return max((path.count("/") for path in record.above), default=0) if record else 0


def _removed_cgroups(record: Record) -> Iterator[str]:
    """Remove what was the container's alone, in the order in which its launcher would have."""
    cgroups = [Path(path) for path in record.cgroups if os.path.isdir(path)]
    for cgroup in reversed(cgroups):
        yield from _removed_cgroup(cgroup, cgroups)


def _removed_around(record: Record) -> Iterator[str]:
    """Undo the rest of what its launcher would have undone, in its order."""
    for path in reversed(record.above):
        if os.path.isdir(path):
            yield _removed_directory(path)
    for file, controller in record.enabled:
        if _is_enabled(file, controller):
            yield _disabled(file, controller)
    yield from _removed_places(record)


def _is_enabled(file: str, controller: str) -> bool:
    with contextlib.suppress(OSError):
        return controller in Path(file).read_text().split()
    return False


def _disabled(file: str, controller: str) -> str:
    """Hand a controller down no more, unless others live there, who would lose their limits without a word."""
    if members.neighbours(Path(file).parent):
        return f"left {controller} in {file}: others live there"
    try:
        Path(file).write_text(f"-{controller}")
    except OSError as error:
        return f"left {controller} in {file}: {error.strerror}"
    return f"removed {controller} from {file}"


def _removed_cgroup(cgroup: Path, others: list[Path]) -> Iterator[str]:
    processes = members.processes(cgroup)
    members.kill(cgroup, others)
    if processes:
        yield f"killed {len(processes)} processes in {cgroup}"
    members.remove_inner(cgroup)
    yield _removed_directory(str(cgroup))


def _removed_directory(cgroup: str) -> str:
    try:
        os.rmdir(cgroup)
    except OSError as error:
        return f"left cgroup {cgroup}: {error.strerror}; others may live in it"
    return f"removed cgroup {cgroup}"


def _removed_places(record: Record) -> Iterator[str]:
    """Remove the places for mounts; not while another container has mounts there, for they would go with them."""
    try:
        root = inspect.open_directory(Path(record.rootfs))
    except BundleError:  # and all that was made in it is gone, too
        return
    try:
        places = [path for path in record.places if inspect.exists(root, path)]
        with rootlock.unused(root) as unused:
            if places and not unused:
                yield f"left {', '.join(places)} in {record.rootfs}: another container runs in it"
                return
            inspect.remove_places(root, places)
        for path in places:
            filled = inspect.exists(root, path)
            yield f"{'kept' if filled else 'removed'} {path} in {record.rootfs}{': it is not empty' if filled else ''}"
    finally:
        os.close(root)
