"""Hooks: programs that the config wants to be run at set points of a container's life. runtime-spec, config.md.

`prestart` and `createRuntime` are run by the launcher, among the host's namespaces; `createContainer` by the child, in
its own, but with the host's tree for a root; both when the world of the container is made and before pivot_root(2).
`startContainer` is run by the child when it is all that the program will be: same root, user, capabilities, filters.
`poststart` and `poststop` are the launcher's again.

A hook gets the state of the container on its standard input, nothing of the launcher's environment, and is gone when
whoever runs it is. What it writes is kept for the case that it fails.
"""

import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import replace

from harness.runtime import rendezvous
from harness.runtime.config import Config
from harness.runtime.errors import StartError
from harness.runtime.mounts import OLD_ROOT
from harness.runtime.privileges import UNDUMPABLE
from harness.runtime.state import state
from harness.runtime.step import Hook, Host, Meeting, Saved, Step
from harness.runtime.syscalls import PR, explain_errno, libc

MEETING = "hooks"  # at which the launcher runs those that are to be run among the host's namespaces
LONGEST = 512  # bytes of what a failed hook has said
EARLY = ("prestart", "createRuntime", "createContainer")  # before pivot_root(2), in this order
STATUS = {
    "prestart": "creating",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}


def early(config: Config) -> bool:
    """Return whether any is to be run before pivot_root(2)."""
    return any(config.get("hooks", {}).get(point) for point in EARLY)


def before_pivot(config: Config, host: Host) -> list[Step]:
    """Run those that find the container's world made and the host's tree not yet gone."""
    steps = []
    if _at(config, host, *EARLY[:2]):
        why = "hooks among the host's namespaces are the launcher's to run: runtime-spec, config"
        steps.append(rendezvous.meet(MEETING, why))
    why = "run by the child, in the host's tree, which is out of its own sight: chroot(2)"
    for hook in _at(config, host, "createContainer"):
        steps.append(Step(hook.name, why, (), hook=replace(hook, root=Saved(OLD_ROOT), directory=host.bundle)))
    return steps


def hide(config: Config) -> list[Step]:
    """Have the child not be traced by its own hooks, which have the same rights.

    Their programs are the image's, and it is still a copy of the launcher. execve(2) makes it dumpable again.
    """
    if not config.get("hooks", {}).get("startContainer"):
        return []
    why = "or hooks could read the launcher's memory: PR_SET_DUMPABLE(2const)"
    return [Step("hidden", why, (UNDUMPABLE,))]


def before_program(config: Config, host: Host) -> list[Step]:
    """Run those that are to find everything as the program will."""
    why = "run by the child, as which it has the program's rights and no more: runtime-spec, config"
    return [Step(hook.name, why, (), hook=hook) for hook in _at(config, host, "startContainer")]


def after_start(config: Config, host: Host) -> list[Step]:
    """Run those that are to find the program running."""
    why = "run by the launcher, while the program runs: runtime-spec, config"
    found = _at(config, host, "poststart")
    return [Step(hook.name, why, (), hook=replace(hook, directory=host.bundle)) for hook in found]


def by_launcher(config: Config, host: Host) -> Meeting:
    """Return what the launcher does when the child waits for the hooks among the host's namespaces."""

    def run_all(pid: int, _descriptors: list[int]) -> None:
        for hook in _at(config, host, *EARLY[:2]):
            run(replace(hook, directory=host.bundle), pid, {})

    return run_all


def run_last(config: Config, host: Host) -> None:
    """Run those that are to find nothing left; one that fails is warned about and the rest are run all the same."""
    for hook in _at(config, host, "poststop"):
        try:
            run(replace(hook, directory=host.bundle), 0, {})
        except StartError as error:
            print(f"isoproof: {error}", file=sys.stderr)


def load() -> None:
    """Import what `run` needs: the child has left the tree in which that is found."""
    import json  # noqa: F401
    import subprocess  # noqa: F401


def run(hook: Hook, pid: int, results: dict[str, int]) -> None:
    """Run a hook to its end; `pid` is the number that the host has for the container's first process, 0 for none.

    Raises StartError, with what the hook has said, where it cannot be run, fails, or takes too long; then all that is
    in its session is killed.
    """
    import json  # only here, for few starts need them and all would wait for them
    import subprocess

    told = hook.state | ({"pid": pid} if pid else {})
    keeper = os.getpid()

    def get_ready() -> None:
        libc.prctl(PR.SET_PDEATHSIG.value, signal.SIGKILL, 0, 0, 0)
        if hook.root:
            os.fchdir(results[hook.root.name])
            os.chroot(".")
        if hook.directory:
            os.chdir(hook.directory)
        if os.getppid() != keeper:
            os.kill(os.getpid(), signal.SIGKILL)  # it was too late for the kernel to do that

    # Files, not pipes: whoever the hook leaves running may keep them open without anybody waiting for it.
    with os.fdopen(os.memfd_create("state"), "w+b") as stdin, os.fdopen(os.memfd_create("said"), "w+b") as said:
        stdin.write(json.dumps(told).encode())
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                hook.arguments or (hook.path,),
                executable=hook.path,
                env=hook.environment,
                stdin=stdin,
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=get_ready,
            )
        except OSError as error:
            raise _failed(hook, explain_errno(error.errno or 0), error.errno or 0) from error
        except subprocess.SubprocessError as error:
            place = hook.directory or "the root"
            raise _failed(hook, f"it cannot be run in {place}, which whoever runs it may not enter") from error
        try:
            status = process.wait(hook.timeout)
        except subprocess.TimeoutExpired:
            raise _failed(hook, f"not over after its timeout of {hook.timeout} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status:
            said.seek(0)
            words = " ".join(said.read(LONGEST).decode(errors="replace").split()) or "it said nothing"
            end = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            raise _failed(hook, f"{end}: {words}")


def _failed(hook: Hook, reason: str, number: int = 0) -> StartError:
    return StartError(f"{hook.name}: run {hook.path}: {reason}", hook.name, number)


def _at(config: Config, host: Host, *points: str) -> Iterable[Hook]:
    """Return the hooks of the config at these points, in their order."""
    return [
        Hook(
            name=f"hooks.{point}[{index}]",
            path=entry["path"],
            arguments=tuple(entry.get("args", ())),
            environment=dict(variable.split("=", 1) for variable in entry.get("env", ())),
            timeout=entry.get("timeout"),
            state=state(config, host, STATUS[point]),
        )
        for point in points
        for index, entry in enumerate(config.get("hooks", {}).get(point, []))
    ]
