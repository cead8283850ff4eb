"""The benchmark for people: reports/benchmark.md. Its tables are laid out so that a terminal shows them as well.

What runtimes have said of themselves is escaped: it must not become markup.
"""

from collections.abc import Callable, Iterable, Sequence

from harness import environment
from harness.bench import glance, runtimes
from harness.bench.layouts import LAYOUTS, figure, ratio
from harness.bench.series import Benchmark, Section, Series
from harness.report.markdown import escaped
from harness.runtime.errors import on_one_line

BASES = ("floor", "bubblewrap", "crun", "runc")
UNITS = (
    "p50 to max: milliseconds from the request to the first instruction inside; clean: until nothing is left of it.",
    "clean, CPU (milliseconds) and memory (KiB) are medians. CPU and memory are those of a command and of all that it",
    "has waited for; where they are not, the list of contenders says so.",
)
PERCENTILES = ("p50", "p90", "p95", "p99", "max")


def render(benchmark: Benchmark) -> str:
    """Return the whole report."""
    lines = ["# Start-up benchmark", "", *_machine(benchmark), ""]
    lines += [f"## {glance.TITLE}", "", *_glance(benchmark), ""]
    for name, section in benchmark.sections.items():
        lines += [f"## {section.title}", "", section.question, "", *_section(name, section, benchmark, escaped), ""]
    return "\n".join(lines + _contenders(benchmark)) + "\n"


def shown(name: str, section: Section, benchmark: Benchmark) -> str:
    """Return one section as a terminal shows it."""
    return "\n".join(_section(name, section, benchmark, on_one_line))


def shown_at_a_glance(benchmark: Benchmark) -> str:
    """Return the answers that people look for first, as a terminal shows them."""
    return "\n".join(_glance(benchmark))


def _glance(benchmark: Benchmark) -> list[str]:
    return [*aligned(glance.rows(benchmark.sections)), "", glance.WORDS]


def _section(name: str, section: Section, benchmark: Benchmark, safe: Callable[[str], str]) -> list[str]:
    lines = [*_figures(name, section.series, benchmark, safe), ""] if section.series else []
    for sentence in section.words:
        lines += [safe(sentence), ""]
    if name == runtimes.NAME:
        lines += _ratios(section.series)
        absent = {label: who.absent for label, who in benchmark.contenders.items() if who.absent}
        lines += [f"- absent: {label}: {safe(reason)}" for label, reason in absent.items()]
    lines += [f"- failed: {label}: {safe(words)}" for label, words in _failures(section.series)]
    return lines if lines[-1] else lines[:-1]


def _machine(benchmark: Benchmark) -> list[str]:
    known, settings = benchmark.environment, benchmark.settings
    load = " to ".join(f"{value:.1f}" for value in known["load"])
    governor = known["governor"] or "unknown"
    return [
        f"{benchmark.started}, {benchmark.seconds:.0f} s. {settings.rounds} rounds of each contender in turns, "
        f"{settings.gap_ms:g} ms before each start, after {settings.warmup} rounds that do not count.",
        "",
        escaped(environment.one_line(known)),
        "",
        f"{known['cpus']} processors, {escaped(known['cpu'])}, frequency governor {escaped(governor)}, load {load}.",
        "Figures of other machines are not comparable with these.",
    ]


def _figures(name: str, series: dict[str, Series], benchmark: Benchmark, safe: Callable[[str], str]) -> list[str]:
    if name in LAYOUTS:
        rows, units = LAYOUTS[name](series)
        return [*aligned(rows), "", units]
    rows = [["", *PERCENTILES, "clean", "CPU", "memory", "failed", *(["version"] if name == runtimes.NAME else [])]]
    for label, found in series.items():
        figures = [figure(found, "first", column) for column in PERCENTILES]
        figures += [figure(found, "clean"), figure(found, "cpu"), figure(found, "memory", form=".0f")]
        figures.append(f"{found.failed:.0%}" if found.failed else "")
        rows.append([label, *figures, *([safe(benchmark.contenders[label].version)] if name == runtimes.NAME else [])])
    used = [index for index in range(len(rows[0])) if index == 0 or any(row[index] for row in rows[1:])]
    return [*aligned([[row[index] for index in used] for row in rows]), "", *UNITS]


def _ratios(series: dict[str, Series]) -> list[str]:
    """Return how many times as long as some others each takes to the first instruction; ≈ is what may be chance."""
    values = {label: found.values("first") for label, found in series.items()}
    bases = [base for base in BASES if values.get(base)]
    if not bases:
        return []
    rows = [["times as long as", *bases]]
    for label, own in values.items():
        if own:
            rows.append([label, *(ratio(own, values[base]) if label != base else "1" for base in bases)])
    words = "Medians of the first instruction; ≈ where a rank test says that the difference may be chance."
    return [*aligned(rows), "", words, ""]


def _failures(series: dict[str, Series]) -> Iterable[tuple[str, str]]:
    """Return of each that has failed how often, and why it last did."""
    for label, found in series.items():
        if found.failures:
            share = f"{len(found.failures)} of {len(found.rounds)} starts"
            yield label, f"{share}, the last: {found.failures[-1][1]}"


def _contenders(benchmark: Benchmark) -> list[str]:
    lines = ["## Contenders", ""]
    for label, who in benchmark.contenders.items():
        lines.append(f"- {label}: {escaped(who.what)}{f': `{who.command}`' if who.command else ''}")
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table whose first row is its heading; all columns but the first are to the right."""
    widths = [max(3, *(len(row[index]) for row in rows)) for index in range(len(rows[0]))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return f"| {' | '.join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return [line(rows[0]), f"|{rule}|", *(line(row) for row in rows[1:])]
