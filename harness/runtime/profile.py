"""The usual filter, as data: which system calls an ordinary container may make, in groups that each have one reason.

Except for the calls of STRICTER, clone(2) and socket(2), the verdicts are those of the profile that podman's packages
install, and the tests hold them to it, call by call. A call that is named nowhere fails with ENOSYS, as on a kernel
that lacks it, so that programs fall back to an older one. What is denied on purpose fails with EPERM.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.runtime.config import Config

EPERM, EINVAL, ENOSYS = 1, 22, 38


@dataclass(frozen=True, slots=True)
class Group:
    """System calls that are treated alike, why, and the capabilities any of which opens them."""

    why: str
    names: str
    capabilities: tuple[str, ...] = ()


# For everybody. Names that an architecture lacks are passed over: those of 32 bit ones are here as well.
ALLOWED = (
    Group(
        "files and directories: permissions and mounts decide",
        """
        _llseek access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
        faccessat2 fadvise64 fadvise64_64 arm_fadvise64_64 fallocate fchdir fchmod fchmodat fchown fchown32 fchownat
        fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs
        fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr lchown lchown32 lgetxattr
        link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat newfstatat open
        openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat
        readv removexattr rename renameat renameat2 rmdir sendfile sendfile64 setxattr stat stat64 statfs statfs64
        statx symlink symlinkat sync sync_file_range arm_sync_file_range syncfs truncate truncate64 umask unlink
        unlinkat utime utimensat utimensat_time64 utimes write writev
        """,
    ),
    Group("nodes: without CAP_MKNOD they are no devices", "mknod mknodat"),
    Group("a name for a file: opening one takes a capability of its own", "name_to_handle_at"),
    Group("devices and sockets: each driver checks for itself", "ioctl"),
    Group(
        "pipes and waiting for descriptors",
        """
        _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
        epoll_wait_old eventfd eventfd2 pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd
        signalfd4 splice tee
        """,
    ),
    Group("what happens to files", "fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch"),
    Group("asynchronous input and output, the old way", "io_cancel io_destroy io_getevents io_setup io_submit"),
    Group("how urgent input and output are", "ioprio_get ioprio_set"),
    Group(
        "memory of its own",
        """
        brk cacheflush madvise membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect
        mremap msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages
        """,
    ),
    Group(
        "processes and threads: what they can reach the PID namespace decides",
        """
        arch_prctl breakpoint execve execveat exit exit_group fork futex futex_time64 get_robust_list
        get_thread_area getpgid getpgrp getpid getppid getsid gettid kill modify_ldt pidfd_open pidfd_send_signal
        prctl restart_syscall rseq set_robust_list set_thread_area set_tid_address set_tls setpgid setsid tgkill tkill
        vfork wait4 waitid waitpid
        """,
    ),
    Group(
        "debugging: since Linux 4.8 a tracer cannot get round a filter any more",
        "process_vm_readv process_vm_writev ptrace",
    ),
    Group(
        "signals",
        """
        pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal sigpending sigprocmask sigreturn
        sigsuspend
        """,
    ),
    Group(
        "what time it is, and waiting for it; setting it takes a capability",
        """
        adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
        clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create
        timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
        timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
        """,
    ),
    Group(
        "scheduling and limits: the kernel asks for capabilities where others would suffer",
        """
        getcpu getpriority getrlimit getrusage prlimit64 sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
        sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        setpriority setrlimit ugetrlimit
        """,
    ),
    Group(
        "ids and capabilities: only downwards without a capability",
        """
        capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
        getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
        setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
        """,
    ),
    Group(
        "System V and POSIX IPC, in a namespace of its own",
        """
        ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
        mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
        """,
    ),
    Group(
        "sockets that are there already: which there can be is decided where they are made, below",
        """
        accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
        recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketpair
        """,
    ),
    Group(
        "locking oneself in further: it only takes away",
        "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp",
    ),
    Group("what machine this is, and chance", "getrandom sysinfo uname"),
)

# With one of the capabilities; EPERM without. The kernel asks for it too: two locks are better than one.
WITH_CAPABILITY = (
    Group("opens a file that no path leads to", "open_by_handle_at", ("CAP_DAC_READ_SEARCH",)),
    Group(
        "reaches into the kernel, other namespaces or everybody's files",
        "bpf fanotify_init lookup_dcookie perf_event_open quotactl setdomainname sethostname",
        ("CAP_SYS_ADMIN",),
    ),
    Group("is one way out of a root that is a mere directory", "chroot", ("CAP_SYS_CHROOT",)),
    Group("is code in the kernel", "delete_module finit_module init_module query_module", ("CAP_SYS_MODULE",)),
    Group("writes a record of all processes", "acct", ("CAP_SYS_PACCT",)),
    Group("tells about the memory of others, or takes it away", "kcmp process_madvise", ("CAP_SYS_PTRACE",)),
    Group("speaks to hardware", "ioperm iopl", ("CAP_SYS_RAWIO",)),
    Group("sets a clock that all share", "clock_settime clock_settime64 settimeofday stime", ("CAP_SYS_TIME",)),
    Group("takes a terminal from others", "vhangup", ("CAP_SYS_TTY_CONFIG",)),
)

# Likewise, but here podman's profile allows them to everybody, and Docker's does not.
STRICTER = (
    Group(
        "reaches file system drivers with whatever input, in a user namespace without any privilege: CVE-2022-0185",
        """
        fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree umount umount2
        """,
        ("CAP_SYS_ADMIN",),
    ),
    Group("exchanges the root of everybody in the mount namespace", "pivot_root", ("CAP_SYS_ADMIN",)),
    Group(
        "makes or joins namespaces, and a user namespace gives every capability over the others: CVE-2022-0492",
        "setns unshare",
        ("CAP_SYS_ADMIN",),
    ),
    Group("keys have no namespace but the user's: CVE-2016-0728", "keyctl"),
    Group(
        "shows or clears the kernel's messages, which are the whole machine's",
        "syslog",
        ("CAP_SYSLOG", "CAP_SYS_ADMIN"),
    ),
    Group("stops the PID namespace, and with another command the machine", "reboot", ("CAP_SYS_BOOT",)),
    Group("takes memory of a chosen node from the neighbours", "get_mempolicy mbind set_mempolicy", ("CAP_SYS_NICE",)),
    Group("takes open files out of another process", "pidfd_getfd", ("CAP_SYS_PTRACE",)),
    Group("makes any socket on i386, of a family that no filter sees behind the pointer", "socketcall"),
)

# For nobody.
DENIED = (
    Group(
        "superseded long ago, seldom tested, and in modern kernels mostly gone",
        """
        bdflush nfsservctl nice oldfstat oldlstat oldolduname oldstat olduname sgetmask ssetmask sysfs uselib ustat vm86
        vm86old
        """,
    ),
    Group("starts another kernel", "kexec_file_load kexec_load"),
    Group("swaps memory of the whole machine out", "swapoff swapon"),
    Group("speaks to hardware", "pciconfig_iobase pciconfig_read pciconfig_write"),
    Group("moves pages of other processes about", "migrate_pages move_pages"),
    Group("stops the kernel in the middle of a copy for as long as one likes, and so wins races", "userfaultfd"),
    Group("hands pages to a pipe that can still be changed", "vmsplice"),
    Group("podman's list has it here, though it does no more than io_getevents", "io_pgetevents"),
)

# The architectures of which each machine runs programs.
FAMILY = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

# Execution domains that change nothing but names: PER_LINUX, PER_LINUX32, both with UNAME26, and the question which it
# is. Others take address space randomisation away. personality(2)
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# Flags of clone(2) that make a namespace: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. Where podman
# lets everybody make one, this takes CAP_SYS_ADMIN. clone3(2) has them behind a pointer, where no filter sees them;
# ENOSYS makes the C library fall back to clone(2).
NAMESPACE_FLAGS = (1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30)

# Address families that know no network namespace, or offer the kernel's own code instead of a network: AF_ALG (38,
# CVE-2026-31431) and AF_VSOCK (40), which leads to the hypervisor. podman allows them, and overlooks that the kernel
# drops the high half of the argument that a filter sees. 64 is more than the kernel has.
FAMILIES = 64
AF_NETLINK, AF_ALG, AF_VSOCK = 16, 38, 40

# The protocol of AF_NETLINK that speaks to the audit system. CAP_AUDIT_WRITE opens it; EINVAL says that there is no
# auditing, which is what programs like sshd want to hear.
PROTOCOLS = 32
NETLINK_AUDIT = 9

# Not in a group, since arguments decide.
CONDITIONAL = frozenset(("clone", "clone3", "personality", "socket"))
INT = 0xFFFFFFFF  # the part of a register that the kernel takes an int from


def profile(capabilities: Iterable[str], machine: str) -> Config:
    """Return `linux.seccomp` for a container with these capabilities on this machine."""
    held = set(capabilities)
    rules = [_rule(group.names, errno=EPERM) for group in DENIED]
    for group in (*WITH_CAPABILITY, *STRICTER):
        rules.append(_rule(group.names, errno=None if held & set(group.capabilities) else EPERM))
    rules += [_rule(group.names) for group in ALLOWED]  # after socketcall(2), or libseccomp would open it for these
    rules += [_rule("personality", _equal(0, value)) for value in PERSONALITIES]
    rules += _processes("CAP_SYS_ADMIN" in held)
    rules += _sockets("CAP_AUDIT_WRITE" in held)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": list(FAMILY[machine]),
        "syscalls": rules,
    }


def _processes(may_make_namespaces: bool) -> list[Config]:
    if may_make_namespaces:
        return [_rule("clone clone3")]
    return [
        _rule("clone", _masked(0, sum(NAMESPACE_FLAGS), 0)),
        *(_rule("clone", _masked(0, flag, flag), errno=EPERM) for flag in NAMESPACE_FLAGS),
        _rule("clone3", errno=ENOSYS),
    ]


def _sockets(may_audit: bool) -> list[Config]:
    closed = {AF_ALG, AF_VSOCK}
    rules = [_rule("socket", _masked(0, INT, family), errno=EPERM) for family in sorted(closed)]
    if not may_audit:
        netlink = _masked(0, INT, AF_NETLINK)
        closed.add(AF_NETLINK)
        rules.append(_rule("socket", netlink, _masked(2, INT, NETLINK_AUDIT), errno=EINVAL))
        rules += [
            _rule("socket", netlink, _masked(2, mask, start)) for start, mask in _blocks(PROTOCOLS, {NETLINK_AUDIT})
        ]
    return rules + [_rule("socket", _masked(0, mask, start)) for start, mask in _blocks(FAMILIES, closed)]


def _blocks(end: int, without: set[int], start: int = 0) -> list[tuple[int, int]]:
    """Return the numbers below a power of two, but for some, as few pairs of first and mask: one rule for each."""
    numbers = range(start, end)
    if without.isdisjoint(numbers):
        return [(start, INT & -len(numbers))]
    middle = (start + end) // 2
    return _blocks(middle, without, start) + _blocks(end, without, middle) if len(numbers) > 1 else []


def _rule(names: str, *conditions: Config, errno: int | None = None) -> Config:
    result = {"action": "SCMP_ACT_ALLOW"} if errno is None else {"action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    return {"names": names.split(), "args": list(conditions)} | result


def _equal(index: int, value: int) -> Config:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _masked(index: int, mask: int, value: int) -> Config:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
