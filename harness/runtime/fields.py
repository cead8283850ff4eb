"""Every field of a config.json that this runtime honours, in one table, and the names of those that it refuses.

`harness.runtime.config` holds a config to it; the tests for wrong values and random configs are made of it.
"""

from dataclasses import dataclass

from harness.runtime.kinds import (
    LIMITLESS,
    AbsolutePath,
    Address,
    Assignment,
    Flag,
    InterfaceName,
    Kind,
    Letters,
    Network,
    Nothing,
    NumberList,
    OneOf,
    Text,
    Whole,
)
from harness.runtime.landlock_numbers import LANDLOCK_ACCESS_FS, LANDLOCK_ACCESS_NET, LANDLOCK_SCOPE
from harness.runtime.seccomp_numbers import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS
from harness.runtime.syscalls import CLONE, IO_CLASSES, PERSONALITIES, SCHEDULER_FLAGS, SCHEDULERS

LONGEST = 9_223_372_036  # seconds that the kernel can count in nanoseconds: KTIME_SEC_MAX

MEMORY_POLICIES = (
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
)
MEMORY_POLICY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}

HOOKS = {
    "prestart": "by the launcher before pivot_root(2), the first of all",
    "createRuntime": "by the launcher before pivot_root(2)",
    "createContainer": "among the container's namespaces before pivot_root(2); the path is the host's",
    "startContainer": "just before the program, with its rights; the path is the container's",
    "poststart": "by the launcher when the program has started",
    "poststop": "by the launcher when all is undone",
}

NAMESPACES = {
    "mount": CLONE.NEWNS,
    "pid": CLONE.NEWPID,
    "uts": CLONE.NEWUTS,
    "ipc": CLONE.NEWIPC,
    "network": CLONE.NEWNET,
    "cgroup": CLONE.NEWCGROUP,
    "user": CLONE.NEWUSER,
    "time": CLONE.NEWTIME,
}

# In the order of their numbers, from 0: include/uapi/linux/capability.h
CAPABILITIES = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
        "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
        "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)

# In the order of their numbers, from 0: include/uapi/asm-generic/resource.h
RLIMITS = tuple(
    "RLIMIT_" + name
    for name in (
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
    ).split()
)

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")


@dataclass(frozen=True)
class Field:
    """One field: its path (`[]` stands for each item of a list, `*` for each key of a map), kind and meaning."""

    path: str
    kind: Kind
    meaning: str
    unit: str = ""


ID = Whole(0, 2**32 - 2)
DEVICE_NUMBER = Whole(0, 2**32 - 1)
HUGE_PAGES = ("64KB", "1MB", "2MB", "16MB", "32MB", "512MB", "1GB", "16GB")
MAJOR = Whole(0, 2**12 - 1)  # the kernel's dev_t: include/linux/kdev_t.h
MINOR = Whole(0, 2**20 - 1)

FILE_RIGHT = OneOf(tuple(right.name.lower() for right in LANDLOCK_ACCESS_FS if right.name), "right of Landlock")
PORT_RIGHT = OneOf(tuple(right.name.lower() for right in LANDLOCK_ACCESS_NET if right.name), "right of Landlock")
SCOPE = OneOf(tuple(scope.name.lower() for scope in LANDLOCK_SCOPE if scope.name), "scope of Landlock")

FIELDS = (
    Field("ociVersion", Text(), "Version of the runtime-spec that the config was written for"),
    Field("root.path", Text(), "The directory that becomes /, relative to the bundle or absolute"),
    Field("root.readonly", Flag(), "Whether the root is mounted read-only"),
    Field("hostname", Text(), "Name of the host in the UTS namespace"),
    Field("domainname", Text(), "NIS domain name in the UTS namespace"),
    Field("process.args[]", Text(), "The program and its arguments"),
    Field("process.env[]", Assignment(), "The whole environment of the program"),
    Field("process.cwd", AbsolutePath(), "Working directory, inside"),
    Field("process.terminal", Flag(), "Whether the program gets a terminal of its own"),
    Field("process.consoleSize.height", Whole(0, 2**16 - 1), "Size of the terminal", "rows"),
    Field("process.consoleSize.width", Whole(0, 2**16 - 1), "Size of the terminal", "columns"),
    Field("process.user.uid", ID, "User, inside"),
    Field("process.user.gid", ID, "Group, inside"),
    Field("process.user.umask", Whole(0, 0o777), "File mode creation mask"),
    Field("process.user.additionalGids[]", ID, "Supplementary groups, inside"),
    Field("process.capabilities.bounding[]", OneOf(CAPABILITIES, "capability"), "Bounding set"),
    Field("process.capabilities.effective[]", OneOf(CAPABILITIES, "capability"), "Effective set"),
    Field("process.capabilities.inheritable[]", OneOf(CAPABILITIES, "capability"), "Inheritable set"),
    Field("process.capabilities.permitted[]", OneOf(CAPABILITIES, "capability"), "Permitted set"),
    Field("process.capabilities.ambient[]", OneOf(CAPABILITIES, "capability"), "Ambient set"),
    Field("process.noNewPrivileges", Flag(), "Whether execve(2) can no longer grant privileges"),
    Field("process.rlimits[].type", OneOf(RLIMITS, "rlimit"), "Which limit of getrlimit(2)"),
    Field("process.rlimits[].soft", Whole(0, LIMITLESS), "The limit in force"),
    Field("process.rlimits[].hard", Whole(0, LIMITLESS), "The ceiling for the soft limit"),
    Field("process.oomScoreAdj", Whole(-1000, 1000), "Preference of the out-of-memory killer"),
    Field("process.scheduler.policy", OneOf(tuple(SCHEDULERS), "scheduling policy"), "Policy of sched(7)"),
    Field("process.scheduler.nice", Whole(-20, 19), "Nice value, for SCHED_OTHER and SCHED_BATCH"),
    Field("process.scheduler.priority", Whole(0, 99), "Static priority, for SCHED_FIFO and SCHED_RR"),
    Field("process.scheduler.flags[]", OneOf(tuple(SCHEDULER_FLAGS), "scheduler flag"), "Flags of sched_setattr(2)"),
    Field("process.scheduler.runtime", Whole(), "CPU time in each period, for SCHED_DEADLINE", "nanoseconds"),
    Field("process.scheduler.deadline", Whole(), "When it must have been had, for SCHED_DEADLINE", "nanoseconds"),
    Field("process.scheduler.period", Whole(), "Length of the period, for SCHED_DEADLINE", "nanoseconds"),
    Field("process.ioPriority.class", OneOf(IO_CLASSES[1:], "I/O class"), "I/O scheduling class"),
    Field("process.ioPriority.priority", Whole(0, 7), "Priority in the class, 0 being the highest"),
    Field("linux.personality.domain", OneOf(tuple(PERSONALITIES), "domain"), "Execution domain: personality(2)"),
    Field("linux.personality.flags[]", Nothing("the runtime-spec names no flag yet"), "Must be empty"),
    Field("process.execCPUAffinity.initial", NumberList(), "CPUs that an exec'd process begins on; there is none yet"),
    Field("process.execCPUAffinity.final", NumberList(), "CPUs that an exec'd process may use; there is none yet"),
    Field("process.apparmorProfile", Text(), "The profile under which AppArmor watches the program"),
    Field("process.selinuxLabel", Text(), "The context under which SELinux watches the program"),
    Field("process.landlock.ruleset.handledAccessFS[]", FILE_RIGHT, "Rights on files that take a rule: landlock(7)"),
    Field("process.landlock.ruleset.handledAccessNet[]", PORT_RIGHT, "Rights on ports that take a rule"),
    Field("process.landlock.ruleset.scoped[]", SCOPE, "What stops at the container, whatever its namespaces"),
    Field("process.landlock.rules.pathBeneath[].paths[]", AbsolutePath(), "Files and trees that a rule is for"),
    Field("process.landlock.rules.pathBeneath[].allowedAccess[]", FILE_RIGHT, "What it allows there"),
    Field("process.landlock.rules.netPort[].port", Whole(0, 65535), "The TCP port that a rule is for"),
    Field("process.landlock.rules.netPort[].allowedAccess[]", PORT_RIGHT, "What it allows there"),
    Field("mounts[].destination", AbsolutePath(), "Where the mount goes, inside"),
    Field("mounts[].type", Text(), "Type of the file system; `bind` or none with the option bind"),
    Field("mounts[].source", Text(), "What is mounted: a path of the host for a bind mount"),
    Field("mounts[].options[]", Text(), "Options, by the names of mount(8)"),
    *(
        Field(f"mounts[].{kind}Mappings[].{key}", sort, meaning)
        for kind in ("uid", "gid")
        for key, sort, meaning in (
            ("containerID", ID, "First id on the disk"),
            ("hostID", ID, "First id that is shown instead, as the host counts"),
            ("size", Whole(1, 2**32 - 1), "How many ids"),
        )
    ),
    Field("linux.namespaces[].type", OneOf(tuple(NAMESPACES), "namespace"), "A namespace of its own"),
    Field("linux.namespaces[].path", AbsolutePath(), "A namespace that is there already, joined instead of a new one"),
    Field("linux.timeOffsets.monotonic.secs", Whole(-LONGEST, LONGEST), "Added to CLOCK_MONOTONIC", "seconds"),
    Field("linux.timeOffsets.monotonic.nanosecs", Whole(0, 999_999_999), "Added to CLOCK_MONOTONIC", "nanoseconds"),
    Field("linux.timeOffsets.boottime.secs", Whole(-LONGEST, LONGEST), "Added to CLOCK_BOOTTIME", "seconds"),
    Field("linux.timeOffsets.boottime.nanosecs", Whole(0, 999_999_999), "Added to CLOCK_BOOTTIME", "nanoseconds"),
    Field("linux.veth[].name", InterfaceName(), "Our extension: the inner end of a cable to the host, see veth(4)"),
    Field("linux.veth[].address", Network(), "Its address inside"),
    Field("linux.veth[].gateway", Address(), "Where the default route leads"),
    Field("linux.veth[].hostName", InterfaceName(), "The end that stays on the host, in the launcher's network"),
    Field("linux.veth[].hostAddress", Network(), "Its address there"),
    Field("linux.netDevices.*.name", InterfaceName(), "What an interface of the host's, lent, is called inside"),
    Field("linux.uidMappings[].containerID", ID, "First user id inside"),
    Field("linux.uidMappings[].hostID", ID, "First user id outside"),
    Field("linux.uidMappings[].size", Whole(1, 2**32 - 1), "How many ids"),
    Field("linux.gidMappings[].containerID", ID, "First group id inside"),
    Field("linux.gidMappings[].hostID", ID, "First group id outside"),
    Field("linux.gidMappings[].size", Whole(1, 2**32 - 1), "How many ids"),
    Field("linux.memoryPolicy.mode", OneOf(MEMORY_POLICIES, "mode"), "Where memory comes from: set_mempolicy(2)"),
    Field("linux.memoryPolicy.nodes", NumberList(), "The memory nodes that the mode is about"),
    Field("linux.memoryPolicy.flags[]", OneOf(tuple(MEMORY_POLICY_FLAGS), "flag"), "What happens when nodes change"),
    Field("linux.rootfsPropagation", OneOf(PROPAGATIONS, "propagation"), "Propagation of the root mount"),
    Field("linux.maskedPaths[]", AbsolutePath(), "Paths that read as empty"),
    Field("linux.readonlyPaths[]", AbsolutePath(), "Paths that cannot be written"),
    Field("linux.sysctl.*", Text(), "Kernel parameters of the container's own namespaces"),
    Field("linux.devices[].type", OneOf(("c", "u", "b", "p"), "type of device"), "Character, block device or FIFO"),
    Field("linux.devices[].path", AbsolutePath(), "Where the node is made: below a /dev that is a tmpfs of the config"),
    Field("linux.devices[].major", MAJOR, "Which driver"),
    Field("linux.devices[].minor", MINOR, "Which of the driver's devices"),
    Field("linux.devices[].fileMode", Whole(0, 0o7777), "Permissions of the node"),
    Field("linux.devices[].uid", ID, "Owner of the node, inside"),
    Field("linux.devices[].gid", ID, "Group of the node, inside"),
    Field(
        "linux.cgroupsPath",
        Text(),
        "Where the cgroup is made: absolute from the hierarchy's root, else below the caller",
    ),
    Field("linux.resources.devices[].allow", Flag(), "Whether the rule allows or denies; the last that fits decides"),
    Field("linux.resources.devices[].type", OneOf(("a", "b", "c"), "type of device"), "All, block, character"),
    Field("linux.resources.devices[].major", Whole(-1, MAJOR.high), "Which driver, -1 for all"),
    Field("linux.resources.devices[].minor", Whole(-1, MINOR.high), "Which of the driver's devices, -1 for all"),
    Field("linux.resources.devices[].access", Letters("rwm"), "Reading, writing, making nodes"),
    Field("linux.resources.memory.limit", Whole(-1), "Memory that may be used", "bytes"),
    Field("linux.resources.memory.swap", Whole(-1), "Memory and swap together", "bytes"),
    Field("linux.resources.memory.reservation", Whole(-1), "Memory that is reclaimed last", "bytes"),
    Field("linux.resources.memory.swappiness", Whole(0, 200), "Readiness to swap; version 1 only"),
    Field("linux.resources.memory.disableOOMKiller", Flag(), "Wait instead of killing; true on version 1 only"),
    Field("linux.resources.memory.checkBeforeUpdate", Flag(), "For updates: a new cgroup has no usage to check"),
    Field("linux.resources.memory.kernelTCP", Whole(-1), "Memory of TCP buffers; version 1 only", "bytes"),
    Field("linux.resources.memory.useHierarchy", Flag(), "Whether inner cgroups count, too; nothing else is left"),
    Field("linux.resources.pids.limit", Whole(-1), "Number of tasks; 0 and -1 for any"),
    Field("linux.resources.cpu.quota", Whole(-1), "CPU time in each period", "microseconds"),
    Field("linux.resources.cpu.period", Whole(1000, 1_000_000), "Length of the period", "microseconds"),
    Field("linux.resources.cpu.burst", Whole(), "Unused CPU time that may be saved up", "microseconds"),
    Field("linux.resources.cpu.realtimePeriod", Whole(1), "Period of realtime tasks; version 1 only", "microseconds"),
    Field("linux.resources.cpu.realtimeRuntime", Whole(), "Their time in it; version 1 only", "microseconds"),
    Field("linux.resources.cpu.shares", Whole(2, 262_144), "Weight against the neighbours, 1024 being usual"),
    Field("linux.seccomp.defaultAction", OneOf(tuple(ACTIONS), "action"), "What happens to calls that no rule names"),
    Field("linux.seccomp.defaultErrnoRet", Whole(0, 4095), "The errno of the default action; EPERM where left out"),
    Field("linux.seccomp.architectures[]", OneOf(ARCHITECTURES, "architecture"), "Besides the machine's own"),
    Field("linux.seccomp.flags[]", OneOf(FLAGS, "flag"), "How the filter is installed: seccomp(2)"),
    Field("linux.seccomp.listenerPath", AbsolutePath(), "Socket of the program that answers what a filter reports"),
    Field("linux.seccomp.listenerMetadata", Text(), "What that program is told besides"),
    Field("linux.seccomp.syscalls[].names[]", Text(), "System calls; what an architecture lacks is passed over"),
    Field("linux.seccomp.syscalls[].action", OneOf(tuple(ACTIONS), "action"), "What happens to these calls"),
    Field("linux.seccomp.syscalls[].errnoRet", Whole(0, 4095), "The errno of the action; EPERM where left out"),
    Field("linux.seccomp.syscalls[].args[].index", Whole(0, 5), "Which argument, from 0"),
    Field("linux.seccomp.syscalls[].args[].value", Whole(0, LIMITLESS), "What it is compared with, or the mask"),
    Field("linux.seccomp.syscalls[].args[].valueTwo", Whole(0, LIMITLESS), "What is left under the mask"),
    Field("linux.seccomp.syscalls[].args[].op", OneOf(OPERATORS, "operator"), "How it is compared"),
    Field("linux.resources.cpu.idle", Whole(0, 1), "1 to run only when nobody else wants to"),
    Field("linux.resources.cpu.cpus", NumberList(), "CPUs that may be used: 0-3,7"),
    Field("linux.resources.cpu.mems", NumberList(), "Memory nodes that may be used"),
    Field("linux.resources.blockIO.weight", Whole(10, 1000), "Weight against the neighbours' block I/O"),
    Field("linux.resources.blockIO.weightDevice[].major", DEVICE_NUMBER, "The block device"),
    Field("linux.resources.blockIO.weightDevice[].minor", DEVICE_NUMBER, "The block device"),
    Field("linux.resources.blockIO.weightDevice[].weight", Whole(10, 1000), "Weight on this device"),
    *(
        Field(f"linux.resources.blockIO.throttle{way}{what}Device[].{key}", kind, meaning, unit)
        for way in ("Read", "Write")
        for what, rate in (("Bps", "bytes a second"), ("IOPS", "operations a second"))
        for key, kind, meaning, unit in (
            ("major", DEVICE_NUMBER, "The block device", ""),
            ("minor", DEVICE_NUMBER, "The block device", ""),
            ("rate", Whole(), f"Most that {way.lower()}s may take; 0 for any", rate),
        )
    ),
    Field("linux.resources.hugepageLimits[].pageSize", OneOf(HUGE_PAGES, "huge page size"), "Size of the pages"),
    Field("linux.resources.hugepageLimits[].limit", Whole(), "Huge pages that may be reserved or used", "bytes"),
    Field("linux.resources.network.classID", Whole(0, 2**32 - 1), "Class of outgoing packets; version 1 only"),
    Field("linux.resources.network.priorities[].name", Text(), "A network interface; version 1 only"),
    Field("linux.resources.network.priorities[].priority", Whole(0, 2**32 - 1), "Priority on it; version 1 only"),
    Field("linux.resources.rdma.*.hcaHandles", Whole(0, 2**31 - 1), "Open handles of an RDMA device"),
    Field("linux.resources.rdma.*.hcaObjects", Whole(0, 2**31 - 1), "Objects on an RDMA device"),
    Field("linux.resources.unified.*", Text(), "What is written into a file of version 2, by its name"),
    *(
        Field(f"hooks.{point}[].{key}", kind, meaning, unit)
        for point, when in HOOKS.items()
        for key, kind, meaning, unit in (
            ("path", AbsolutePath(), f"Program that is run {when}", ""),
            ("args[]", Text(), "Its arguments, its own name first", ""),
            ("env[]", Assignment(), "All of its environment", ""),
            ("timeout", Whole(1, 2**31 - 1), "When it is killed, and has failed", "seconds"),
        )
    ),
    Field("annotations.*", Text(), "Notes; `isoproof.init` = `true` runs the program under a PID 1 that reaps"),
)

# What the runtime-spec knows and this runtime does not do, each with the reason.
UNSUPPORTED = {
    "linux.intelRdt": "it takes resctrl and a processor with Resource Director Technology, on which it was never tried",
    "linux.mountLabel": "name the SELinux context among the options of each mount: context=...",
    "linux.resources.memory.kernel": "the kernel gave it up in Linux 5.16, and memory.limit counts its memory, too",
    "linux.resources.blockIO.leafWeight": "the kernel gave it up with its CFQ scheduler, in Linux 5.0",
    "linux.resources.blockIO.weightDevice[].leafWeight": "the kernel gave it up with its CFQ scheduler, in Linux 5.0",
    "vm": "a container is no virtual machine",
}

# What the runtime-spec has for other systems.
FOREIGN = frozenset("process.commandLine process.user.username solaris windows zos freebsd".split())

# Maps of which the runtime-spec names the keys: there a strange one is a wrong value, not an extension.
CLOSED = frozenset({"linux.timeOffsets"})

KINDS = {field.path: field.kind for field in FIELDS}


def _branches() -> frozenset[str]:
    """Return every path that leads to a field without being one: `process`, `process.user`, `mounts`, `mounts[]`."""
    found = set()
    for path in KINDS:
        parts = path.replace("[]", ".[]").split(".")[:-1]
        for end in range(1, len(parts) + 1):
            found.add(".".join(parts[:end]).replace(".[]", "[]"))
    return frozenset(found)


BRANCHES = _branches()
KNOWN = dict.fromkeys(sorted({*KINDS, *BRANCHES, *UNSUPPORTED, *FOREIGN}))
