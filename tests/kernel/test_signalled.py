"""A launcher that is sent a signal while its container starts, and while it undoes everything: nothing stays behind."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.runtime import folders, leftovers
from harness.runtime.config import Config, read
from harness.runtime.launch import run
from harness.runtime.step import Call, Packed, Plan, Step
from tests.kernel.bundles import bundle

pytestmark = pytest.mark.usefixtures("needs_namespaces")

DEADLINE = 20.0
STOP = Step("stop", "test", (Call("write", (1, "!", 1)), Call("read", (0, Packed(b"\0", "a byte"), 1))))


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No launcher has left what `isoproof doctor --clean` would find."""
    monkeypatch.setattr(folders, "folders", lambda: [str(tmp_path / "records")])
    yield
    assert list(leftovers.remove()) == []


def stopping(plan: Plan) -> Plan:
    """Return a plan whose child says that it is there, and waits to be let go, before all else."""
    return replace(plan, steps=(STOP, *plan.steps), replay=False)


def signalled_while_it_starts(directory: Path, config: Config, number: int) -> int:
    """Send a launcher a signal while its child waits; return the launcher's exit status."""
    stdin, go = os.pipe()
    arrived, stdout = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        os.close(go)
        try:
            status = run(read(config), directory, (stdin, stdout, stdout), DEADLINE, stopping, pass_signals=True)
        except SystemExit as error:
            status = int(str(error.code))
        os._exit(status)
    os.close(stdin)
    os.close(stdout)
    assert os.read(arrived, 1) == b"!"
    os.kill(launcher, number)
    os.write(go, b"!")
    status = os.waitstatus_to_exitcode(os.waitpid(launcher, 0)[1])
    os.close(go)
    os.close(arrived)
    return status


def with_init(directory: Path) -> tuple[Path, Config]:
    """Make a bundle whose program gets signals, for it is no first process of a PID namespace."""
    directory, config = bundle(directory, "sleep", "600", annotations={"isoproof.init": "true"})
    if os.geteuid() == 0:
        config["linux"]["resources"] = {"pids": {"limit": 20}}
    return directory, config


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_program_gets_it_when_it_is_there(tmp_path: Path, number: int) -> None:
    directory, config = with_init(tmp_path / "bundle")
    assert signalled_while_it_starts(directory, config, number) == 128 + number


def test_a_first_process_that_passes_signals_on_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = signal.signal

    def slow(*arguments: object) -> object:
        time.sleep(0.02)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(signal, "signal", slow)  # the launcher's own handlers are not set by that
    directory, config = with_init(tmp_path / "bundle")
    assert signalled_while_it_starts(directory, config, signal.SIGTERM) == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_with_hooks_is_interrupted_and_undone(tmp_path: Path, number: int) -> None:
    """For they may take as long as they like."""
    directory, config = with_init(tmp_path / "bundle")
    config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "600"]}]}
    assert signalled_while_it_starts(directory, config, number) == 128 + number
