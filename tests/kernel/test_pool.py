"""A container whose parts were made beforehand: nobody can tell it from another, and no part serves twice."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.runtime.config import Config, read
from harness.runtime.errors import StartError
from harness.runtime.launch import Prepared, prepared
from harness.runtime.plan import plan
from harness.runtime.pool import attaches_to_detached, split
from harness.runtime.spec import example
from harness.runtime.step import Call, Host, Plan
from harness.runtime.syscalls import AT_FDCWD, CLONE
from tests.kernel.bundles import bundle, snapshot
from tests.kernel.test_replay import lasting, launcher, looking

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    first = threading.Thread(target=os.getpid)  # for which the C library catches a signal of its own
    first.start()
    first.join()
    before, around = launcher(), snapshot()
    yield
    assert launcher() == before
    assert snapshot() == around


@contextmanager
def pooled(directory: Path, config: Config) -> Iterator[Prepared]:
    with prepared(read(config), directory, pooled=True) as container:
        yield container


def output_of(container: Prepared) -> str:
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    status = container.run((null, writer, writer), 20.0)
    os.close(writer)
    os.close(null)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert status == 0, text
    return text


def filled(container: Prepared) -> Prepared:
    assert container.pool
    container.pool.fill()
    return container


def world(text: str) -> list[str]:
    """Return what a program has found, the mounts sorted: the kernel lists them by their age, of which see the pool."""
    lines = lasting(text).splitlines()
    mounts = [line for line in lines if re.match(r"\S+ \S+ \S+:\S+ /", line)]
    assert len(mounts) > 10
    return [*(line for line in lines if line not in mounts), *sorted(mounts)]


@pytest.fixture(params=["as it is", "before Linux 6.15"])
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a kernel that attaches nothing to what is detached itself, too."""
    if request.param != "as it is":
        monkeypatch.setattr("harness.runtime.pool.attaches_to_detached", lambda: False)


@pytest.mark.usefixtures("_kernel")
def test_inside_it_is_like_one_made_on_demand(tmp_path: Path) -> None:
    directory, config = looking(tmp_path)
    config["process"]["user"] = {"uid": 1000, "gid": 5, "umask": 0o27}
    config["linux"]["devices"] = [{"type": "p", "path": "/dev/below/pipe"}]
    os.umask(0o77)  # of the launcher, which may not show in what a thread of his makes
    try:
        with pooled(directory, config) as container:
            on_demand, from_pool, again = (
                output_of(container),
                output_of(filled(container)),
                output_of(container),
            )
    finally:
        os.umask(0o22)
    assert world(from_pool) == world(on_demand) == world(again)
    assert "dev/below" not in on_demand
    assert len(on_demand) > 5000


def test_a_mask_fits_whatever_the_image_has_there(tmp_path: Path) -> None:
    """What is a directory on the host may be a file in the image, and the other way about."""
    shown = tmp_path / "here"
    (shown / "directory").mkdir(parents=True)
    (shown / "file").write_text("")
    inside = Path(f"{tmp_path}/bundle/rootfs{shown}")
    command = f"cd {shown}; for name in *; do echo $name; cat $name; ls -lanR $name; touch $name/more; done 2>&1; mount"
    directory, config = bundle(tmp_path / "bundle", "sh", "-c", command)
    inside.mkdir(parents=True)
    for name in ("directory", "as-on-the-host"):
        (inside / name).write_text("hide me")
    for name in ("file", "also-as-on-the-host", "unknown-there"):
        (inside / name).mkdir()
        (inside / name / "secret").write_text("hide me")
    (shown / "also-as-on-the-host").mkdir()
    config["linux"]["maskedPaths"] += [str(shown / name) for name in (*os.listdir(inside), "none")]
    with pooled(directory, config) as container:
        found = output_of(filled(container))
        assert sorted(found.splitlines()) == sorted(output_of(container).splitlines())
    assert "hide me" not in found
    assert "secret" not in found
    assert len(re.findall("^tmpfs on .*/here/.*size=0k", found, re.MULTILINE)) == 3


def test_its_namespaces_are_fresh_and_serve_once(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "for n in net ipc uts pid mnt; do ls -l /proc/self/ns/$n; done")
    with pooled(directory, config) as container:
        assert container.pool
        for _ in range(3):
            container.pool.fill()
        seen = [set(re.findall(r"\w+:\[\d+\]", output_of(container))) for _ in range(3)]
        assert container.pool.take() is None
        on_demand = set(re.findall(r"\w+:\[\d+\]", output_of(container)))
    own = {os.readlink(path) for path in Path("/proc/self/ns").iterdir()}
    assert [len(found) for found in [*seen, on_demand]] == [5] * 4
    assert not own & set.union(*seen, on_demand)
    # The numbers of others may be used again: only these were there at the same time.
    made = [{name for name in found if name.startswith(("net", "ipc"))} for found in seen]
    assert len(set.union(*made)) == 6


def test_what_one_leaves_in_a_part_no_other_finds(tmp_path: Path) -> None:
    look = "ls -a /dev/shm; ls -a /dev/mqueue; cat /proc/sys/net/ipv4/ip_default_ttl; cat /proc/net/dev | busybox wc -l"
    command = f"{look}; touch /dev/shm/mine; touch /dev/mqueue/mine"
    directory, config = bundle(tmp_path, "sh", "-c", command)
    with pooled(directory, config) as container:
        assert len({output_of(filled(container)) for _ in range(3)}) == 1


def test_what_was_filled_and_not_used_is_gone_in_the_end(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    with pooled(directory, config) as container:
        assert container.pool
        before = len(os.listdir("/proc/self/fd"))
        container.pool.fill()
        assert len(os.listdir("/proc/self/fd")) > before + 5


def test_a_failed_fill_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)

    def broken(made: Plan) -> Plan:
        bad = Call("openat", (AT_FDCWD, "/there/is/none", 0))
        steps = [replace(step, calls=(*step.calls, bad)) if step.name == "open:/sys" else step for step in made.steps]
        return replace(made, steps=tuple(steps))

    with prepared(read(config), directory, broken, pooled=True) as container:
        assert container.pool
        before = os.listdir("/proc/self/fd")
        with pytest.raises(StartError, match=r"^open:/sys: openat.*ENOENT"):
            container.pool.fill()
        assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_failed_start_uses_its_parts_up(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    with pooled(directory, config) as container:
        (directory / "rootfs/bin/true").unlink()
        null = os.open("/dev/null", os.O_RDWR)
        for _ in range(2):
            with pytest.raises(StartError, match="ENOENT"):
                filled(container).run((null, null, null), 20.0)
        os.close(null)


def test_what_covers_another_mount_is_not_attached_before_that() -> None:
    config = example(0, 0)
    at = [mount["destination"] for mount in config["mounts"]].index("/dev/shm")
    config["mounts"].insert(at, {"destination": "/dev/shm", "type": "bind", "source": "/etc", "options": ["bind"]})
    made = plan(read(config), Host("isoproof-1", "/r", kernel=(6, 18), files=frozenset()))
    names = [step.name for step in split(made)[1].steps]
    assert names.count("mount:/dev/shm") == 2


def test_only_what_does_not_depend_on_the_moment_is_made_beforehand() -> None:
    config = example(0, 0)
    config["mounts"].append({"destination": "/v", "type": "bind", "source": "/etc", "options": ["bind"]})
    made = plan(read(config), Host("isoproof-1", "/r", kernel=(6, 18), files=frozenset()))
    steps, rest = split(made)
    names = {step.name for step in steps}
    assert {"loopback", "open:/dev", "open:/dev/mqueue", "open:/sys", "open:mask:/sys/firmware"} <= names
    assert not {"open:/proc", "open:/v", "private", "mount:/dev", "mount:/v"} & names
    if attaches_to_detached():
        assert [step.name for step in rest.steps if step.name.startswith("mount:/dev")] == ["mount:/dev"]
    assert not (CLONE.NEWNET | CLONE.NEWIPC) & rest.flags
    assert {CLONE.NEWNS, CLONE.NEWPID, CLONE.NEWUTS} <= set(rest.flags)


def test_it_sees_no_cgroups_but_its_own(tmp_path: Path) -> None:
    """What shows a namespace of the container's is not made by somebody who is not in that."""
    directory, config = bundle(tmp_path, "busybox", "find", "/sys/fs/cgroup")
    config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]})
    with pooled(directory, config) as container:
        from_pool, on_demand = output_of(filled(container)), output_of(container)
    assert sorted(from_pool.split()) == sorted(on_demand.split())
    assert "cgroup.procs" in from_pool
