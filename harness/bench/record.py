"""One benchmark as a whole: what the machine is like before and after, and the reports in the end."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from harness import environment
from harness.bench import baseline, page, rows, tables
from harness.bench.changes import Changes
from harness.bench.series import Benchmark, Settings, from_json, to_json
from harness.errors import BadInput, HarnessError
from harness.report import write
from harness.results import require_environment

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class Machine(msgspec.Struct):
    """What the environment of a benchmark has besides that of a run of checks; `load` is that before and after."""

    cpu: str
    cpus: int
    governor: str | None
    load: list[float]


@contextlib.contextmanager
def recorded(directory: Path, settings: Settings) -> Iterator[Benchmark]:
    """Have a benchmark to fill, and write its reports in the end.

    Where something fails they hold what was found before; where somebody interrupts it they stay what they were. Raises
    HarnessError, before anything is measured, where the directory cannot be written to.
    """
    check_writable(directory)
    try:
        with begun(settings) as found:
            yield found
    except Exception:
        _write_all(directory, found)
        raise
    _write_all(directory, found)


@contextlib.contextmanager
def begun(settings: Settings) -> Iterator[Benchmark]:
    """Have a benchmark to fill that knows its machine, and in the end how long it took."""
    since = time.monotonic()
    found = Benchmark(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        environment=surroundings() | {"load": [os.getloadavg()[0]]},
        settings=settings,
        contenders={},
        sections={},
    )
    try:
        yield found
    finally:
        found.seconds = round(time.monotonic() - since, 3)
        found.environment["load"].append(os.getloadavg()[0])


def surroundings() -> dict[str, Any]:
    """Return what decides how long starts take here: machine, kernel, configuration, and what is measured."""
    measured = {"cpu": processor(), "governor": governor(), "baseline": baseline.identity()}
    return environment.facts() | measured


def check_writable(directory: Path) -> None:
    """Make a directory for reports. Raises HarnessError where it cannot be written to."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise HarnessError(f"write to {directory}: {error.strerror}; --reports DIR names another folder") from None


def processor(text: str | None = None) -> str:
    """Return the name of the processor, from what /proc/cpuinfo says; the machine's where that says none."""
    text = Path("/proc/cpuinfo").read_text() if text is None else text
    fields = (line.partition(":") for line in text.splitlines())
    names = [value.strip() for name, _, value in fields if name.strip() in ("model name", "Model", "cpu model")]
    return names[0] if names else os.uname().machine


def governor() -> str | None:
    """Return how the kernel chooses the frequency, where it does."""
    try:
        return GOVERNOR.read_text().strip()
    except OSError:
        return None


def _write_all(directory: Path, found: Benchmark) -> None:
    write(directory / "benchmark.json", to_json(found))
    write_reports(directory, found)


def write_reports(directory: Path, found: Benchmark, since: Changes | None = None) -> None:
    """Write what is rendered of a benchmark, and in the page what has changed since another, where that is told."""
    write(directory / "benchmark.md", tables.render(found))
    write(directory / "benchmark.html", page.render(found, since))
    write(directory / "benchmark-rows.json", rows.to_json(found))


def read(path: Path) -> Benchmark:
    """Return the benchmark in a file. Raises BadInput, which says in one line what is wrong with it."""
    try:
        found = from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInput(f"read {path}: {error.strerror}; a stored run is needed, and `make bench` stores one") from None
    require_environment(found.environment, str(path))
    try:
        msgspec.convert(found.environment, Machine)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: its environment is not one of a benchmark: {error}") from None
    return found
