"""The benchmark as rows for github-action-benchmark, of its kind `customSmallerIsBetter`: reports/benchmark-rows.json.

Its own reader of pytest-benchmark's files knows neither percentiles nor clean-up, so it is given these.
"""

import json
from typing import Any

from harness.bench import baseline, runtimes
from harness.bench.series import Benchmark, Quantity, Series

SECTIONS = (runtimes.NAME, baseline.NAME)
Row = dict[str, Any]
ROWS: tuple[tuple[Quantity, str, str], ...] = (
    ("first", "first instruction", "p50"),
    ("first", "first instruction", "p95"),
    ("clean", "clean", "p50"),
)


def rows(benchmark: Benchmark) -> list[Row]:
    """Return what is drawn as charts over time: a value in milliseconds for each contender and kind of row.

    The range is that from the least to the 90th percentile, and `extra` is shown beside the point.
    """
    return [
        row
        for section, found in benchmark.sections.items()
        if section in SECTIONS
        for label, series in found.series.items()
        for quantity, words, share in ROWS
        if (row := _row(benchmark, f"{section}: {label}: {words}, {share}", label, series, quantity, share))
    ]


def _row(benchmark: Benchmark, name: str, label: str, series: Series, quantity: Quantity, share: str) -> Row | None:
    summary = series.summary(quantity)
    if not summary:
        return None
    who = benchmark.contenders.get(label)
    known = benchmark.environment
    extra = [
        *([f"version {who.version}"] if who else []),
        f"{len(series.values(quantity))} rounds",
        f"Linux {known['release']} {known['machine']}, {known['cpu']}",
    ]
    return {
        "name": name,
        "unit": "ms",
        "value": round(summary[share], 4),
        "range": f"{summary['min']:.3f} to {summary['p90']:.3f}",
        "extra": "\n".join(extra),
    }


def to_json(benchmark: Benchmark) -> str:
    """Return the text of the file."""
    return json.dumps(rows(benchmark), indent=1, ensure_ascii=False) + "\n"
