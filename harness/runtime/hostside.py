"""What a launcher does on the side of the host while a container starts: calls, programs and hooks, and their undo."""

import contextlib
import errno
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from harness.runtime import causes, hooks, members
from harness.runtime.errors import StartError
from harness.runtime.forked import Failed, Results, holder, run_here
from harness.runtime.step import Saved, Step


class Outcome(NamedTuple):
    """How a step went: what has failed in it, and whether all that was done was its own work."""

    step: Step
    failed: Failed | None
    own_work: bool


def run(step: Step, results: Results, undo: contextlib.ExitStack) -> None:
    """Run a step on the host's side and remember how to undo it."""
    settle(_run_calls(step, results), results, undo)


def _run_calls(step: Step, results: Results) -> Outcome:
    """Run a step on the host's side."""
    if step.program:
        _run_program(step, results)
    if step.hook:
        hooks.run(step.hook, results["pid"], results)
    try:
        with holder(step.holder) if step.holder else contextlib.nullcontext(0) as results["holder"]:
            return Outcome(step, *run_here(step, results))
    except OSError as error:
        number = error.errno or 0
        raise StartError(causes.sentence(step.name, f"clone3({step.holder})", number), step.name, number) from error


def settle(outcome: Outcome, results: Results, undo: contextlib.ExitStack) -> None:
    """Remember how to undo what was begun of a step. Raises StartError where it has failed."""
    step, failed = outcome.step, outcome.failed
    nothing_done = failed is not None and failed.call is step.calls[0]
    if step.undo and outcome.own_work and not nothing_done:
        undo.callback(_undo, step, results)
    if failed:
        raise causes.error(failed)


def _run_program(step: Step, results: Results) -> None:
    """Run a program of the host's. Raises StartError, with what it said, where it fails."""
    import subprocess  # only here, for few starts need it and all would wait for it

    words = [word.format(**results) for word in step.program]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError as error:
        number = error.errno or 0
        raise StartError(causes.sentence(step.name, words[0], number), step.name, number) from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise StartError(
            f"{step.name}: {' '.join(words)}: EPERM ({said}); the ids that an ordinary user may map are his own and "
            "those that root gave him in /etc/subuid and /etc/subgid",
            step.name,
            errno.EPERM,
        )


def _undo(step: Step, results: Results) -> None:
    """Undo a step, but for results that it has never had; the kernel may need a moment to let go.

    Raises StartError, with the object's name, for what stays behind all the same.
    """
    if step.name.startswith("enable:") and members.neighbours(Path(str(step.calls[0].arguments[1])).parent):
        return  # others live there; one that is made between this look and the write would lose its limits
    known, calls = set(results), []
    for call in step.undo:
        if {part.name for part in call.arguments if isinstance(part, Saved)} <= known:
            calls.append(call)
            known.add(call.saves)
    taken_back = Step(f"undo {step.name}", step.why, tuple(calls))
    end = time.monotonic() + members.PATIENCE
    while True:
        failed, _ = run_here(taken_back, results)
        if not failed:
            return
        if failed.number != errno.EBUSY or time.monotonic() > end:
            raise causes.error(failed)
        time.sleep(members.PAUSE)


def walk(steps: Iterable[Step], results: Results) -> Iterator[Outcome]:
    """Run steps one by one, each when the one before has been settled."""
    made = set()
    for step in steps:
        kind, _, path = step.name.partition(":")
        if kind == "cpuset" and path not in made and Path(path, "cpuset.cpus").read_text().strip():
            continue  # a cgroup that was there already, with CPUs of somebody else's choice
        outcome = _run_calls(step, results)
        if outcome.own_work:
            made.add(path)
        yield outcome
