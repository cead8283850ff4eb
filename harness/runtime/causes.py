"""What has failed, why that is likely, and what to do about it: a call of a plan and its errno, in words."""

import errno
import os

from harness.runtime.errors import StartError
from harness.runtime.forked import Failed
from harness.runtime.step import Saved
from harness.runtime.syscalls import explain_errno


def error(failed: Failed) -> StartError:
    """Return the error for a call that has failed."""
    status = 125
    if failed.step.name in ("program", "execute"):
        status = 127 if failed.number == errno.ENOENT else 126
    return StartError(
        sentence(failed.step.name, _with_paths(failed), failed.number), failed.step.name, failed.number, status
    )


def _with_paths(failed: Failed) -> str:
    """Return the failed call with the path of each descriptor that its step has opened, as strace -y shows it."""
    text = str(failed.call)
    for argument in failed.call.arguments:
        if isinstance(argument, Saved):
            for call in failed.step.calls:
                if call.name == "openat" and call.saves == argument.name:
                    text = text.replace(str(argument), f"{argument}<{call.arguments[1]}>", 1)
    return text


def sentence(step: str, call: str, number: int) -> str:
    """Say what failed, why that is likely, and what to do about it."""
    text = f"{step}: {call}: {explain_errno(number)}"
    for (name, code), cause in CAUSES.items():
        if code == number and (step == name or step.startswith(name + ":")):
            return f"{text}; {cause}"
    if number == errno.ENOSYS:
        return f"{text}; the kernel is too old for it, or a seccomp filter around this process hides it"
    if number == errno.ENOMEM:
        return f"{text}; a memory limit, in linux.resources or around this process, may be too low for the start itself"
    if number == errno.EPERM and os.geteuid() != 0:
        return f"{text}; an ordinary user may not, not even in a user namespace here"
    return text


CAUSES = {
    ("veth", errno.EEXIST): "the host has an interface of this hostName already; choose another",
    ("veth", errno.EPERM): "making interfaces takes CAP_NET_ADMIN on the host",
    ("veth", errno.EOPNOTSUPP): "this kernel has no driver for veth, or may not load it; try modprobe veth",
    ("cable-route", errno.ENETUNREACH): "the gateway is not in the network of linux.veth[].address",
    ("clone", errno.EPERM): "new namespaces need root, or a user namespace, which this kernel restricts "
    "(kernel.apparmor_restrict_unprivileged_userns, kernel.unprivileged_userns_clone, an outer container's filter)",
    ("clone", errno.ENOSPC): "the limit of namespaces is reached: user.max_*_namespaces",
    ("clone", errno.ENOMEM): "or the PID namespace to join has lost its first process and takes in nobody any more",
    (
        "clone",
        errno.ENOENT,
    ): "the container's cgroup lies outside the cgroup namespace to join, and the hierarchy is mounted with nsdelegate",
    (
        "enter",
        errno.EPERM,
    ): "joining a namespace needs CAP_SYS_ADMIN both here and in the user namespace that owns it; an "
    "ordinary user has it only by joining that user namespace, too",
    (
        "uid-map",
        errno.ENOENT,
    ): "an ordinary user may map by himself only his own id; for more install the package uidmap",
    (
        "gid-map",
        errno.ENOENT,
    ): "an ordinary user may map by himself only his own id; for more install the package uidmap",
    (
        "user",
        errno.EPERM,
    ): "where it is setgroups(2), the user namespace was made without the right to it: user_namespaces(7)",
    ("enter:pid", errno.EINVAL): "only PID namespaces below the launcher's own can be joined",
    ("mapped-ids", errno.EINVAL): "the user namespace to join has no id 0",
    ("time-offsets", errno.ERANGE): "with this offset a clock would stand before 0, or too far ahead",
    ("open-root", errno.ELOOP): "a symlink has been put in the path of the root since it was looked at",
    ("open-root", errno.EACCES): "the ids that root is mapped to may not pass through a directory above the root",
    (
        "open:/proc",
        errno.EPERM,
    ): "parts of the /proc around this process are covered, so the kernel refuses a fresh one",
    ("mount", errno.ELOOP): "symlinks of the image loop here, or lead through a link of /proc that is no path",
    ("mount", errno.ENOTDIR): "the image has a file where a directory belongs, or the other way round",
    ("remount", errno.EINVAL): "there is no mount, only what another mount holds",
    ("idmap", errno.EINVAL): "the source's file system cannot be mounted with an id map, or has one already",
    ("idmap", errno.EPERM): "an id map takes CAP_SYS_ADMIN where the source's file system was mounted",
    (
        "mount:/proc",
        errno.EINVAL,
    ): "the image has a symlink or a file in the place of /proc, which could lead other steps astray",
    (
        "mount:/sys",
        errno.EINVAL,
    ): "the image has a symlink or a file in the place of /sys, which could lead other steps astray",
    (
        "mount:/dev",
        errno.EINVAL,
    ): "the image has a symlink or a file in the place of /dev, which could lead other steps astray",
    (
        "cover-null",
        errno.ENOENT,
    ): "masks are made of the null device; the image has none to put it over, and the config no tmpfs at /dev",
    (
        "cover-null",
        errno.EINVAL,
    ): "the image has a directory in the place of /dev/null, and the config no tmpfs at /dev",
    ("limit:devices", errno.EPERM): "the cgroup above does not allow as much (version 1), or BPF is not allowed here",
    (
        "execute",
        errno.ENOENT,
    ): "no such program in the root, or its interpreter (#! line, ELF loader) is missing",
    (
        "execute",
        errno.EACCES,
    ): "the program may not be executed by this user, is on a mount with noexec, or process.landlock denies execute or "
    "read_file on it or on its interpreter",
    ("program", errno.ELOOP): "the program is a link of /proc, such as /proc/self/exe, which is the launcher's own "
    "executable; or its symlinks lead in a circle",
    ("execute", errno.ENOEXEC): "the program is not of this machine, or a script without a #! line",
    # execve(2) says so, too, where a page for the arguments is more than the limit allows.
    ("execute", errno.E2BIG): "there are too many, or a memory limit is too low for the start itself",
    ("execute", errno.EPERM): "the profile in linux.seccomp may deny execve to the program itself",
    ("seccomp", errno.EBUSY): "a filter around this process has a listener already, and there can be only one",
    ("label", errno.ENOENT): "no profile of this name is loaded: apparmor_parser(8)",
    ("label", errno.EINVAL): "the policy that is loaded knows no such label",
    ("landlock", errno.ENOENT): "paths of process.landlock.rules must be there, in the root or in a mount",
    ("landlock", errno.EINVAL): "a rule for a file allows only what is done to files, not to directories",
    ("seccomp", errno.EACCES): "a filter takes process.noNewPrivileges, or CAP_SYS_ADMIN here: seccomp(2)",
    ("rlimits", errno.EPERM): "a hard limit can only be raised with CAP_SYS_RESOURCE",
    (
        "scheduler",
        errno.EPERM,
    ): "real-time policies and a lower nice value need CAP_SYS_NICE, and on version 1 a share of cpu.rt_runtime_us",
    ("io-priority", errno.EPERM): "the real-time class needs CAP_SYS_NICE or CAP_SYS_ADMIN outside any user namespace",
    ("personality", errno.EINVAL): "this machine cannot run 32-bit programs",
    (
        "memory-policy",
        errno.EINVAL,
    ): "a node is not there or not in the cpuset, or the mode takes no nodes or flags",
    ("session-keyring", errno.EDQUOT): "the user has all the keys that kernel.keys.maxkeys allows: keyrings(7)",
    ("limit", errno.EACCES): "this cgroup is not delegated to this user",
    ("limit", errno.ENOENT): "this kernel, as it was built and booted, has no such limit",
    (
        "limit",
        errno.EINVAL,
    ): "the kernel takes no such value here; it may contradict another limit or an outer cgroup's",
    ("limit", errno.ENODEV): "this machine has no such device",
    ("limit", errno.EBUSY): "an outer or an inner cgroup, or what is in use already, does not allow it",
    (
        "cgroup",
        errno.EACCES,
    ): "this cgroup is not delegated to this user; try systemd-run --user --scope -p Delegate=yes",
    ("cgroup", errno.EROFS): "the cgroup file system around this process is read-only",
    ("working-directory", errno.ENOENT): "process.cwd is not there in the root",
}
