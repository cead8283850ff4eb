"""Start-up latency: the arithmetic, and the program that tells the time."""

import platform
import random
import subprocess
import time
from pathlib import Path

import pytest

from harness import elf, latency
from harness.errors import HarnessError


@pytest.mark.parametrize(("share", "expected"), [(50, 50), (90, 90), (95, 95), (99, 99), (100, 100), (1, 1)])
def test_percentiles_are_values_that_were_measured(share: int, expected: int) -> None:
    assert latency.percentile(random.sample(range(1, 101), 100), share) == expected


def test_one_round_is_all_its_percentiles() -> None:
    assert latency.summary([2_000_000]) == {"min": 2, "p50": 2, "p90": 2, "p95": 2, "p99": 2, "max": 2}


def test_a_summary_may_have_another_unit() -> None:
    assert latency.summary([512], unit=1)["p99"] == 512


def test_what_is_the_same_does_not_differ() -> None:
    values = list(range(1000, 1100))
    assert latency.compare(values, values) == (1.0, 0.0)
    assert latency.compare([5, 5, 5], [5, 5, 5]) == (1.0, 0.0)


def test_what_is_faster_is_told_from_noise() -> None:
    noise = random.Random(1)
    slow = [noise.gauss(100, 10) for _ in range(100)]
    fast = [noise.gauss(80, 10) for _ in range(100)]
    comparison = latency.compare([int(value) for value in fast], [int(value) for value in slow])
    assert comparison.ratio == pytest.approx(0.8, abs=0.05)
    assert comparison.deviations < -8
    again = latency.compare([int(value) for value in slow], [int(value) for value in fast])
    assert again.deviations == pytest.approx(-comparison.deviations)


def test_the_rank_test_agrees_with_a_published_example() -> None:
    # Mann and Whitney (1947) statistic by hand: U = 3 of 20 pairs, mean 10, variance 4 * 5 * 10 / 12.
    assert latency.compare([1, 2, 3, 7], [4, 5, 6, 8, 9]).deviations == pytest.approx((3 - 10) / (200 / 12) ** 0.5)


def test_the_clock_program_tells_the_time_of_its_first_instruction(tmp_path: Path) -> None:
    program = tmp_path / "clock"
    program.write_bytes(elf.clock_program(platform.machine()))
    program.chmod(0o755)
    before = time.monotonic_ns()
    output = subprocess.run([program], stdout=subprocess.PIPE, check=True).stdout
    assert before < elf.nanoseconds(output) < time.monotonic_ns()
    assert program.stat().st_size < 300


def test_the_clock_programs_are_whole_for_both_machines() -> None:
    for machine, number in (("x86_64", 62), ("aarch64", 183)):
        program = elf.clock_program(machine)
        assert program[:4] == b"\x7fELF"
        assert int.from_bytes(program[18:20], "little") == number
        assert int.from_bytes(program[96:104], "little") == len(program)
    with pytest.raises(HarnessError, match="no clock program for riscv64"):
        elf.clock_program("riscv64")


def test_another_output_is_no_time() -> None:
    with pytest.raises(HarnessError, match="wrote 5 bytes"):
        elf.nanoseconds(b"runc:")
