"""Whether a start takes longer where many containers are alive, and what one that is alive costs."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness import elf
from harness.bench import leavings, orphans, others, phases, runtimes
from harness.bench.contenders import Place, place
from harness.bench.launcher import Launcher
from harness.bench.own import Builtin
from harness.bench.progress import Tell
from harness.bench.series import Section, Series, Settings
from harness.bench.starts import SETTINGS
from harness.bench.turns import Turns
from harness.errors import HarnessError
from harness.shapes import merged

TITLE = "Others alive"
QUESTION = "Does a start take longer where many containers are alive?"
LEVELS = (0, 100, 500, 1000)
CONTENDERS: tuple[runtimes.Maker, ...] = (Builtin, others.unshare)
SETTLE = 1.0  # seconds; the kernel takes a thousand network namespaces apart in less, but does not say when it has done
STEP = 50  # containers that are started between two words to the person in front
KERNELS = ("Slab", "KernelStack", "PageTables", "Percpu")  # proc_meminfo(5)


def section(tell: Tell, settings: Settings = SETTINGS, levels: Sequence[int] = LEVELS) -> Section:
    """Start containers among sleeping ones: half of the rounds while these become more, half while they become less."""
    series: dict[str, Series] = {}
    words: list[str] = []
    half = msgspec.structs.replace(settings, rounds=(settings.rounds + 1) // 2)
    with leavings.undone() as stack:
        stack.enter_context(orphans.adopted())
        made = stack.enter_context(place())
        starts = {}
        for contender in [make(made) for make in CONTENDERS]:
            if absent := runtimes.made_ready(contender, stack):
                words.append(f"Not measured, {contender.name}: {absent}")
            else:
                starts[contender.name] = contender.start
        sleepers = Sleepers(stack.enter_context(Launcher()), made, tell)
        reached: list[int] = []
        for level in levels:
            try:
                sleepers.become(level)
            except HarnessError as error:
                words.append(f"Not measured with {level} alive: {error}")
                break
            reached.append(level)
            _add(series, level, Turns(f"{TITLE}, {level}", starts, half, tell))
        crowded = phases.measured(f"{TITLE}, phases", made, tell, settings)
        for level in reversed(reached):
            sleepers.become(level)
            _add(series, level, Turns(f"{TITLE}, {level}", starts, half, tell))
        sleepers.become(0)
        alone = phases.measured(f"{TITLE}, phases", made, tell, settings)
    words += [*steps_that_grow(alone, crowded), *sleepers.words()]
    return Section(TITLE, QUESTION, series, words)


def steps_that_grow(alone: dict[str, Series], crowded: dict[str, Series]) -> list[str]:
    """Say in which steps the time goes: those with a tenth of all that is longer; what is shorter does not make up."""
    grown = {name: more for name, more in phases.growth(alone, crowded).items() if more > 0}
    most = [f"{name} ({more:+.2f} ms)" for name, more in grown.items() if more > sum(grown.values()) / 10]
    return [f"The steps of a start of ours that take longer among the most: {', '.join(most)}."] if most else []


def _add(series: dict[str, Series], level: int, turns: Turns) -> None:
    """Take all turns among so many, and add what is found to what was found among as many before."""
    turns.all_rounds()
    for name, found in turns.series().items():
        known = series.setdefault(f"{name}, {level} alive", Series())
        for index, seen in enumerate(found.rounds):
            known.add(seen or dict(found.failures)[index])


class Sleepers:
    """Containers that do nothing but be there, and what they have cost."""

    def __init__(self, launcher: Launcher, made: Place, tell: Tell) -> None:
        program = made.bundle / "rootfs/pause"
        program.write_bytes(elf.pause_program(os.uname().machine))
        program.chmod(0o755)
        self._container = launcher.prepare(merged(made.config, {"process": {"args": ["/pause"]}}), made.bundle)
        self._tell = tell
        self._alive = 0
        self.started = self.ended = 0  # how many in all
        self.seconds = 0.0  # that it took to end them
        self.memory = self.kernels = 0  # KiB that those who were started have taken, and the kernel's part of it

    def become(self, wanted: int) -> None:
        """Have so many alive. Raises HarnessError where they cannot be had; then there are as many as before."""
        if wanted > self._alive:
            time.sleep(SETTLE)
            before = _meminfo()
            try:
                for level in (*range(self._alive + STEP, wanted, STEP), wanted):
                    self._tell(f"{TITLE}: {level} of {wanted} containers")
                    self._container.have_alive(level)
            except HarnessError:
                self._container.have_alive(self._alive)
                raise
            after = _meminfo()
            self.memory += before["MemAvailable"] - after["MemAvailable"]
            self.kernels += sum(after[name] - before[name] for name in KERNELS)
            self.started += wanted - self._alive
        elif wanted < self._alive:
            begun = time.monotonic()
            self._container.have_alive(wanted)
            self.seconds += time.monotonic() - begun
            self.ended += self._alive - wanted
            time.sleep(SETTLE)
        self._alive = wanted

    def words(self) -> list[str]:
        """Say what they have cost."""
        if not self.started:
            return []
        return [
            f"To kill and reap {self.ended} sleepers took {self.seconds:.2f} s; a network namespace goes after that.",
            f"With each there is {self.memory / self.started:.0f} KiB less memory to be had (MemAvailable), and "
            f"{self.kernels / self.started:.0f} KiB more is the kernel's own ({', '.join(KERNELS)}).",
        ]


def _meminfo() -> dict[str, int]:
    """Return what there is and what is used of memory, in KiB: proc_meminfo(5)."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {name.rstrip(":"): int(amount) for name, amount, *_ in lines}
