"""The benchmark for people: reports/benchmark.md. Its tables are laid out so that a terminal shows them as well.

What runtimes have said of themselves is escaped: it must not become markup.
"""

from collections.abc import Callable, Iterable, Sequence

from harness import environment
from harness.bench import glance, runtimes
from harness.bench.layouts import LAYOUTS, Rows, figure, ratio
from harness.bench.series import Benchmark, Section, Series
from harness.report.markdown import escaped
from harness.runtime.errors import on_one_line

BASES = ("floor", "bubblewrap", "crun", "runc")
UNITS = (
    "p50 to max: milliseconds from the request to the first instruction inside; clean: until nothing is left of it.",
    "clean, CPU (milliseconds) and memory (KiB) are medians. CPU and memory are those of a command and of all that it",
    "has waited for; where they are not, the list of contenders says so.",
)
CHANCE = "Medians of the first instruction; ≈ where a rank test says that the difference may be chance."
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
    lines = []
    if section.series:
        rows, units = figures(name, section.series, benchmark, safe)
        lines += [*aligned(rows), "", *units, ""]
    for sentence in section.words:
        lines += [safe(sentence), ""]
    if name == runtimes.NAME:
        if rows := ratios(section.series):
            lines += [*aligned(rows), "", CHANCE, ""]
        absent = {label: who.absent for label, who in benchmark.contenders.items() if who.absent}
        lines += [f"- absent: {label}: {safe(reason)}" for label, reason in absent.items()]
    lines += [f"- failed: {label}: {safe(words)}" for label, words in failures(section.series)]
    return lines[:-1] if lines and not lines[-1] else lines


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


def figures(
    name: str, series: dict[str, Series], benchmark: Benchmark, safe: Callable[[str], str]
) -> tuple[Rows, Sequence[str]]:
    """Return all that is to be told of the series of a section in figures, and sentences about their units."""
    if name in LAYOUTS:
        rows, units = LAYOUTS[name](series)
        return rows, [units]
    versions = (
        {label: safe(who.version) for label, who in benchmark.contenders.items()} if name == runtimes.NAME else {}
    )
    rows = [["", *PERCENTILES, "clean", "CPU", "memory", "failed", "version"]]
    for label, found in series.items():
        percentiles = [figure(found, "first", column) for column in PERCENTILES]
        medians = [figure(found, "clean"), figure(found, "cpu"), figure(found, "memory", form=".0f")]
        failed = f"{found.failed:.0%}" if found.failed else ""
        rows.append([label, *percentiles, *medians, failed, versions.get(label, "")])
    used = [index for index in range(len(rows[0])) if index == 0 or any(row[index] for row in rows[1:])]
    return [[row[index] for index in used] for row in rows], UNITS


def ratios(series: dict[str, Series]) -> Rows:
    """Return how many times as long as some others each takes to the first instruction, if these were measured."""
    values = {label: found.values("first") for label, found in series.items()}
    bases = [base for base in BASES if values.get(base)]
    rows = [["times as long as", *bases]]
    for label, own in values.items():
        if own and bases:
            rows.append([label, *(ratio(own, values[base]) if label != base else "1" for base in bases)])
    return rows if bases else []


def failures(series: dict[str, Series]) -> Iterable[tuple[str, str]]:
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
