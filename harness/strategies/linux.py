"""Random kernel settings: names, clocks, parameters, memory, devices, system calls, cables."""

from hypothesis import strategies as st

from harness.runtime.config import Config
from harness.runtime.fields import KINDS, MEMORY_POLICY_FLAGS
from harness.strategies.values import NAMES, TEXTS, Strategy, values
from harness.strategies.world import Rule, World

# Parameters by the namespace that owns them, each with a value that is not the kernel's own. Of mount namespaces the
# start itself takes some tens: each mount that is not attached yet counts as one.
PARAMETERS = {
    "ipc": {
        "kernel.shmmni": "100",
        "kernel.msgmax": "4096",
        "kernel.sem": "100\t1000\t50\t10",
        "fs.mqueue.msg_max": "9",
    },
    "network": {"net.ipv4.ip_forward": "1", "net.core.somaxconn": "128", "net/ipv4/ping_group_range": "0\t5"},
    "user": {"user.max_ipc_namespaces": "7", "user.max_mnt_namespaces": "120"},
}
# Calls that no probe of the ones that observe a config makes, nor the interpreter.
UNUSED = ("swapon", "acct", "reboot", "kexec_load", "settimeofday", "vhangup")
LONGEST_OFFSET = 10**9  # seconds; with much more a clock would stand beyond what the kernel counts


def _names(world: World) -> Strategy:
    """Return names of the host; none where it would be the launcher's that is renamed."""
    letters = st.text("ab-.\u00e9", min_size=1, max_size=8) | st.just("x" * 64)
    return letters if "uts" in world.own else st.just("")


def _offsets(world: World) -> Strategy:
    if "time" not in world.own:
        return st.just({})
    clock = st.fixed_dictionaries(
        {}, optional={"secs": st.integers(-1, LONGEST_OFFSET), "nanosecs": st.integers(0, 999_999_999)}
    )
    return st.fixed_dictionaries({}, optional={"monotonic": clock, "boottime": clock})


def _parameters(world: World) -> Strategy:
    known = {name: value for kind in sorted(world.own & set(PARAMETERS)) for name, value in PARAMETERS[kind].items()}
    chosen = st.lists(st.sampled_from(sorted(known)), unique=True) if known else st.just([])
    return chosen.map(lambda names: {name: known[name] for name in names})


def _memory_policies(_world: World) -> Strategy:
    """Return policies about the first memory node, which every machine has."""
    flags = sorted(set(MEMORY_POLICY_FLAGS) - {"MPOL_F_NUMA_BALANCING"})  # which goes with one mode, on some kernels
    without = st.fixed_dictionaries({"mode": st.sampled_from(["MPOL_DEFAULT", "MPOL_LOCAL"])})
    return without | st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["MPOL_BIND", "MPOL_PREFERRED", "MPOL_INTERLEAVE", "MPOL_PREFERRED_MANY"]),
            "nodes": st.sampled_from(["0", "0-0"]),
        },
        optional={"flags": st.lists(st.sampled_from(flags), max_size=1)},
    )


@st.composite
def _devices(draw: st.DrawFn, world: World) -> list[Config]:
    """Draw device nodes; in a user namespace none but FIFOs, and the host's own null device, can be had."""
    found = []
    paths = st.lists(NAMES, min_size=1, max_size=2).map(lambda names: f"/dev/{'/'.join(names)}")
    for path in draw(st.lists(paths, max_size=3, unique_by=lambda path: path.split("/")[2])):
        node: Config = {"path": path, "type": "p" if world.mapped else draw(st.sampled_from(["p", "c", "u", "b"]))}
        if node["type"] != "p":
            node |= {key: draw(values(KINDS[f"linux.devices[].{key}"])) for key in ("major", "minor")}
        optional = {"fileMode": st.integers(0, 0o7777), "uid": world.ids(), "gid": world.ids()}
        node |= draw(st.fixed_dictionaries({}, optional=optional))
        found.append(node)
    if draw(st.booleans()):
        found.append({"path": "/dev/null", "type": "c", "major": 1, "minor": 3})
    return found


def _seccomp(_world: World) -> Strategy:
    """Return profiles that let through what is done inside; `harness.random_profiles` has those of any sort."""
    rule = st.fixed_dictionaries(
        {
            "names": st.lists(st.sampled_from(UNUSED), unique=True, min_size=1),
            "action": st.sampled_from(["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_LOG"]),
        }
    )
    return st.fixed_dictionaries(
        {"defaultAction": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"])},
        optional={
            "syscalls": st.lists(rule, max_size=2),
            "flags": st.lists(
                st.sampled_from(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"]), max_size=1
            ),
        },
    )


@st.composite
def _cables(draw: st.DrawFn, world: World) -> list[Config]:
    """Draw cables to the host, of either family, with a gateway that can be reached."""
    found = []
    for number in range(draw(st.integers(0, 2)) if "network" in world.own else 0):
        cable: Config = {"name": f"cell{number}", "hostName": f"host{number}"}
        network = draw(st.sampled_from(["", f"10.9.{number}.", f"fd00:9:{number + 1}::"]))
        if network:
            prefix = draw(st.sampled_from([24, 30] if "." in network else [64, 112]))
            cable["address"] = f"{network}2/{prefix}"
            cable["hostAddress"] = f"{network}1/{prefix}"
            if number == 0 and draw(st.booleans()):
                cable["gateway"] = f"{network}1"
        found.append(cable)
    return found


RULES: dict[str, Rule] = {
    "hostname": _names,
    "domainname": _names,
    "linux.personality": lambda _world: st.fixed_dictionaries({"domain": values(KINDS["linux.personality.domain"])}),
    "linux.timeOffsets": _offsets,
    "linux.memoryPolicy": _memory_policies,
    "linux.sysctl": _parameters,
    "linux.devices": _devices,
    "linux.seccomp": _seccomp,
    "linux.veth": _cables,
    "annotations": lambda _world: st.fixed_dictionaries(
        {}, optional={"isoproof.init": st.sampled_from(["false", "true"]), "org.example.note": TEXTS}
    ),
}
