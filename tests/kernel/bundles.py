"""Real OCI bundles for the tests: busybox in a root of its own, and a config as `isoproof spec` writes it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from harness.runtime.config import Config
from harness.runtime.spec import example

BUSYBOX = "/bin/busybox"


def bundle(directory: Path, *command: str, **changes: Any) -> tuple[Path, Config]:
    """Make a bundle that runs a command, and return it with its config; `changes` replace top-level fields."""
    programs = directory / "rootfs" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(BUSYBOX, programs)
    for name in ("sh", "cat", "ls", "sleep", "true", "id", "mount", "hostname", "touch"):
        (programs / name).symlink_to("busybox")
    config = example(os.geteuid(), os.getegid()) | changes
    config["process"]["args"] = list(command) or ["/bin/true"]
    (directory / "config.json").write_text(json.dumps(config))
    return directory, config


def output_of(directory: Path, config: Config, **options: Any) -> tuple[int, str]:
    """Run a bundle and return its exit status and what it has written."""
    from harness.runtime.launch import run

    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    try:
        status = run(config, directory, (null, writer, writer), 20.0, **options)
    finally:
        os.close(writer)
        os.close(null)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
    return status, text


def snapshot() -> dict[str, object]:
    """Return everything that a container could leave behind on this host."""
    # os.walk, unlike Path.glob, does not mind a cgroup that somebody else removes meanwhile.
    cgroups = [path for path, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(path).startswith("isoproof-")]
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "cgroups": sorted(path for path in cgroups if f"-{os.getpid()}-" in path),
        "children": children,
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "hostname": os.uname().nodename,
    }
