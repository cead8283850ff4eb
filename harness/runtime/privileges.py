"""What the program may do and finds itself to be: ids, capabilities, limits, signals. credentials(7)."""

import errno
import struct

from harness.runtime import idmap
from harness.runtime.config import Config
from harness.runtime.fields import CAPABILITIES, RLIMITS
from harness.runtime.step import CHANNEL, Call, Filled, Host, Packed, Saved, Step, Strings
from harness.runtime.syscalls import AT_FDCWD, PR, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_RAISE, O

LINUX_CAPABILITY_VERSION_3 = 0x20080522
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
SIG_SETMASK = 2
SIGKILL = 9
SIGSTOP = 19
LAST_SIGNAL = 64
DIE = (Call("prctl", (PR.SET_PDEATHSIG, SIGKILL, 0, 0, 0)),)
DEFAULT_UMASK = 0o022
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Nobody with the same rights may trace it then, until execve(2): PR_SET_DUMPABLE(2const)
UNDUMPABLE = Call("prctl", (PR.SET_DUMPABLE, 0, 0, 0, 0))


def reset_signals() -> Step:
    """Give every signal its default action and unblock it; both outlive execve(2) otherwise."""
    default = Packed(bytes(32), "SIG_DFL")
    calls = [
        Call("rt_sigaction", (signal, default, None, 8))
        for signal in range(1, LAST_SIGNAL + 1)
        if signal not in (SIGKILL, SIGSTOP)
    ]
    calls.append(Call("rt_sigprocmask", (SIG_SETMASK, Packed(bytes(8), "no signal"), None, 8)))
    return Step("signals", "ignored and blocked signals outlive execve(2): signal(7)", tuple(calls))


def new_session() -> Step:
    """Leave the launcher's session, and with it its terminal."""
    return Step(
        "session",
        "or the container could push input into the launcher's terminal: setsid(2)",
        (Call("setsid", ()),),
    )


def clear_umask() -> Step:
    """Let the modes of what is made from here on be the ones that are asked for."""
    return Step("umask", "or the launcher's would cut the modes of device nodes: umask(2)", (Call("umask", (0,)),))


def set_rlimits(config: Config) -> list[Step]:
    """Set the resource limits of the config, while a hard limit may still be raised.

    Those that it does not name stay the launcher's, as with other runtimes: an administrator may have set them for
    whatever the launcher starts, and lifting them would be an escape from that.
    """
    calls = []
    for limit in config["process"].get("rlimits", []):
        value = struct.pack("=2Q", limit["soft"], limit["hard"])
        packed = Packed(value, f"soft={limit['soft']}, hard={limit['hard']}")
        calls.append(Call("prlimit64", (0, RLIMITS.index(limit["type"]), packed, None)))
    return [Step("rlimits", "while a hard limit may still be raised: getrlimit(2)", tuple(calls))] if calls else []


def set_oom_score(config: Config, host: Host) -> list[Step]:
    """Set the preference of the out-of-memory killer; without a value the runtime-spec wants it left as it is."""
    return [] if idmap.launcher_may_more(config, host) else _write_oom_score(config, "/proc/self/oom_score_adj")


def set_oom_score_from_outside(config: Config, host: Host) -> list[Step]:
    """Set the preference of a child in a user namespace.

    Once the launcher had one, with CAP_SYS_RESOURCE, no smaller one may be set without it: proc_pid_oom_score_adj(5).
    """
    path = Filled("/proc/{pid}/oom_score_adj")
    return _write_oom_score(config, path) if idmap.launcher_may_more(config, host) else []


def _write_oom_score(config: Config, path: str | Filled) -> list[Step]:
    value = config["process"].get("oomScoreAdj")
    if value is None:
        return []
    calls = (
        Call("openat", (AT_FDCWD, path, O.WRONLY | O.CLOEXEC), saves="file"),
        Call("write", (Saved("file"), str(value), len(str(value)))),
        Call("close", (Saved("file"),)),
    )
    return [Step("oom-score", "inherited from the launcher otherwise: proc_pid_oom_score_adj(5)", calls)]


def drop_bounding(config: Config, host: Host) -> list[Step]:
    """Drop from the bounding set whatever the config does not list, numbers that we have no name for included."""
    keep = numbers(config, "bounding")
    dropped = [number for number in range(host.last_capability + 1) if number not in keep]
    calls = tuple(Call("prctl", (PR.CAPBSET_DROP, number, 0, 0, 0)) for number in dropped)
    return [Step("bounding-set", "while CAP_SETPCAP is still there: capabilities(7)", calls)] if calls else []


def become_user(config: Config, host: Host) -> Step:
    """Take the ids of the config, groups first: afterwards there is no right to change them."""
    user = config["process"].get("user", {})
    uid, gid, groups = user.get("uid", 0), user.get("gid", 0), user.get("additionalGids", [])
    calls = [Call("prctl", (PR.SET_KEEPCAPS, 1, 0, 0, 0))]
    if groups or not idmap.setgroups_denied(config, host):
        packed = Packed(struct.pack(f"={len(groups)}I", *groups), ", ".join(map(str, groups)))
        denied = (errno.EPERM,) if idmap.may_be_denied(config, host) and not groups else ()
        calls.append(Call("setgroups", (len(groups), packed if groups else None), denied))
    calls += [
        Call("setresgid", (gid, gid, gid)),
        Call("setresuid", (uid, uid, uid)),
        Call("umask", (user.get("umask", DEFAULT_UMASK),)),
    ]
    return Step(
        "user",
        "groups before ids, for afterwards there is no right to change them: credentials(7)",
        tuple(calls),
    )


def set_capabilities(config: Config) -> Step:
    """Take exactly the capabilities of the config in the other four sets."""
    words = [[0, 0] for _ in range(3)]
    for index, name in enumerate(("effective", "permitted", "inheritable")):
        for number in numbers(config, name):
            words[index][number // 32] |= 1 << (number % 32)
    (effective, permitted, inheritable) = words
    data = struct.pack("=6I", effective[0], permitted[0], inheritable[0], effective[1], permitted[1], inheritable[1])
    header = Packed(struct.pack("=Ii", LINUX_CAPABILITY_VERSION_3, 0), "version 3, self")
    masks = [f"{name}={low | high << 32:#x}" for name, (low, high) in zip(SETS[1:4], words, strict=True)]
    calls = [
        Call("capset", (header, Packed(data, ", ".join(masks)))),
        Call("prctl", (PR.CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)),
    ]
    calls += [
        # The kernel refuses any other; `config.powerless` names them, for `isoproof run` to warn about.
        Call("prctl", (PR.CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0))
        for number in sorted(numbers(config, "ambient") & numbers(config, "permitted") & numbers(config, "inheritable"))
    ]
    return Step(
        "capabilities",
        "after the ids, because changing them clears capabilities: capabilities(7)",
        tuple(calls),
    )


def forbid_new_privileges(config: Config) -> list[Step]:
    """Make set-user-ID bits and file capabilities powerless."""
    if not config["process"].get("noNewPrivileges"):
        return []
    calls = (Call("prctl", (PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0)),)
    return [
        Step(
            "no-new-privileges",
            "set-user-ID programs of the image grant nothing from here on: prctl(2)",
            calls,
        )
    ]


def die_with_launcher() -> Step:
    """Have the kernel kill the child when its launcher dies, so that it neither waits nor goes on for nobody."""
    return Step("early-parent-death", "a half-made container has nobody to end it: prctl(2)", DIE)


def still_die_with_launcher() -> Step:
    """Have the kernel kill the container when its launcher dies, and fail where it has died already."""
    calls = (*DIE, Call("write", (CHANNEL, Packed(b"", "nothing"), 0)))
    why = "a change of ids has cleared it, and EPIPE tells a death in the meantime: prctl(2), unix(7)"
    return Step("parent-death", why, calls)


def close_descriptors() -> Step:
    """Close whatever the launcher or earlier steps have left open, but the channel, which execve(2) closes."""
    calls = (Call("close_range", (CHANNEL + 1, 2**32 - 1, 0)),)
    return Step(
        "descriptors",
        "before the working directory, which must not be entered through one: close_range(2)",
        calls,
    )


def enter_directory(config: Config) -> Step:
    """Go to the working directory with the rights of the user, not of the launcher."""
    return Step(
        "working-directory",
        "as the user, who must be allowed there: chdir(2)",
        (Call("chdir", (config["process"].get("cwd", "/"),)),),
    )


def execute(config: Config) -> Step:
    """Become the program; a name without a slash is looked for in the PATH of its own environment."""
    process = config["process"]
    arguments = Strings(tuple(argument.encode() for argument in process["args"]))
    environment = Strings(tuple(variable.encode() for variable in process.get("env", [])))
    paths = candidates(config)
    last = len(paths) - 1
    calls = tuple(
        Call("execve", (path, arguments, environment), SEARCH_ON if index < last else ())
        for index, path in enumerate(paths)
    )
    return Step("execute", "the container is the program now, and nothing of the launcher is left: execve(2)", calls)


ENOENT, EACCES, ENOTDIR = 2, 13, 20
SEARCH_ON = (ENOENT, EACCES, ENOTDIR)


def candidates(config: Config) -> list[str]:
    """Return the paths at which the program may be, best first."""
    name: str = config["process"]["args"][0]
    if "/" in name:
        return [name]
    path = DEFAULT_PATH
    for variable in config["process"].get("env", []):
        if variable.startswith("PATH="):
            path = variable[len("PATH=") :]
    return [f"{directory or '.'}/{name}" for directory in path.split(":")]


def numbers(config: Config, name: str) -> set[int]:
    """Return the numbers of the capabilities in one set of the config."""
    names = config["process"].get("capabilities", {}).get(name, [])
    return {CAPABILITIES.index(capability) for capability in names}
