"""What is on the host, and what each container of test_lives.py sees, held against what is known of them."""

import os

from tests.property.lives import SEEING_CGROUPS, Life, State
from tests.property.stage import ROOTS, Stage

PLACES = {"proc", "dev", "sys"}
LOOKS = (
    "show /proc/sys/kernel/hostname",
    "list /dev/shm",
    "show /proc/sysvipc/shm",
    "show /proc/net/unix",
    "list /proc",
    "show /sys/fs/cgroup/pids/pids.current",
    "show /sys/fs/cgroup/pids.current",
)


def wrong_on_host(stage: Stage, lives: list[Life], may_be_recorded: set[str]) -> list[str]:
    """Return what is there and should not be, or the other way about; `may_be_recorded` are names of records."""
    wrong = []
    launched = [life for life in lives if life.launched]
    worlds = {id(life.world): life.world for life in lives}.values()
    processes = len(stage.processes({life.launcher.pid for life in launched}))
    least, most = sum(len(world.sure()) for world in worlds), sum(len(world.pids) for world in worlds)
    if not least <= processes <= most:
        wrong.append(f"{processes} processes, which should be {least} to {most}")
    for life in lives:
        wrong += wrong_cgroups(life)
    recorded = set(stage.recorded())
    must = {life.launcher.record for life in lives if life.is_recorded}
    left = {name for name in recorded - must - may_be_recorded if not (must and name.startswith("places-"))}
    wrong += [f"no record {name}" for name in must - recorded] + [f"a record {name}" for name in left]
    for root in ROOTS:
        those = [life for life in lives if life.root == root and life.is_recorded]
        places = PLACES & set(os.listdir(root / "rootfs"))
        if any(life.state == State.RUNNING for life in those) and places < PLACES:
            wrong.append(f"only {places} in {root}")
        if not those and not may_be_recorded and places:
            wrong.append(f"{places} in {root}")
    return wrong


def wrong_cgroups(life: Life) -> list[str]:
    """Return the cgroups of a container that are missing, and those that should not be there any more."""
    if life.shares_cgroup:
        return []
    there = [cgroup for cgroup in life.launcher.cgroups if cgroup.exists()]
    if life.has_cgroups and len(there) < len(life.launcher.cgroups):
        return [f"{life} has only {there}"]
    if life.state in (State.PREPARED, State.GONE) and there:
        return [f"{life} has left {there}"]
    return []


def wrong_inside(life: Life, lives: list[Life]) -> list[str]:
    """Return what a container sees that is not its own, or does not see that is."""
    world = life.world
    name, files, keys, sockets, pids, *tasks = life.ask(*LOOKS)
    sure = world.sure()
    seen = {
        "name": ({name.strip()}, {world.name}, {world.name}),
        "files": (set(files.split()), {life.mark}, {life.mark}),
        "keys": ({line.split()[0] for line in keys.splitlines()[1:]}, world.keys, world.keys),
        "sockets": (
            {word[1:] for word in sockets.split() if word.startswith("@")},
            {mark for pid, mark in world.sockets.items() if pid in sure},
            set(world.sockets.values()),
        ),
    }
    if life.kind != "unhidden":
        seen["pids"] = ({pid for pid in pids.split() if pid.isdigit()}, set(map(str, sure)), set(map(str, world.pids)))
    wrong = [f"{life} sees {kind} {found}" for kind, (found, least, most) in seen.items() if not least <= found <= most]
    counts = [int(count) for count in tasks if count.strip().isdigit()]
    if counts:
        elsewhere = {pid for other in lives if other.target is life and not other.shares_cgroup for pid in other.own}
        if not len(sure - elsewhere) <= counts[0] <= len(world.pids - elsewhere):
            wrong.append(f"{life} counts {counts[0]} tasks")
    elif life.kind in SEEING_CGROUPS:
        wrong.append(f"{life} sees no cgroup")
    return wrong
