"""bubblewrap, which makes the sandbox that its options describe: of itself it has none but a mount namespace.

As shipped it is asked for the least that the example in its documentation has (bubblewrap-shell.sh): all namespaces by
`--unshare-all`, a root to read, /proc and /dev. What its process inherits, limits and groups and open files, it hands
on, and has no options for.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, _asked, _command, _sandboxes
from harness.errors import HarnessError
from harness.runtime import seccomp
from harness.runtime.config import namespaces
from harness.runtime.syscalls import CLONE, PR, invoke

COMPLAINT = "bwrap: "  # what each of its own complaints begins with
EXPRESSED = (
    "annotations.isoproof.init",
    "hostname",
    "linux.gidMappings",
    "linux.maskedPaths",
    "linux.namespaces.cgroup",
    "linux.namespaces.ipc",
    "linux.namespaces.mount",
    "linux.namespaces.network",
    "linux.namespaces.pid",
    "linux.namespaces.user",
    "linux.namespaces.uts",
    "linux.readonlyPaths",
    "linux.seccomp",
    "linux.uidMappings",
    "mounts.bind",
    "mounts.tmpfs",
    "process.capabilities",
    "process.noNewPrivileges",
    "root.readonly",
)
NAMESPACES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}
# What it makes of a tmpfs, or of a bind mount, whether it is asked for or not, or has an option for.
TMPFS = ("nosuid", "nodev", "strictatime", "relatime", "mode", "size", "ro", "rprivate")
BIND = ("bind", "rbind", "ro", "rro", "nosuid", "nodev", "rprivate", "private")


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Bubblewrap(options)


class Bubblewrap(_command.Command):
    """It is a container that is taken apart: each namespace, mount and capability has an option."""

    program = "bwrap"
    package = "bubblewrap"

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config no options of bubblewrap express."""
        lacking = _sandboxes.lacking(config, EXPRESSED)
        kinds = namespaces(config)
        if "mount" not in kinds:
            lacking.append("the host's mount namespace")
        lacking += [
            f"options of the mount at {mount['destination']}" for mount in config["mounts"] if not _known(mount)
        ]
        user = config["process"]["user"]
        if "user" not in kinds:
            if (user["uid"], user["gid"]) != (os.geteuid(), os.getegid()):
                lacking.append("another user without a user namespace (--uid needs one)")
        elif not _is_caller(config):
            if os.geteuid() != 0:
                lacking.append("a user namespace with other ids than its caller's")
            elif user["uid"] == 0:
                lacking.append("root of a user namespace that is not its caller (--userns does not become uid 0)")
        filter_asked = config.get("linux", {}).get("seccomp") or {}
        if filter_asked.get("flags") or filter_asked.get("listenerPath"):
            lacking.append("linux.seccomp with flags or a listener")
        return lacking

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container; it dies with its launcher, and so does all that is in its PID namespace."""
        program = _command.path_to(self.program)
        with contextlib.ExitStack() as undo:
            words = [program, *self.words(config, undo), "--", *config["process"]["args"]]
            status, complaint = _sandboxes.run(words, io, deadline, COMPLAINT)
        return Exit(status, complaint if status == 1 else "", tuple(words))

    def words(self, config: Config, undo: contextlib.ExitStack) -> list[str]:
        """Return the options; what they refer to is there until it is undone."""
        asked = _asked.beyond_default(config) if self.shipped else config
        unshared = _namespaces(config, self.shipped) if namespaces(asked) else ["--unshare-all"]
        words = [*unshared, "--die-with-parent", *([] if self.shipped else ["--new-session", "--clearenv"])]
        if "user" in namespaces(asked):
            words += ["--unshare-user"] if _is_caller(config) else ["--userns", str(_user_namespace(asked, undo))]
            words += ["--uid", str(config["process"]["user"]["uid"]), "--gid", str(config["process"]["user"]["gid"])]
        if "hostname" in asked:
            words += ["--hostname", asked["hostname"]]
        if "capabilities" in asked["process"]:
            words += ["--cap-drop", "ALL", *(word for name in _held(config["process"]) for word in ("--cap-add", name))]
        return [
            *words,
            *(word for name, value in _environment(asked) for word in ("--setenv", name, value)),
            *files(config, asked, self.shipped),
            *(["--chdir", config["process"]["cwd"]] if "cwd" in asked["process"] else []),
            *(["--seccomp", str(_filter(asked, undo))] if "seccomp" in asked.get("linux", {}) else []),
        ]


def _is_caller(config: Config) -> bool:
    """Return whether the user in a user namespace is the caller by another number, and nobody else is there."""
    linux, user = config["linux"], config["process"]["user"]
    own = {"uid": os.geteuid(), "gid": os.getegid()}
    maps = {kind: [{"containerID": user[kind], "hostID": number, "size": 1}] for kind, number in own.items()}
    return all(linux.get(f"{kind}Mappings") == wanted for kind, wanted in maps.items())


def _namespaces(config: Config, shipped: bool) -> list[str]:
    """Return the options for namespaces; PID 1 is the program itself, but where another is asked for."""
    kinds = namespaces(config)
    words = [f"--unshare-{name}" for kind, name in NAMESPACES.items() if kind in kinds]
    reaped = shipped or config.get("annotations", {}).get("isoproof.init") == "true"
    return [*words, *(["--as-pid-1"] if "pid" in kinds and not reaped else [])]


def _held(process: Config) -> list[str]:
    """Return the capabilities that a program would have: those of another user than root are lost by execve(2)."""
    kind = "ambient" if process["user"]["uid"] else "permitted"
    return list(process["capabilities"].get(kind, []))


def _environment(config: Config) -> Iterator[tuple[str, str]]:
    for variable in config["process"].get("env", []):
        name, _, value = variable.partition("=")
        yield name, value


def files(config: Config, asked: Config, shipped: bool) -> list[str]:
    """Return the options about files, in the order in which they are done: covers lie on what has been mounted."""
    words = ["--bind", config["root"]["path"], "/"]
    if shipped:
        words += ["--proc", "/proc", "--dev", "/dev"]
    readonly = asked.get("linux", {}).get("readonlyPaths", [])
    for mount in asked["mounts"]:
        words += _mount(mount)
        # At once, for it is a mount of the host's files, and would lie on what is mounted there later.
        below = [path for path in readonly if path.startswith(mount["destination"] + "/")]
        words += [word for path in below for word in ("--ro-bind-try", path, path)]
    provided = [*(["/proc/"] if shipped else []), *(f"{mount['destination']}/" for mount in asked["mounts"])]
    for path in asked.get("linux", {}).get("maskedPaths", []):
        there = _sandboxes.on_host(config, path)
        if path.startswith(_sandboxes.OF_KERNEL) and not path.startswith(tuple(provided)):
            continue  # nothing is there that could be covered
        if there.is_dir():
            words += ["--tmpfs", path, "--remount-ro", path]
        elif there.exists():
            words += ["--dev-bind", "/dev/null", path]
    # Last, for until then there may be mount points to be made.
    return [*words, *(["--remount-ro", "/"] if config["root"].get("readonly") else [])]


def _mount(mount: Config) -> list[str]:
    path, options = mount["destination"], _sandboxes.options(mount)
    if _asked.is_bind(mount):
        return ["--ro-bind" if {"ro", "rro"} & options.keys() else "--bind", mount["source"], path]
    if path == "/dev":
        return ["--dev", path]
    if path == "/dev/pts":
        return []  # comes with /dev
    if mount["type"] in ("proc", "mqueue"):
        return [f"--{mount['type']}", path]
    if mount["type"] == "sysfs":
        return ["--ro-bind", "/sys", path]  # it can mount none, and shows the host's with all that is mounted below
    mode, size = options.get("mode"), options.get("size")
    return [
        *(["--perms", mode] if mode else []),
        *(["--size", str(_sandboxes.in_bytes(size))] if size else []),
        *["--tmpfs", path],
        *(["--remount-ro", path] if "ro" in options else []),
    ]


def _known(mount: Config) -> bool:
    """Return whether there are options for the options of a mount, or it is one that every container of ours has."""
    if mount in _asked.usual()["mounts"]:
        return True
    known = BIND if _asked.is_bind(mount) else TMPFS
    return mount.get("type") not in ("bind", "tmpfs") or _sandboxes.options(mount).keys() <= set(known)


def _user_namespace(config: Config, undo: contextlib.ExitStack) -> int:
    """Return a descriptor of a new user namespace with the ids of a config: by itself it maps one id alone."""
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        try:
            invoke("prctl", PR.SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            invoke("unshare", CLONE.NEWUSER.value)
            os.write(writing, b".")
            signal.pause()
        finally:
            os._exit(1)
    undo.callback(os.waitpid, holder, 0)
    undo.callback(os.kill, holder, signal.SIGKILL)
    os.close(writing)
    with os.fdopen(reading, "rb") as made:
        if not made.read(1):
            raise HarnessError("make a user namespace for bubblewrap: unshare(2) fails; see user_namespaces(7)")
    for kind in ("uid", "gid"):
        lines = [f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in config["linux"][f"{kind}Mappings"]]
        Path(f"/proc/{holder}/{kind}_map").write_text("".join(lines))
    return _handed_on(os.open(f"/proc/{holder}/ns/user", os.O_RDONLY), undo)


def _filter(config: Config, undo: contextlib.ExitStack) -> int:
    """Return a descriptor from which a compiled filter can be read."""
    file = os.memfd_create("seccomp")
    os.write(file, seccomp.pack(seccomp.compile_filter(config["linux"]["seccomp"], os.uname().machine)))
    os.lseek(file, 0, os.SEEK_SET)
    return _handed_on(file, undo)


def _handed_on(descriptor: int, undo: contextlib.ExitStack) -> int:
    undo.callback(os.close, descriptor)
    os.set_inheritable(descriptor, True)
    return descriptor
