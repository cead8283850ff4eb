"""One start by a command, and what becomes of those that go wrong: stand-ins for runtimes, which are shell scripts."""

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import elf
from harness.bench import commands, concurrency, contenders, orphans, runtimes
from harness.bench.commands import HangError
from harness.bench.contenders import Command, Place, Way
from harness.bench.series import Round, Settings
from harness.bench.turns import IN_A_ROW, Turns
from harness.errors import HarnessError

ENDLESS = "sleep 1000"
StandIn = Callable[..., Command]


@pytest.fixture
def place() -> Iterator[Place]:
    with orphans.adopted(), contenders.place() as made:
        before = orphans.children(), os.listdir("/proc/self/fd")
        yield made
        assert (orphans.children(), os.listdir("/proc/self/fd")) == before, "a start has left a process or a descriptor"


@pytest.fixture
def stand_in(place: Place, tmp_path: Path) -> StandIn:
    """Make a contender of a script, in which $clock is the program that tells the time."""

    def make(*scripts: str, **options: bool | str | float | list[str]) -> Command:
        ways: list[Way] = []
        for script in scripts:
            path = tmp_path / f"stand-in-{len(list(tmp_path.iterdir()))}"
            path.write_text(f"#!/bin/sh\nclock={place.bundle}/rootfs/clock\ncd {tmp_path}\n{script}\n")
            path.chmod(0o755)
            ways.append(Way([str(path)], f"way {len(ways)}" if ways else ""))
        settings = {"name": "stand-in", "what": "a script", "package": "nobody has it", "deadline": 5.0} | options
        return Command(place=place, ways=ways, **settings)  # type: ignore[arg-type]

    return make


def test_a_start_is_timed_from_its_request_to_its_end(stand_in: StandIn) -> None:
    before = time.monotonic_ns()
    seen = stand_in("exec $clock").start()
    assert seen.first is not None
    assert seen.clean is not None
    assert 0 < seen.first < seen.clean < time.monotonic_ns() - before
    assert seen.cpu
    assert seen.memory


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "it has written nothing"),
        ("echo no device >&2", "it has written nothing: no device"),
        ("echo rubbish", "the clock program wrote 8 bytes, not 16: b'rubbish\\n'"),
        ("printf 0123456789abcdef", "its first instruction ran after"),
        ("$clock; echo one; echo 'no \033[31mcgroup\033[0m' >&2; exit 3", r"exit status 3: no \x1b[31mcgroup\x1b[0m"),
        ("exit 4", "exit status 4"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        (f"setsid {ENDLESS} & exec $clock", "it has left sleep running"),
        (f"({ENDLESS} & {ENDLESS} &) ; exec $clock", "it has left sleep running"),
    ],
)
def test_a_start_that_fails_says_why(
    stand_in: StandIn, script: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "LINGERING", 0.2)
    with pytest.raises(HarnessError) as caught:
        stand_in(script).start()
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (ENDLESS, ""),
        (f"echo waiting for godot >&2; {ENDLESS} & {ENDLESS}", ": waiting for godot"),
        (f"trap '' TERM INT HUP; {ENDLESS}", ""),
        (f"setsid sh -c '{ENDLESS} & {ENDLESS}'", ""),
        ("exec yes", ""),
        ("exec yes >&2", ": y"),
    ],
)
def test_one_that_hangs_is_ended_with_all_it_has_started(
    stand_in: StandIn, script: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "QUIET", 0.1)
    with pytest.raises(HangError, match=f"it has not ended in time{words}"):
        stand_in(script, deadline=0.4).start()


def test_a_batch_that_leaves_something_running_has_failed(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LINGERING", 0.2)
    monkeypatch.setattr(concurrency, "LINGERING", 0.2)
    with concurrency.spawned(stand_in("exec $clock")) as batch:
        assert batch(2).first
    with concurrency.spawned(stand_in(f"setsid {ENDLESS} & exec $clock")) as batch:
        with pytest.raises(HarnessError, match=r"^it has left sleep running$"):
            batch(2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"one\n\n two \n\n", "two"),
        (
            b"docker: Error response from daemon: no space\n\nRun 'docker run --help' for more\n",
            "docker: Error response",
        ),
        (b"error: the first\nERROR the last\nbye\n", "ERROR the last"),
        (b"\n", ""),
    ],
)
def test_the_last_words_are_the_last_error_or_else_the_last_line(text: bytes, words: str) -> None:
    assert commands.last_words(text).startswith(words)
    assert bool(words) is bool(commands.last_words(text))


def test_much_output_does_not_stop_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "QUIET", 0.1)
    many = f"head -c {commands.LONGEST * 3} /dev/zero; head -c 100000 /dev/zero >&2; echo >&2; echo done >&2"
    finished = commands.run(place.stopwatch, ["/bin/sh", "-c", many])
    assert finished.status == 0
    assert len(finished.output) >= commands.LONGEST
    assert finished.complaint == "done"


def test_what_outlives_the_command_is_waited_for(place: Place, tmp_path: Path) -> None:
    clock = place.bundle / "rootfs" / "clock"
    later = f"(sleep 0.1; {clock} > {tmp_path}/late) &"
    finished = commands.run(place.stopwatch, ["/bin/sh", "-c", f"{later} exec {clock}"])
    assert finished.round().clean == finished.ended - finished.requested
    assert elf.nanoseconds((tmp_path / "late").read_bytes()) < finished.ended


def test_what_enters_another_place_is_not_measured(place: Place) -> None:
    clock = str(place.bundle / "rootfs" / "clock")
    within = ["sh", "-c", 'sleep 0.2; exec "$@"', "sh"]
    before = time.monotonic_ns()
    seen = commands.run(place.stopwatch, [clock], within)
    assert seen.requested - before > 200_000_000
    assert seen.round().clean == seen.ended - seen.requested


def test_a_place_that_cannot_be_entered_is_told(place: Place) -> None:
    with pytest.raises(HarnessError, match="umount: no permission"):
        commands.run(place.stopwatch, ["/bin/true"], ["sh", "-c", "echo umount: no permission >&2; exit 1"])
    with pytest.raises(HarnessError, match="start /nowhere: No such file or directory"):
        commands.run(place.stopwatch, ["/bin/true"], ["/nowhere"])


def test_a_clock_of_the_calendar_is_taken_back_to_the_other(place: Place, stand_in: StandIn) -> None:
    clock = place.root("calendar", time.CLOCK_REALTIME) / "clock"
    assert stand_in(f"exec {clock}", calendar=True).start().first
    with pytest.raises(HarnessError, match="its first instruction ran after"):
        stand_in(f"exec {clock}").start()


def test_one_without_a_clock_has_only_an_end(stand_in: StandIn) -> None:
    seen = stand_in("exit 0", silent=True).start()
    assert seen.first is None
    assert seen.clean
    with pytest.raises(HarnessError, match="exit status 1"):
        stand_in("exit 1", silent=True).start()


def test_one_that_is_missing_names_its_package(place: Place) -> None:
    contender = Command(place=place, name="x", what="x", package="Debian's package x", ways=[Way(["no-such-program"])])
    assert contender.absent() == "no-such-program is not installed (Debian's package x)"
    assert contender.version() == "unknown"


def test_why_one_cannot_take_part_is_told(place: Place, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Command(place=place, name="x", what="x", package="Debian's package x", ways=[Way(["no-such-program"])])
    present = stand_in("exec $clock")
    with contextlib.ExitStack() as stack:
        assert runtimes.made_ready(missing, stack) == missing.absent()
        assert runtimes.made_ready(present, stack) is None
        monkeypatch.setattr(present, "start", lambda: os.stat("/no-such-file"))
        assert runtimes.made_ready(present, stack) == "[Errno 2] No such file or directory: '/no-such-file'"


def test_the_first_way_that_works_is_taken_and_told(stand_in: StandIn) -> None:
    contender = stand_in("exit 1", "exec $clock", "exit 2")
    with contender.ready():
        assert contender.start().first
    assert contender.what == "a script; way 1"
    assert contender.command == shlex.join(contender.ways[1].command)


def test_if_no_way_works_the_ordinary_one_is_told(stand_in: StandIn) -> None:
    contender = stand_in("echo ordinary >&2; exit 1", "exit 2")
    with contender.ready(), pytest.raises(HarnessError, match="exit status 1: ordinary"):
        contender.start()
    assert contender.what == "a script"


def test_a_way_that_hangs_is_the_last_that_is_tried(stand_in: StandIn, tmp_path: Path) -> None:
    contender = stand_in(ENDLESS, "touch tried; exec $clock", deadline=0.2)
    with contender.ready():
        assert not (tmp_path / "tried").exists()


def test_after_a_failure_and_in_the_end_it_is_removed(stand_in: StandIn, tmp_path: Path) -> None:
    contender = stand_in("exit 1", removal=["sh", "-c", f"echo removed >> {tmp_path}/log"])
    with contender.ready(), pytest.raises(HarnessError):
        contender.start()
    assert (tmp_path / "log").read_text() == "removed\n" * 3  # of the trial, of the start, in the end


def test_paths_that_were_not_there_before_are_removed(stand_in: StandIn, tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    script = f"mkdir -p {new}/full {new}/empty; touch {new}/file {new}/full/somebodys; exec $clock"
    paths = [new / "file", new / "empty", new / "full", new, old]
    with stand_in(script, leavings=list(map(str, paths))).ready():
        assert (new / "file").exists()
    assert sorted(path.name for path in new.rglob("*")) == ["full", "somebodys"]
    assert old.exists()


def test_who_fails_now_and_then_enters_no_median_and_who_always_does_is_given_up(
    stand_in: StandIn, tmp_path: Path
) -> None:
    third = "echo >> count; test $(($(wc -l < count) % 3)) -ne 0 || { echo third >&2; exit 9; }; exec $clock"
    crash = stand_in("echo >> crashes; kill -ABRT $$")
    told: list[str] = []
    turns = Turns(
        "test",
        {
            "good": stand_in("exec $clock").start,
            "third": stand_in(third).start,
            "crash": crash.start,
            "missing": stand_in("exec /no/such/runtime").start,
            "late": stand_in("echo >> late; test $(wc -l < late) -lt 4 || exit 5; exec $clock").start,
        },
        Settings(rounds=9, gap_ms=0, warmup=1),
        told.append,
        own="good",
    )
    turns.all_rounds()
    series = turns.series()
    assert [len(found.rounds) for found in series.values()] == [9, 9, IN_A_ROW, IN_A_ROW, 3 - 1 + IN_A_ROW]
    assert series["good"].failed == 0
    assert [index for index, _ in series["third"].failures] == [1, 4, 7]
    assert {reason for _, reason in series["third"].failures} == {"exit status 9: third"}
    assert len(series["third"].values("first")) == 6
    assert series["crash"].failures[-1] == (2, "killed by SIGABRT (given up)")
    assert len((tmp_path / "crashes").read_text()) == IN_A_ROW
    assert series["missing"].summary("first") is None
    assert "/no/such/runtime" in series["missing"].failures[0][1]
    assert series["late"].failures[-1] == (4, "exit status 5 (given up)")
    assert "test: round 10 of 10, good" in told


def test_who_loses_too_much_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.bench.turns.PATIENCE", 0.0)
    starts = 0

    def start() -> Round:
        nonlocal starts
        starts += 1
        raise HarnessError("it has not ended in time")

    turns = Turns("test", {"slow": start}, Settings(rounds=5, gap_ms=0, warmup=0), print)
    turns.all_rounds()
    assert starts == 1
    assert turns.series()["slow"].failures == [(0, "it has not ended in time (given up)")]


def test_who_has_spent_its_time_gets_no_more_turns_and_what_it_has_found_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def taking(seconds: float, error: str = "") -> Callable[[], Round]:
        def start() -> Round:
            now[0] += seconds
            if error:
                raise HarnessError(error)
            return Round(1, 1)

        return start

    starts = {"slow": taking(1), "slower": taking(3), "fast": taking(0.01), "hung": taking(9, "it hangs")}
    turns = Turns("test", starts, Settings(20, gap_ms=0, warmup=1), print, seconds=4)
    turns.all_rounds()
    found = turns.series()
    assert {label: len(seen.rounds) for label, seen in found.items()} == {"slow": 4, "slower": 1, "fast": 20, "hung": 1}
    assert found["hung"].failures == [(0, "it hangs")], "also where it was in the rounds that do not count"


def noting(order: list[str], labels: str) -> dict[str, Callable[[], Round]]:
    """Return starts that note their labels in the order in which they are made."""

    def starter(label: str) -> Callable[[], Round]:
        def start() -> Round:
            order.append(label)
            return Round(1, 2)

        return start

    return {label: starter(label) for label in labels}


@pytest.mark.parametrize("own", ["b", None])
def test_all_take_turns_in_every_round_and_each_has_every_place(own: str | None) -> None:
    order: list[str] = []
    turns = Turns("test", noting(order, "abcd"), Settings(rounds=40, gap_ms=0, warmup=2), print, own)
    turns.all_rounds()
    rounds = [order[at : at + 4] for at in range(0, len(order), 4)]
    assert len(rounds) == 42
    assert all(sorted(taken) == ["a", "b", "c", "d"] for taken in rounds)
    for label in "abcd":
        assert {taken.index(label) for taken in rounds} == {0, 1, 2, 3}
    assert {len(found.rounds) for found in turns.series().values()} == {40}


def test_whoever_times_our_own_times_nothing_but_that(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(time, "sleep", lambda _: done.append("gap"))
    turns = Turns(
        "test", noting(done, "abc"), Settings(rounds=9, gap_ms=5, warmup=0), lambda _: done.append("told"), "b"
    )
    for _ in range(9):
        turns.before()
        assert done[-1] == "gap"
        before = len(done)
        turns.own()
        assert done[before:] == ["b"]
        turns.after()
        assert done.count("gap") == done.count("told") == 3
        done.clear()


def test_an_interruption_ends_what_is_running(stand_in: StandIn) -> None:
    with pytest.raises(KeyboardInterrupt):
        stand_in(f"setsid {ENDLESS} & kill -INT {os.getpid()}; {ENDLESS}").start()
