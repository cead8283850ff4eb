"""What each feature of a config costs: the default config against the same with one thing taken out or added."""

import os
from typing import Any

from harness.bench import leavings
from harness.bench.contenders import place
from harness.bench.launcher import Launcher
from harness.bench.progress import Tell
from harness.bench.series import Section, Settings
from harness.bench.starts import SETTINGS, Start
from harness.bench.turns import Turns
from harness.errors import HarnessError
from harness.runtime.config import Config
from harness.runtime.fields import CAPABILITIES
from harness.shapes import FIRST_ID, IDS, merged

DEFAULT = "the default config"
TITLE = "Features"
QUESTION = "What does each feature of a config cost, taken out of the default one or added to it?"
VOLUMES = 20
WORDS = [
    "All are started from a small process; from a large one those that are forked take longer, the others do not.",
    "The hook is a createRuntime of /bin/true.",
    "Before the host's end of a cable is gone the kernel waits until nobody can be using it: that is in clean.",
]


def changes(config: Config) -> dict[str, dict[str, Any]]:
    """Return what is taken out (None) of a config or added to it, as merge patches under the names of the features."""
    namespaces = config["linux"]["namespaces"]
    ids = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
    binds = [
        {"destination": f"/volume{n}", "type": "bind", "source": "/usr", "options": ["bind"]} for n in range(VOLUMES)
    ]
    rights = ["execute", "read_file", "write_file"]
    rules = {"pathBeneath": [{"paths": ["/"], "allowedAccess": rights}]}
    limits = {"memory": {"limit": 1 << 28}, "pids": {"limit": 64}, "cpu": {"quota": 50_000, "period": 100_000}}
    found: dict[str, dict[str, Any]] = {
        "without seccomp": {"linux": {"seccomp": None}},
        "without masked paths": {"linux": {"maskedPaths": None}},
        "without read-only paths": {"linux": {"readonlyPaths": None}},
        "with a writable root": {"root": {"readonly": False}},
        "without rlimits": {"process": {"rlimits": None}},
        "with the whole bounding set": {"process": {"capabilities": {"bounding": list(CAPABILITIES)}}},
        "with limits of memory, pids and cpu": {"linux": {"resources": limits}},
        "with 1 bind mount": {"mounts": [*config["mounts"], *binds[:1]]},
        f"with {VOLUMES} bind mounts": {"mounts": [*config["mounts"], *binds]},
        "with Landlock": {"process": {"landlock": {"ruleset": {"handledAccessFS": rights}, "rules": rules}}},
        "with a user namespace": {
            "linux": {"namespaces": [*namespaces, {"type": "user"}], "uidMappings": ids, "gidMappings": ids}
        },
        "with a time namespace": {
            "linux": {"namespaces": [*namespaces, {"type": "time"}], "timeOffsets": {"boottime": {"secs": 1}}}
        },
        "with a cable (veth)": {
            "linux": {"veth": [{"name": "eth0", "address": "192.0.2.2/30", "hostName": f"bench{os.getpid()}"}]}
        },
        "with a terminal": {"process": {"terminal": True}},
        "with a hook": {"hooks": {"createRuntime": [{"path": "/bin/true"}]}},
        "with a PID 1 that reaps": {"annotations": {"isoproof.init": "true"}},
    }
    if {"type": "user"} in namespaces:  # an ordinary user's has one anyway
        del found["with a user namespace"]
    return found


def section(tell: Tell, settings: Settings = SETTINGS) -> Section:
    """Start containers that differ by one feature each, from a small process."""
    starts: dict[str, Start] = {}
    words = list(WORDS)
    with leavings.undone() as stack:
        made, launcher = stack.enter_context(place()), stack.enter_context(Launcher())
        made.directory.chmod(0o755)  # or a root that is nobody outside could not come to its files
        for number in range(VOLUMES):
            (made.bundle / f"rootfs/volume{number}").mkdir()

        def prepare(name: str, patch: dict[str, Any], forked: bool = False, pooled: bool = False) -> None:
            try:
                container = launcher.prepare(merged(made.config, patch), made.bundle, forked, pooled)
            except HarnessError as error:
                words.append(f"Not measured, {name}: {error}")
            else:
                starts[f"{name} ({container.executor})"] = container.start

        prepare(DEFAULT, {})
        prepare(DEFAULT, {}, pooled=True)
        prepare(DEFAULT, {}, forked=True)
        for name, patch in changes(made.config).items():
            prepare(name, patch)
        turns = Turns(TITLE, starts, settings, tell)
        turns.all_rounds()
    return Section(TITLE, QUESTION, turns.series(), words)
