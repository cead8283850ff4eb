"""An image that changes while its container starts: at any system call a directory of it may become a symbolic link.

Whoever shares a volume or an image with the container can swap the two at any moment. test_hostile_images.py has
another process do that, and chance finds few of the moments. Here the start does it to itself, once behind each of its
calls, so that none is left out: what a runtime has made sure of by one call is not true any more at the next.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.runtime.config import Config, read
from harness.runtime.inspect import host
from harness.runtime.plan import plan as compile_plan
from harness.runtime.step import Call, Plan, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, NUMBERS, O
from harness.sabotage import sabotaged_plan
from harness.sabotage.editing import rootfs_of
from tests.kernel.test_hostile_images import RENAME_EXCHANGE, SECRET, canary, hostile, never_hangs, place, start, state

__all__ = ["canary", "never_hangs", "place"]  # fixtures

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

FIRST, LAST = "open-root", "descriptors"  # between these the image is looked at, and the racer's descriptor is there
Alter = Callable[[Plan], Plan]


@pytest.fixture(autouse=True)
def rename(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a plan make the racer's call, which no plan of ours makes."""
    monkeypatch.setitem(NUMBERS, "renameat2", (316, 276))


def moments(plan: Plan) -> list[tuple[int, int]]:
    """Return where a swap can be put: the indices of a step and of a call in it, behind which it is."""
    names = [step.name for step in plan.steps]
    steps = range(names.index(FIRST), names.index(LAST))
    return [(at, index) for at in steps for index in range(len(plan.steps[at].calls))]


def swapped_at(where: str, moment: tuple[int, int]) -> Alter:
    """Return what has a start swap a directory below the root for the link beside it behind one of its calls."""
    at, index = moment

    def alter(plan: Plan) -> Plan:
        above = Call("openat", (AT_FDCWD, rootfs_of(plan), O.PATH | O.DIRECTORY | O.CLOEXEC), saves="racer")
        racer = Saved("racer")
        swap = Call("renameat2", (racer, where, racer, f"{where}-link", RENAME_EXCHANGE))
        step = plan.steps[at]
        raced = replace(step, calls=(*step.calls[: index + 1], swap, *step.calls[index + 1 :]))
        steps = (*plan.steps[:at], raced, *plan.steps[at + 1 :])
        return replace(plan, steps=(Step("racer", "somebody else's", (above,)), *steps))

    return alter


def race(directory: Path, config: Config, canary: Path, where: str, sabotage: list[str]) -> dict[str, set[str]]:
    """Start it once for every moment; return what was `said`, and the steps at which the canary was `harmed`."""
    rootfs = directory / "rootfs"
    found: dict[str, set[str]] = {"said": set(), "harmed": set()}
    wanted = read(config)
    planned = sabotaged_plan(sabotage, compile_plan(wanted, host(wanted, directory)))
    before = state(canary)
    for moment in moments(planned):
        swap = swapped_at(where, moment)
        said = start(directory, config, alter=lambda plan, swap=swap: swap(sabotaged_plan(sabotage, plan)))
        found["said"].add("refused" if said.startswith("refused") else "started")
        if state(canary) != before or SECRET in said:
            found["harmed"].add(planned.steps[moment[0]].name)
            before = state(canary)
        if (rootfs / where).is_symlink():
            swap_back(rootfs / where)
    return found


def swap_back(path: Path) -> None:
    link, aside = path.with_name(f"{path.name}-link"), path.with_name("aside")
    path.rename(aside)
    with contextlib.suppress(FileNotFoundError):
        link.rename(path)
    aside.rename(link)


def racing_bundle(place: Path, canary: Path, where: str) -> tuple[Path, Config]:
    """Return a bundle with a directory that is going to be swapped, and the link beside it to the canary."""
    directory, config = hostile(place, user=False)
    swapped = directory / "rootfs" / where
    swapped.mkdir(parents=True, exist_ok=True)
    (swapped / "kept").touch()  # an empty directory could be taken for one that the runtime had to make
    swapped.with_name(f"{swapped.name}-link").symlink_to(canary)
    return directory, config


@pytest.mark.parametrize("where", ["a", "a/b", "etc"])
def test_a_directory_that_becomes_a_link_at_any_call_leads_nowhere(place: Path, canary: Path, where: str) -> None:
    """cve-2021-30465-race, cve-2024-45310-mkdirall: destinations of mounts lie there, a directory and a file."""
    directory, config = racing_bundle(place, canary, where)
    assert race(directory, config, canary, where, []) == {"said": {"refused", "started"}, "harmed": set()}


@pytest.mark.parametrize("knob", ["naive-path-join", "naive-mkdirall"])
def test_a_runtime_that_joins_paths_as_text_loses_the_race(place: Path, canary: Path, knob: str) -> None:
    directory, config = racing_bundle(place, canary, "a")
    found = race(directory, config, canary, "a", [knob])
    assert found["harmed"], found
