"""How the sections that look into our own runtime are laid out for people: rows of cells, the first is the heading."""

from collections.abc import Callable, Sequence

from harness import latency
from harness.bench import features, namespaces, phases
from harness.bench.series import Quantity, Series

Rows = list[list[str]]


def shares(series: dict[str, Series]) -> tuple[Rows, str]:
    """Return the phases of a start, and how much of it each is."""
    medians = {label: found["p50"] for label, seen in series.items() if (found := seen.summary("first"))}
    whole = sum(median for label, median in medians.items() if label != phases.WHOLE)
    rows = [["", "p50", "p95", "share"]]
    for label, seen in series.items():
        share = f"{medians[label] / whole:.1%}" if label in medians and label != phases.WHOLE else ""
        rows.append([label, *(figure(seen, "first", column, 1000, ".1f") for column in ("p50", "p95")), share])
    return rows, "Microseconds; share: of the sum of all medians."


def differences(base_of: Callable[[str], str], series: dict[str, Series]) -> tuple[Rows, str]:
    """Return what each takes, and how much more that is than another; ≈ is what may be chance."""
    rows = [["", "p50", "p95", "more", "clean", "CPU"]]
    for label, seen in series.items():
        figures = [figure(seen, "first", column) for column in ("p50", "p95")]
        base = series[base_of(label)] if base_of(label) in series else seen
        more = "" if base is seen else _more(seen.values("first"), base.values("first"))
        rows.append([label, *figures, more, figure(seen, "clean"), figure(seen, "cpu")])
    return rows, (
        "Milliseconds from the request to the first instruction inside; more: than the first, or the first by the same "
        "executor; ≈ where a rank test says that it may be chance. clean and CPU are medians."
    )


def _more(own: list[int], other: list[int]) -> str:
    if not own or not other:
        return ""
    chance = abs(latency.compare(own, other).deviations) <= latency.SURE
    return f"{'≈ ' if chance else ''}{(latency.percentile(own, 50) - latency.percentile(other, 50)) / 1e6:+.2f}"


def matrix(series: dict[str, Series]) -> tuple[Rows, str]:
    """Return a row for each contender and a column for each size, of labels `contender, size`."""
    split = [label.rpartition(", ") for label in series]
    sizes = list(dict.fromkeys(size for _, _, size in split))
    rows = [["", *sizes]]
    for name in dict.fromkeys(name for name, _, _ in split):
        rows.append([name, *(_two(series.get(f"{name}, {size}", Series())) for size in sizes)])
    return rows, "Milliseconds from the request to the first instruction inside: p50 (p95)."


def _two(seen: Series) -> str:
    return f"{figure(seen, 'first')} ({figure(seen, 'first', 'p95')})" if seen.values("first") else ""


def ratio(own: Sequence[int], other: Sequence[int]) -> str:
    """Return how many times as long as another one takes (medians); ≈ where a rank test says that it may be chance."""
    found = latency.compare(own, other)
    return f"{'' if abs(found.deviations) > latency.SURE else '≈ '}{found.ratio:.3g}"


def figure(seen: Series, quantity: Quantity, column: str = "p50", times: float = 1, form: str = ".2f") -> str:
    """Return one figure of a series in milliseconds or KiB, multiplied; nothing where it was not measured."""
    summary = seen.summary(quantity)
    return format(summary[column] * times, form) if summary else ""


def _default(label: str) -> str:
    """Return the label of the default config as the same executor starts it."""
    return f"{features.DEFAULT} ({label.rpartition('(')[2]}"


LAYOUTS: dict[str, Callable[[dict[str, Series]], tuple[Rows, str]]] = {
    "phases": shares,
    "phases-pooled": shares,
    "namespaces": lambda series: differences(lambda _: namespaces.NONE, series),
    "features": lambda series: differences(_default, series),
    "launcher-size": matrix,
    "concurrency": matrix,
    "alive": matrix,
}
