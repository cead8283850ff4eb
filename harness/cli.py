"""The command `isoproof`: pytest with the checks, and what stands beside it.

    isoproof run BUNDLE [-- COMMAND]     run an OCI bundle; --explain prints the system calls instead
    isoproof spec BUNDLE                 write a config.json to begin with
    isoproof verify [SCENARIO...] [OPTION...]
                                         run the checks by pytest, those of an installed isoproof where none are here
    isoproof list [WHAT]                 checks, probes, shapes, runtimes or reports
    isoproof explain CHECK               what it is about, how it is checked and proven, what to read next
    isoproof ladder [RUNG]               a container grown step by step: what each kernel feature isolates
    isoproof report [FILE...]            render results again, in another format, several as one matrix; compare two
    isoproof lint [PATH...]              look for mistakes in scenario files
    isoproof fuzz --runtime A --runtime B
                                         random configs on runtimes, and what differs inside
    isoproof doctor [RUNTIME...]         what this machine can do, and what its runtimes can be asked for; --clean
                                         removes what killed launchers have left

Exit status: 0 all is well, 1 a check failed, two runs differ or something is missing, 2 bad input or usage. `run` gives
the program's own, and 125, 126 and 127 as container tools do.

Each verb imports what it needs itself, so that `run` starts quickly.
"""

import argparse
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from harness.runtime.errors import BadInput, IsoproofError, StartError, require_linux, written_out
from harness.severities import SEVERITIES

if TYPE_CHECKING:
    from harness.results import Results
    from harness.scenario import Scenario

RESULTS = Path("reports/isolation.json")
BENCHMARK = Path("reports/benchmark.json")
LONGEST_LINE = 2000  # characters of a complaint: what a file holds may be told in it
VERIFY = (
    """\
Check this machine: run scenarios by pytest, and write what was found to reports/.

SCENARIO is a file, a folder of them, or a check as it is told under `again:`. Without any, all of ./scenarios are
run, and where there are none, all that isoproof brings. Scenarios stand before options.""",
    """\
the options that matter most:
  --runtime NAME      put another runtime under test (see: isoproof list runtimes); may be repeated
  --prove             run every check under its sabotages too: it must go red
  --rootfs PATH       begin containers with an image
  --reports DIR       where results are written (default: reports)
  -k WORDS, -m MARKS  only checks with these names, severities or areas: -m "escape and not slow"
  -n 2                use two processors, where pytest-xdist is installed; best with --dist loadfile
  -q                  say less

All others of pytest are taken, too; its settings and conftest.py files in the working directory are not.
Exit status: 0 every check holds, 1 one does not, 2 or more: they could not be run.""",
)


class Version(argparse.Action):
    """Tells the version, and looks for it only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from harness import backends

        parser.exit(0, f"isoproof {backends.version('builtin')}\n")


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status; whatever is wrong is said in one line on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    command: list[str] = []
    if words[:1] == ["run"] and "--" in words:
        command = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
    elif words[:1] == ["verify"] and words[1:2] not in (["-h"], ["--help"]):
        words, command = words[:1], words[1:]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where the locale has no letters for what is said
    try:
        options = parser().parse_args(words, argparse.Namespace(command=command))
        require_linux()
        verb: Callable[[argparse.Namespace], int] = options.verb
        status = verb(options)
        sys.stdout.flush()
        return status
    except IsoproofError as error:
        for line in str(error).splitlines():
            print(f"isoproof: {line[:LONGEST_LINE]}", file=sys.stderr)
        return error.status if isinstance(error, StartError) else 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # who reads us has enough; the interpreter flushes once more
        return 0
    except KeyboardInterrupt:
        return 130


def parser() -> Parser:
    top = Parser(prog="isoproof", description="Does it really isolate? `isoproof verify` asks this machine.")
    top.add_argument("--version", action=Version, nargs=0, help="tell the version and exit")
    verbs = top.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(verb=function)
        return sub

    verify = verb("verify", verify_machine, "check this machine: run the scenarios by pytest")
    verify.formatter_class = argparse.RawDescriptionHelpFormatter
    verify.usage = "isoproof verify [SCENARIO...] [OPTION...]"
    verify.description, verify.epilog = VERIFY
    run = verb("run", run_bundle, "run an OCI bundle to its end")
    run.add_argument("bundle", type=Path, help="a directory with a config.json; `-- COMMAND` replaces its command")
    run.add_argument(
        "--explain",
        action="store_true",
        help="print every step with its time in the last benchmark and its system calls, and run nothing",
    )
    run.add_argument("--deadline", type=seconds, metavar="SECONDS", help="kill the container after this time")
    run.add_argument("--strict", action="store_true", help="refuse a config with fields that would be ignored")
    spec = verb("spec", write_spec, "write a config.json to begin with")
    spec.add_argument("bundle", type=Path, nargs="?", default=Path(), help="where it is written (default: here)")
    listing = verb("list", list_things, "list what there is")
    listing.add_argument(
        "what", nargs="?", default="checks", choices=["checks", "probes", "shapes", "runtimes", "reports"]
    )
    listing.add_argument("--area", metavar="NAME", help="only the checks of this area, the name of a scenario file")
    listing.add_argument("--severity", choices=list(SEVERITIES), help="only checks of this severity")
    explain = verb("explain", explain_check, "tell what a check is about, for who is learning it")
    explain.add_argument("check", help="its name")
    ladder = verb("ladder", climb_ladder, "grow containers step by step, and tell what each kernel feature isolates")
    ladder.add_argument("rung", nargs="?", help="tell all of this one; what was found the last time is not made again")
    ladder.add_argument("--verbose", action="store_true", help="tell all of every rung")
    ladder.add_argument("--reports", type=Path, default=RESULTS.parent, metavar="DIR", help="where ladder.json is")
    report = verb("report", tell_results, "render results; exit status 1 if a check failed")
    report.add_argument("files", type=Path, nargs="*", metavar="FILE", help=f"default: {RESULTS}")
    report.add_argument("--format", default="terminal", metavar="NAME", help="see: isoproof list reports")
    report.add_argument("-v", "--verbose", action="store_true", help="tell every check and every reason (terminal)")
    report.add_argument(
        "--color", choices=["auto", "yes", "no"], default="auto", help="auto: as pytest does it (terminal)"
    )
    way = report.add_mutually_exclusive_group()
    way.add_argument(
        "--matrix",
        action="store_true",
        help="put the results of all files together, by check and runtime, and write matrix.html, .md and .json, too; "
        "exit status 1 if a check is an error",
    )
    way.add_argument(
        "--diff",
        nargs=2,
        metavar=("A", "B"),
        help="print a line for each check whose verdict differs in two files, or on two runtimes; exit status 1 if any",
    )
    way.add_argument("--since", type=Path, metavar="FILE", help="tell what has changed since that run, too (html)")
    report.add_argument("--reports", type=Path, default=RESULTS.parent, metavar="DIR", help="where --matrix writes")
    lint = verb("lint", lint_scenarios, "look for mistakes in scenario files")
    lint.add_argument("paths", nargs="*", default=["scenarios"], help="files or folders (default: %(default)s)")
    fuzz = verb(
        "fuzz", compare_runtimes, "run random configs on several runtimes; exit status 1 if anything differs inside"
    )
    fuzz.add_argument(
        "--runtime", action="append", required=True, metavar="NAME", help="twice or more, the first to be compared with"
    )
    fuzz.add_argument("--examples", type=whole, default=100, metavar="N", help="how many configs (default: 100)")
    fuzz.add_argument("--seed", type=int, metavar="S", help="the same again (default: another each time)")
    fuzz.add_argument(
        "--reports",
        type=Path,
        default=RESULTS.parent / "fuzz",
        metavar="DIR",
        help="where differences are written (default: %(default)s)",
    )
    doctor = verb("doctor", examine, "say what this machine can do, and what its runtimes can be asked for")
    doctor.add_argument(
        "runtimes", nargs="*", metavar="RUNTIME", help="only these (default: all); exit status 1 if one is missing"
    )
    doctor.add_argument("--clean", action="store_true", help="remove instead what launchers that were killed have left")
    return top


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a time")
    return value


def whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of examples")
    return value


def verify_machine(options: argparse.Namespace) -> int:
    from harness import verify
    from harness.runtime import inspect

    inspect.check_machine()  # before pytest says of each check that it cannot be made
    command = verify.command(options.command)
    sys.stdout.flush()
    # No module of the working directory is taken for another, in workers of pytest-xdist neither.
    os.execve(command[0], command, os.environ | {"PYTHONSAFEPATH": "1"})


def run_bundle(options: argparse.Namespace) -> int:
    from harness.runtime import command, inspect

    inspect.check_machine()
    if options.explain:
        from harness.bench.phases import last_times

        times, source = last_times(BENCHMARK)
        status = command.show_plan(options.bundle, options.command, options.strict, times)
        print(f"# {source}")
        return status
    return command.run(options.bundle, options.command, options.deadline, options.strict)


def write_spec(options: argparse.Namespace) -> int:
    import json

    from harness.runtime.spec import example

    path = options.bundle / "config.json"
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(example(os.geteuid(), os.getegid()), file, indent=2)
            file.write("\n")
    except OSError as error:
        raise BadInput(f"write {path}: {error.strerror}") from None
    return 0


def list_things(options: argparse.Namespace) -> int:
    from harness.lesson import first_line

    rows: list[tuple[str, ...]]
    if options.what == "checks":
        rows = [
            (Path(scenario.path).stem, check.name, check.severity, check.claim)
            for scenario in scenarios()
            for check in scenario.checks
            if options.area in (None, Path(scenario.path).stem) and options.severity in (None, check.severity)
        ]
    elif options.what == "probes":
        from harness.places import PROBES
        from harness.scenario import probe_names

        rows = [(name, first_line(PROBES / f"{name}.py")) for name in sorted(probe_names())]
    elif options.what == "shapes":
        from harness import places
        from harness.scenario import load_shape

        rows = [(path.stem, load_shape(path).title) for path in sorted((places.scenarios() / "shapes").glob("*.yaml"))]
    elif options.what == "runtimes":
        from harness import backends

        folder = Path(backends.__file__).parent
        rows = [
            (name, ", ".join(backends.options_of(name)), first_line(folder / f"{name}.py")) for name in backends.names()
        ]
    else:
        from harness import report

        rows = [(name, first_line(Path(report.__file__).parent / f"{name}.py")) for name in report.names()]
    for line in aligned(rows):
        print(line)
    return 0


def explain_check(options: argparse.Namespace) -> int:
    known = {check.name: (scenario, check) for scenario in scenarios() for check in scenario.checks}
    if options.check not in known:
        import difflib

        near = difflib.get_close_matches(options.check, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "isoproof list names them all"
        raise BadInput(f"no check {options.check!r} in scenarios; {hint}")
    from harness import lesson
    from harness.report._text import plain

    for line in lesson.lines(*known[options.check], last_results(), shutil.get_terminal_size().columns):
        print(plain(line))
    return 0


def climb_ladder(options: argparse.Namespace) -> int:
    from harness import places
    from harness.ladder import command

    return command.run(scenarios(), places.scenarios(), options.rung, options.verbose, options.reports)


def last_results() -> "Results | None":
    """What the last run has found, if there was one here that can be read."""
    from harness.results import from_json

    try:
        return from_json(RESULTS.read_bytes(), str(RESULTS))
    except (OSError, BadInput):
        return None


def tell_results(options: argparse.Namespace) -> int:
    from harness import reporting
    from harness.report._text import look

    if options.diff:
        left, right = options.diff
        return reporting.compare(left, right, options.files, RESULTS)
    files = options.files or [RESULTS]
    shown = look(sys.stdout, options.color, int(options.verbose))
    if options.matrix:
        return reporting.tell_matrix(files, options.format, options.reports, shown)
    if len(files) > 1:
        raise BadInput("report takes one file, or with --matrix several")
    return reporting.render(files[0], options.format, options.since, shown)


def lint_scenarios(options: argparse.Namespace) -> int:
    from harness import places
    from harness.errors import ScenarioError
    from harness.scenario import load, load_known, load_shape

    checks, mistakes = 0, 0
    for path in places.scenario_files(map(places.find, options.paths), also=places.BESIDE):
        try:
            if path.parent.name == "known":
                load_known(path)
            elif path.parent.name == "shapes":
                load_shape(path)
            else:
                checks += len(load(path).checks)
        except ScenarioError as error:
            mistakes += len(str(error).splitlines())
            print(error, file=sys.stderr)
    if mistakes:
        return 2
    print(f"{checks} checks without mistakes")
    return 0


def compare_runtimes(options: argparse.Namespace) -> int:
    import random

    from harness import fuzz

    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    return fuzz.run(list(dict.fromkeys(options.runtime)), options.examples, seed, options.reports)


def examine(options: argparse.Namespace) -> int:
    from harness import backends, doctor

    if options.clean:
        return doctor.clean()
    for name in options.runtimes:
        backends.load(name)
    return doctor.examine(options.runtimes, scenarios())


def scenarios() -> list["Scenario"]:
    """The scenarios that are here, or that isoproof brings; raises ScenarioError for the first that has mistakes."""
    from harness import places
    from harness.scenario import load

    return [load(path) for path in places.scenario_files([places.scenarios()])]


def aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The rows in columns; the last column is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield written_out("  ".join([*cells, row[-1]]))


if __name__ == "__main__":
    sys.exit(main())
