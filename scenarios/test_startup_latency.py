"""How long each runtime takes from the request to the first instruction inside: `make bench`.

pytest-benchmark times our own runtime; before each of its rounds the others start the same bundle once, outside of
what is timed, so that all contenders meet the same machine.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import backends, latency
from harness.latency import CONTENDERS, Round

pytest.importorskip("pytest_benchmark")

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 100  # with fewer, medians move by more than what is to be told apart
WARMUP = 5


def test_startup_latency(
    benchmark: "BenchmarkFixture",
    pytestconfig: pytest.Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not pytestconfig.getoption("benchmark_only"):
        pytest.skip("takes its time; ask for it with --benchmark-only, or by `make bench`")
    if missing := backends.load("builtin").available():
        pytest.skip(missing)
    versions = {name: backends.load(name).version() for name in CONTENDERS if not backends.load(name).available()}
    config = latency.prepare(tmp_path)
    rounds: dict[str, list[Round]] = {name: [] for name in versions}

    def start(name: str) -> None:
        rounds[name].append(CONTENDERS[name](config, tmp_path))

    def others_first() -> None:
        for name in list(versions)[1:]:
            start(name)

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: start("builtin"), setup=others_first, rounds=ROUNDS, warmup_rounds=WARMUP
    )
    figures = latency.report({name: taken[WARMUP:] for name, taken in rounds.items()}, versions)
    benchmark.extra_info.update({name: figures[name] for name in ("first_instruction_ms", "comparisons")})
    directory = Path(pytestconfig.getoption("reports") or pytestconfig.rootpath / "reports")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "benchmark.json").write_text(json.dumps(figures, indent=2) + "\n")
    with capsys.disabled():
        print(f"\n{latency.table(figures)}")
    for pair, found in figures["comparisons"].items():
        assert found["ratio"] < 1, f"{pair}: our own runtime has become the slower one"
        assert found["deviations"] < -2.58, f"{pair}: the difference is within noise"
