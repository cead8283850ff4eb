"""Taking turns: whatever is compared is started round by round, so that all meet the same machine."""

import contextlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from harness import elf, latency
from harness.bench.series import Round, Series
from harness.bench.starts import Clock, Times
from harness.errors import IsoproofError
from harness.runtime.config import Config
from harness.runtime.launch import Prepared
from harness.runtime.profile import profile

ROUNDS = 100
WARMUP = 5  # rounds that do not count
GAP = 0.005  # seconds before each start, as most machines are asked for containers now and then
CLOCK, SLEEP = "/clock", "/pause"  # the programs in the bundle, which `harness.elf` makes
NOT_REPLAYED = "Not measured: on this machine, or by this user, no start is replayed."

Tell = Callable[[str], None]
Start = Callable[[], Round]


@contextlib.contextmanager
def bundle() -> Iterator[tuple[Path, Config]]:
    """Make a bundle for as long as the context lasts; yield it and the default config with the default profile."""
    with tempfile.TemporaryDirectory(prefix="isoproof-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # for a container whose root is nobody outside
        config = latency.prepare(directory)
        machine = os.uname().machine
        program = Path(f"{directory}/rootfs{SLEEP}")
        program.write_bytes(elf.pause_program(machine))
        program.chmod(0o755)
        config["linux"]["seccomp"] = profile(config["process"]["capabilities"]["bounding"], machine)
        yield directory, config


def counted(title: str, tell: Tell, rounds: int) -> Iterator[bool]:
    """Go round; yield whether the round counts."""
    for index in range(-WARMUP, rounds):
        tell(f"{title}: round {index} of {rounds}" if index > 0 else f"{title}: warming up")
        yield index >= 0


def take_turns(title: str, starts: Mapping[str, Start], tell: Tell, rounds: int) -> dict[str, Series]:
    """Start all contenders in turn, round by round: each round in another order, for a start disturbs the next."""
    series = {label: Series() for label in starts}
    order = list(starts)
    for counts in counted(title, tell, rounds):
        random.shuffle(order)
        for label in order:
            time.sleep(GAP)
            outcome = outcome_of(starts[label])
            if counts:
                series[label].add(outcome)
    return series


def outcome_of(start: Start) -> Round | str:
    """Return the round, or why it failed."""
    try:
        return start()
    except IsoproofError as error:
        return str(error)


def round_of(times: Times) -> Round:
    """Return the durations."""
    return Round(times.first - times.requested, times.ended - times.requested)


def starting(clock: Clock, container: Prepared) -> Start:
    """Return what starts a container that was prepared, from its pool where it has one."""

    def start() -> Round:
        fill(container)
        return round_of(clock.start(container))

    return start


def fill(container: Prepared) -> None:
    """Make the parts for one start, where there is a pool for them."""
    if container.pool:
        container.pool.fill()
