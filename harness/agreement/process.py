"""Claims of the process: credentials(7), capabilities(7), getrlimit(2), sched(7), and what execve(2) hands over."""

from collections.abc import Callable
from typing import Any

from harness.agreement.claim import NOTHING, Claim, Facts, fact
from harness.runtime.config import Config, own
from harness.runtime.fields import CAPABILITIES
from harness.runtime.privileges import DEFAULT_UMASK
from harness.runtime.syscalls import IO_CLASSES, SCHEDULERS

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def observations(config: Config) -> Facts:
    """Return the observations that these claims need inside, without what is usual."""
    wanted: Facts = {name: {} for name in ("init", "identity", "capabilities", "attributes", "environ")}
    if config["process"].get("terminal"):
        wanted["console"] = {}
    return wanted


def _of_process(name: str, default: Any = NOTHING) -> Callable[[Config], Any]:
    return lambda config: config["process"].get(name, default)


def _of_user(name: str, default: Any) -> Callable[[Config], Any]:
    return lambda config: config["process"].get("user", {}).get(name, default)


def _one_id(*names: str) -> Callable[[Facts, Config], Any]:
    """Return what reads ids that must all be the same; where they are not it reads them all."""

    def read(facts: Facts, _config: Config) -> Any:
        found = {facts["identity"][name] for name in names}
        return found.pop() if len(found) == 1 else sorted(found)

    return read


def _capabilities(config: Config) -> Facts:
    """Return the five sets as execve(2) leaves them: capabilities(7), "Transformation of capabilities"."""
    process = config["process"]
    wanted = {kind: set(process.get("capabilities", {}).get(kind, [])) for kind in SETS}
    permitted = effective = ambient = wanted["ambient"] & wanted["permitted"] & wanted["inheritable"]
    if process.get("user", {}).get("uid", 0) == 0:  # root gets what a file with every capability would give
        permitted = ambient | wanted["inheritable"] | wanted["bounding"]
        if process.get("noNewPrivileges"):
            permitted &= wanted["permitted"]
        effective = permitted
    found = wanted | {"permitted": permitted, "effective": effective, "ambient": ambient}
    return {kind: sorted(names, key=CAPABILITIES.index) for kind, names in found.items()}


def _capabilities_seen(facts: Facts, _config: Config) -> Facts:
    return {kind: facts["capabilities"]["child"][kind] for kind in SETS}


def _rlimits(config: Config) -> Facts:
    return {limit["type"]: [limit["soft"], limit["hard"]] for limit in config["process"].get("rlimits", [])}


def _rlimits_seen(facts: Facts, config: Config) -> Facts:
    return {name: facts["attributes"]["rlimits"][name] for name in _rlimits(config)}


def _scheduler(config: Config) -> Facts:
    """Return policy and nice value, which are those of a process that nobody has touched where nothing else is said."""
    wanted = config["process"].get("scheduler", {})
    return {"policy": SCHEDULERS[wanted.get("policy", "SCHED_OTHER")], "nice": wanted.get("nice", 0)}


def _scheduler_seen(facts: Facts, _config: Config) -> Facts:
    return {name: facts["attributes"][name] for name in ("policy", "nice")}


def _io_priority(config: Config) -> Any:
    wanted = config["process"].get("ioPriority")
    return IO_CLASSES.index(wanted["class"]) << 13 | wanted["priority"] if wanted else NOTHING


def _console_size(config: Config) -> Any:
    process = config["process"]
    size = process.get("consoleSize")
    return [size["height"], size["width"]] if size and process.get("terminal") else NOTHING


def _is_first(config: Config) -> bool:
    """Return whether the program is PID 1: in a PID namespace of its own, unless it is under one that reaps."""
    return "pid" in own(config) and config.get("annotations", {}).get("isoproof.init") != "true"


CLAIMS = (
    Claim(
        "process.env[]",
        lambda config: sorted(filter(None, config["process"].get("env", []))),
        fact("environ", "variables"),
    ),
    Claim("process.cwd", _of_process("cwd", "/"), fact("attributes", "directory")),
    Claim(
        "process.terminal", _of_process("terminal", False), lambda facts, _config: facts["attributes"]["terminal"] != 0
    ),
    Claim("process.consoleSize", _console_size, fact("console", "size")),
    Claim("process.user.uid", _of_user("uid", 0), _one_id("uid", "euid", "suid")),
    Claim("process.user.gid", _of_user("gid", 0), _one_id("gid", "egid", "sgid")),
    Claim("process.user.umask", _of_user("umask", DEFAULT_UMASK), fact("attributes", "umask")),
    Claim(
        "process.user.additionalGids[]",
        lambda config: sorted(_of_user("additionalGids", [])(config)),
        fact("identity", "groups"),
    ),
    Claim("process.capabilities", _capabilities, _capabilities_seen),
    Claim(
        "process.noNewPrivileges",
        lambda config: int(config["process"].get("noNewPrivileges", False)),
        fact("capabilities", "child", "no_new_privileges"),
    ),
    Claim("process.rlimits", _rlimits, _rlimits_seen),
    Claim("process.oomScoreAdj", _of_process("oomScoreAdj"), fact("attributes", "oom_score_adj")),
    Claim("process.scheduler", _scheduler, _scheduler_seen),
    Claim("process.ioPriority", _io_priority, fact("attributes", "io_priority")),
    Claim("annotations.*", _is_first, lambda facts, _config: facts["init"]["pid"] == 1),
)
