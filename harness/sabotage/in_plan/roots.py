"""Knobs for the root, mounts and devices."""

import errno
from dataclasses import replace

from harness.runtime.mounts import DETACHED_ROOT
from harness.runtime.mountsources import set_attributes
from harness.runtime.step import Argument, Call, Plan, Saved, Step
from harness.runtime.syscalls import AT, AT_FDCWD, MOVE_MOUNT, MS, O
from harness.sabotage.editing import before, rootfs_of, without


def no_root_switch(plan: Plan) -> Plan:
    """Neither pivot_root(2) nor chroot(2)."""
    return without(plan, "attach-root", "pivot-root", "drop-old-root")


def chroot_instead_of_pivot(plan: Plan) -> Plan:
    """Use chroot(2), which can be climbed out of."""
    chroot = Step("chroot", "a root that is left by another chroot(2)", (Call("chroot", (".",)),))
    return without(plan.exchange("pivot-root", chroot), "drop-old-root")


def keep_old_root(plan: Plan) -> Plan:
    """Leave the host's tree where pivot_root(2) has put it."""
    return without(plan, "drop-old-root")


def leak_cwd(plan: Plan) -> Plan:
    """Leave the working directory in the host's tree."""
    take = Step(
        "keep-host-root",
        "sabotage",
        (Call("openat", (AT_FDCWD, "/", O.PATH | O.CLOEXEC), saves="host-root"),),
    )
    go_back = Step("leave-root", "sabotage", (Call("fchdir", (Saved("host-root"),)),))
    return before(before(without(plan, "working-directory"), "open-root", take), "descriptors", go_back)


def naive_path_join(plan: Plan) -> Plan:
    """Mount before the root is switched, at paths joined as text, so that symlinks of the image lead to the host."""
    rootfs = rootfs_of(plan)
    moved = []
    for step in plan.steps:
        if step.name.startswith("mount:"):
            joined = [_following(replace(call, arguments=_joined(call, rootfs))) for call in step.calls]
            moved.append(replace(step, calls=tuple(joined)))
    attach = next(step for step in plan.steps if step.name == "attach-root")
    plan = plan.without(*(step.name for step in moved))
    first = replace(attach, calls=attach.calls[:1])
    rest = replace(attach, name="enter-new-root", calls=attach.calls[1:])
    return plan.exchange("attach-root", first, *moved, rest)


def naive_mkdirall(plan: Plan) -> Plan:
    """Make the places for mounts before the root is switched as well, at paths joined as text."""
    rootfs = rootfs_of(plan)
    steps = []
    for step in plan.steps:
        if step.name.startswith("mount:"):
            joined = [replace(call, arguments=_joined(call, rootfs)) for call in step.calls]
            last = max((at for at, call in enumerate(joined) if call.name in ("mkdirat", "mknodat")), default=-1)
            # What a place has been made in was opened before, and is closed right behind.
            end = last + 2 if last >= 0 and isinstance(joined[last].arguments[0], Saved) else last + 1
            steps.append(Step(f"place:{step.name.removeprefix('mount:')}", "sabotage", tuple(joined[:end])))
    return plan.exchange("attach-root", *steps, next(step for step in plan.steps if step.name == "attach-root"))


def dev_on_root(plan: Plan) -> Plan:
    """Let the device nodes of the image be devices."""
    step = next(step for step in plan.steps if step.name == "open-root")
    private = set_attributes(DETACHED_ROOT, AT.RECURSIVE, propagation=MS.PRIVATE)
    calls = tuple(private if call.name == "mount_setattr" else call for call in step.calls)
    return plan.exchange("open-root", replace(step, calls=calls))


def allow_symlink_proc(plan: Plan) -> Plan:
    """Follow a symlink that the image has in the place of /proc."""
    step = next(step for step in plan.steps if step.name == "mount:/proc")
    return plan.exchange("mount:/proc", replace(step, calls=tuple(map(_following, step.calls))))


def trust_image_null(plan: Plan) -> Plan:
    """Make masks of whatever the image calls /dev/null."""
    step = next(step for step in plan.steps if step.name == "cover-null")
    return plan.exchange(
        step.name, replace(step, calls=tuple(call for call in step.calls if call.name != "move_mount"))
    )


def console_follow_symlink(plan: Plan) -> Plan:
    """Have a symlink in the place of /dev/console, as an image may, and mount the terminal where it leads: on null."""
    step = next(step for step in plan.steps if step.name == "console")
    place, take, move, leave = step.calls
    flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_SYMLINKS
    calls = (
        Call("symlinkat", ("null", place.arguments[0], "console")),
        take,
        replace(move, arguments=(*move.arguments[:4], flags)),
        leave,
    )
    return plan.exchange("console", replace(step, calls=calls))


def dev_core_link(plan: Plan) -> Plan:
    """Make /dev/core, a link to the memory of the kernel."""
    step = next(step for step in plan.steps if step.name == "device-links")
    link = Call("symlinkat", ("/proc/kcore", step.calls[0].arguments[1], "core"))
    return plan.exchange("device-links", replace(step, calls=(*step.calls, link)))


def teardown_follow_symlinks(plan: Plan) -> Plan:
    """Remove the files that were made as places for mounts by their paths on the host, when the container has ended."""
    rootfs = rootfs_of(plan)
    undo = tuple(
        Call("unlinkat", (AT_FDCWD, f"{rootfs}{step.name.removeprefix('mount:')}", 0), (errno.ENOENT,))
        for step in plan.steps
        if step.name.startswith("mount:") and any(call.name == "mknodat" for call in step.calls)
    )
    return replace(plan, before=(*plan.before, Step("places", "sabotage", (), undo=undo)))


def _following(call: Call) -> Call:
    """Return the call, which follows a symlink at the end of the path if it attaches a mount by one."""
    if call.name != "move_mount" or not call.arguments[3]:
        return call
    return replace(call, arguments=(*call.arguments[:4], MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_SYMLINKS))


def _joined(call: Call, rootfs: str) -> tuple[Argument, ...]:
    """Return the arguments of a call with the root put before every path inside."""
    return tuple(
        f"{rootfs}{argument}" if isinstance(argument, str) and argument.startswith("/") else argument
        for argument in call.arguments
    )
