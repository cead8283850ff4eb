"""firejail, which lays restrictions over the host's tree, or over another that it changes its root to.

The latter its configuration forbids as it is shipped, unless it says `chroot yes`; so it is given one that does. In a
chroot it mounts nothing that one could ask for: the probe kit is mounted there before. It would take the namespace of
processes that it is started in for a sandbox, and make no other, so it is told that this is a container.

As shipped it is given nothing but the program, and runs it on the host's tree, which it is made for, with the profile
for servers, the one that it takes where root starts what has none.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, _asked, _command, _sandboxes
from harness.runtime.config import namespaces
from harness.runtime.spec import example
from harness.shapes import KIT

COMPLAINT = "Error"  # what its own complaints begin with
CONFIGURATION = Path("/etc/firejail/firejail.config")
NEEDED = ("run", "var/tmp")  # what it looks for in a root
CONTAINER = b"container=systemd-nspawn\0"  # what the first process of a container has in its environment
RLIMITS = {"AS": "as", "CPU": "cpu", "FSIZE": "fsize", "NOFILE": "nofile", "NPROC": "nproc", "SIGPENDING": "sigpending"}
EXPRESSED = (
    "hostname",
    "linux.maskedPaths",
    "linux.namespaces.ipc",
    "linux.namespaces.mount",
    "linux.namespaces.network",
    "linux.namespaces.pid",
    "linux.namespaces.uts",
    "linux.readonlyPaths",
    "process.capabilities",
    "process.noNewPrivileges",
    "process.oomScoreAdj",
    "process.rlimits",
    "root.readonly",
)
ALWAYS = ("ipc", "mount", "pid", "uts")  # the namespaces that it makes for root in any case


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Firejail(options)


class Firejail(_command.Command):
    """Its profiles are for programs of the host; here it has a root of its own."""

    program = "firejail"
    package = "firejail"
    root = "a root for firejail takes root"

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config no options of firejail express."""
        rest = {**config, "mounts": [mount for mount in config["mounts"] if mount["destination"] != KIT]}
        lacking = _sandboxes.lacking(rest, EXPRESSED)
        lacking += [f"the host's {kind} namespace" for kind in ALWAYS if kind not in namespaces(config)]
        user = config["process"]["user"]
        if user["uid"] or user["gid"]:
            lacking.append("another user than its caller")
        for limit in config["process"].get("rlimits", []):
            if limit["type"].removeprefix("RLIMIT_") not in RLIMITS or limit["soft"] != limit["hard"]:
                lacking.append(f"{limit['type']} (it has options for few limits, and one value for soft and hard)")
        usual = example(0, 0)["mounts"]
        own = [mount["destination"] for mount in usual]
        for mount in rest["mounts"]:
            if mount["destination"] in own and mount not in usual:
                lacking.append(f"another mount at {mount['destination']} than its own")
        return lacking

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container in a root that is prepared as its users would."""
        asked = _asked.beyond_default(config) if self.shipped else config
        root = Path(config["root"]["path"])
        prepared = _command.within(*_preparations(config, bundle, self.shipped))
        # Unlike an ordinary root, the one of the sandbox has ambient capabilities, which would pass by --caps.keep.
        prepared += ["setpriv", "--ambient-caps=-all", "--inh-caps=-all"]
        words = [*prepared, _command.path_to(self.program), "--quiet"]
        words += [] if self.shipped else [f"--chroot={root}"]
        # Behind `--` it would have a shell start the program, which the root need not have.
        words += [*options_for(config, asked, self.shipped), *config["process"]["args"]]
        with _sandboxes.made({root / name: True for name in NEEDED if not self.shipped}):
            status, complaint = _sandboxes.run(words, io, deadline, COMPLAINT)
        return Exit(status, complaint.lstrip(": ") if status == 1 else "", tuple(words))


def _preparations(config: Config, bundle: Path, shipped: bool) -> Iterator[str]:
    """Yield what has to be done in its mount namespace before it is started, in a shell's words."""
    (bundle / "environ").write_bytes(CONTAINER)
    yield "mount -t tmpfs -o mode=755 run /run"
    yield f"mount --bind {bundle}/environ /proc/1/environ"
    if shipped:
        return
    root = config["root"]["path"]
    allowing = bundle / "firejail.config"
    allowing.write_text(f"{CONFIGURATION.read_text()}\nchroot yes\n")
    yield f"mount --bind {allowing} {CONFIGURATION}"
    for mount in config["mounts"]:
        if mount["destination"] == KIT:
            yield f"mount --bind {mount['source']} {root}{KIT}"
            yield f"mount -o remount,bind,ro,nosuid,nodev {root}{KIT}"


def options_for(config: Config, asked: Config, shipped: bool) -> Iterator[str]:
    """Yield the options for what is asked for."""
    process, linux = asked["process"], asked.get("linux", {})
    if not shipped:
        yield "--noprofile"
        yield "--private-dev"
        yield from (f"--rmenv={name}" for name in os.environ)
    if not shipped or "namespaces" in linux:
        yield from (["--net=none"] if "network" in namespaces(config) else [])
    if "hostname" in asked:
        yield f"--hostname={asked['hostname']}"
    if "capabilities" in process:
        held = [name.removeprefix("CAP_").lower() for name in config["process"]["capabilities"].get("permitted", [])]
        yield f"--caps.keep={','.join(held)}" if held else "--caps.drop=all"
    if process.get("noNewPrivileges"):
        yield "--nonewprivs"
    if "oomScoreAdj" in process:
        yield f"--oom={process['oomScoreAdj']}"
    for limit in process.get("rlimits", []):
        yield f"--rlimit-{RLIMITS[limit['type'].removeprefix('RLIMIT_')]}={limit['soft']}"
    yield from (f"--env={variable}" for variable in process.get("env", []))
    if "cwd" in process:
        yield f"--private-cwd={process['cwd']}"
    if asked["root"].get("readonly"):
        yield "--read-only=/"
    yield from (f"--read-only={path}" for path in linux.get("readonlyPaths", []))
    yield from (f"--blacklist={path}" for path in linux.get("maskedPaths", []))
