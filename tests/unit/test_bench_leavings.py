"""That what the benchmark has made is undone whole, whenever somebody presses Ctrl-C."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from harness.bench import commands, contenders, leavings, orphans
from harness.bench.contenders import Place


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def undo(meanwhile: Callable[[], object], done: list[str]) -> None:
    """Have something undone in two steps, between which comes an interruption; something else happens before."""

    def remove() -> None:
        done.append("begun")
        interrupt()
        done.append("undone")

    with leavings.undone() as stack:
        stack.callback(remove)
        meanwhile()


@pytest.mark.parametrize("meanwhile", [bool, interrupt], ids=["the first", "one more"])
def test_an_interruption_waits_until_all_is_undone(meanwhile: Callable[[], object]) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        undo(meanwhile, done)
    assert done == ["begun", "undone"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_what_undoes_is_not_interrupted_by_the_keyboard_either() -> None:
    """It is of the same process group, to which a terminal sends the signal."""
    ended: list[int] = []

    def remove() -> None:
        ended.append(subprocess.run(["sh", "-c", "kill -INT $$; exit 7"], check=False).returncode)

    with leavings.undone() as stack:
        stack.callback(remove)
    assert ended == [7]


def test_orphans_and_children_of_a_context_are_ended_with_it() -> None:
    known = orphans.children()
    with orphans.adopted():
        subprocess.run(["sh", "-c", "sleep 1000 & sleep 1000 &"], check=True)
        assert len(orphans.children() - known) == 2
    assert orphans.children() == known


@pytest.fixture
def place() -> Iterator[Place]:
    with orphans.adopted(), contenders.place() as made:
        yield made


def test_an_interruption_before_the_number_of_a_command_is_known_kills_that_and_nobody_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = orphans.children()
    spawn, groups = os.posix_spawnp, list[int]()

    def interrupted(*words: object, **options: object) -> int:
        spawn(*words, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "posix_spawnp", interrupted)
    monkeypatch.setattr(os, "killpg", lambda group, _: groups.append(group))
    with pytest.raises(KeyboardInterrupt):
        commands.run(place.stopwatch, ["/bin/sleep", "1000"])
    assert orphans.children() == known
    assert groups == [], "killpg(0) kills our own process group"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_another_end_is_as_ctrl_c_and_only_meanwhile(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), leavings.ended_in_order():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
