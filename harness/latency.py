"""How long a runtime takes from the request to the first instruction inside: rounds, percentiles, a comparison.

Contenders take turns round by round (scenarios/test_startup_latency.py), because a machine drifts by more between two
runs than runtimes differ. Medians are compared, and only together with a rank test: with 100 rounds a median moves by
5 % one time in ten when nothing changed. Times are nanoseconds; the clock is CLOCK_MONOTONIC, which a container
without a time namespace shares with the host.
"""

import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from harness import elf, environment
from harness.errors import HarnessError
from harness.runtime import launch
from harness.runtime.config import Config, read
from harness.runtime.spec import example

FORMAT = 1
DEADLINE = 30.0  # seconds for one start
PERCENTILES = (50, 90, 95, 99)


class Round(NamedTuple):
    """One start. `first`: from the request to the first instruction inside; `clean`: until nothing of it was left."""

    first: int
    clean: int


class Comparison(NamedTuple):
    """How two contenders differ: the ratio of their medians, and how surely their ranks do (in standard deviations)."""

    ratio: float
    deviations: float


def percentile(values: Sequence[int], share: int) -> int:
    """The smallest of the values that at least `share` per cent of them do not exceed (nearest rank)."""
    return sorted(values)[max(math.ceil(len(values) * share / 100), 1) - 1]


def summary(values: Sequence[int], unit: float = 1e6) -> dict[str, float]:
    """Minimum, percentiles and maximum, in units of so many of the values: milliseconds, if they are nanoseconds."""
    found = {"min": min(values), **{f"p{share}": percentile(values, share) for share in PERCENTILES}}
    return {name: value / unit for name, value in {**found, "max": max(values)}.items()}


def compare(first: Sequence[int], second: Sequence[int]) -> Comparison:
    """The first contender against the second: a ratio below 1 and negative deviations say that it is faster.

    The deviations are those of the Mann-Whitney rank test with its correction for ties; above 2.58 either
    way one false alarm in a hundred is left.
    """
    ratio = percentile(first, 50) / percentile(second, 50)
    ranked = sorted([*((value, 0) for value in first), *((value, 1) for value in second)])
    count, rank, rank_sum, ties = len(ranked), 1, 0.0, 0
    for _, group in groupby(ranked, key=lambda pair: pair[0]):
        owners = [owner for _, owner in group]
        rank_sum += owners.count(0) * (rank + (len(owners) - 1) / 2)
        ties += len(owners) ** 3 - len(owners)
        rank += len(owners)
    pairs = len(first) * len(second)
    excess = rank_sum - len(first) * (len(first) + 1) / 2 - pairs / 2
    variance = pairs / 12 * (count + 1 - ties / (count * (count - 1)))
    return Comparison(ratio, excess / math.sqrt(variance) if variance else 0.0)


def prepare(bundle: Path) -> Config:
    """Make a bundle whose program tells the time and ends; the config of it."""
    root = bundle / "rootfs"
    for place in ("proc", "dev", "sys"):
        (root / place).mkdir(parents=True)
    program = root / "clock"
    program.write_bytes(elf.clock_program(os.uname().machine))
    program.chmod(0o755)
    config = example(os.geteuid(), os.getegid())
    config["process"]["args"] = ["/clock"]
    (bundle / "config.json").write_text(json.dumps(config))
    return config


def start_builtin(config: Config, bundle: Path) -> Round:
    """Start a container by our own runtime, in this process; raises StartError."""
    reader, writer = os.pipe()
    with open(reader, "rb") as output, open(os.devnull, "rb") as nothing:
        with open(writer, "wb") as inside:
            requested = time.monotonic_ns()
            status = launch.run(read(config), bundle, (nothing.fileno(), inside.fileno(), 2), DEADLINE)
            ended = time.monotonic_ns()
        return _round("builtin", requested, ended, status, output.read())


def start_runc(config: Config, bundle: Path) -> Round:
    """Start a container by `runc run`, with the config that lies in the bundle."""
    command = ["runc", "--root", str(bundle / "runc"), "run", "--bundle", str(bundle), f"isoproof-{os.getpid()}"]
    requested = time.monotonic_ns()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=DEADLINE, check=False)
    return _round("runc", requested, time.monotonic_ns(), done.returncode, done.stdout)


CONTENDERS: dict[str, Callable[[Config, Path], Round]] = {"builtin": start_builtin, "runc": start_runc}


def _round(name: str, requested: int, ended: int, status: int, output: bytes) -> Round:
    if status != 0:
        raise HarnessError(f"{name}: the clock program ended with status {status}")
    first = elf.nanoseconds(output)
    if not requested < first < ended:
        raise HarnessError(f"{name}: the first instruction ran at {first}, not between {requested} and {ended}")
    return Round(first - requested, ended - requested)


def report(rounds: dict[str, list[Round]], versions: dict[str, str]) -> dict[str, Any]:
    """What reports/benchmark.json holds: percentiles, the first contender against each other one, raw rounds."""
    own, *others = rounds
    first = {name: [seen.first for seen in taken] for name, taken in rounds.items()}
    clean = {name: [seen.clean for seen in taken] for name, taken in rounds.items()}
    return {
        "format": FORMAT,
        "environment": environment.facts(),
        "load": os.getloadavg(),
        "versions": versions,
        "first_instruction_ms": {name: summary(values) for name, values in first.items()},
        "clean_ms": {name: summary(values) for name, values in clean.items()},
        "comparisons": {f"{own}/{name}": compare(first[own], first[name])._asdict() for name in others},
        "raw_ns": {name: [seen._asdict() for seen in taken] for name, taken in rounds.items()},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures of a report as text: request to first instruction, in milliseconds."""
    columns = ["min", *(f"p{share}" for share in PERCENTILES), "max"]
    lines = ["first instruction, ms".ljust(24) + "".join(column.rjust(9) for column in columns)]
    for name, found in figures["first_instruction_ms"].items():
        lines.append(name.ljust(24) + "".join(f"{found[column]:9.2f}" for column in columns))
    for pair, found in figures["comparisons"].items():
        lines.append(f"{pair}: ratio of medians {found['ratio']:.3f}, {abs(found['deviations']):.1f} deviations apart")
    return "\n".join(lines)
