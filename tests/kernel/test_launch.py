"""The runtime against the real kernel: what a start makes, what a failed start leaves (nothing), how a run ends."""

import contextlib
import errno
import json
import os
import signal
import struct
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.runtime import folders, hostside, inspect, leftovers
from harness.runtime.config import read
from harness.runtime.errors import BadInput, BundleError, StartError
from harness.runtime.launch import run
from harness.runtime.plan import plan
from harness.runtime.step import Call, Packed, Plan, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, O
from tests.kernel.bundles import bundle, output_of, snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces")

LIMITS = {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}, "cpu": {"quota": 50_000, "period": 100_000}}
BROKEN = Call("openat", (AT_FDCWD, "/there/is/no/such/path", 0))


def with_limits(config: dict[str, object]) -> dict[str, object]:
    """Give a config limits, where this user may set them."""
    if os.geteuid() == 0:
        config["linux"] = config["linux"] | {"resources": LIMITS}  # type: ignore[operator]
    return config


def tree(directory: Path) -> list[str]:
    return sorted(str(path) for path in directory.rglob("*"))


def test_a_run_shows_the_world_that_the_config_asks_for(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "hostname; echo $$; id -u; set -- /proc/[0-9]*; echo $#; pwd")
    status, text = output_of(directory, read(config))
    assert (status, text.split()) == (0, ["cell", "1", "0", "1", "/"])


def test_a_run_leaves_nothing_behind(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    before, files = snapshot(), tree(directory)
    assert output_of(directory, read(with_limits(config))) == (0, "")
    assert snapshot() == before
    assert tree(directory) == files


def parts(wanted: Plan) -> list[tuple[str, int]]:
    return [(part, index) for part in ("before", "between", "steps") for index in range(len(getattr(wanted, part)))]


def failing_at(wanted: Plan, part: str, index: int) -> Plan:
    """Return the plan with one step that fails after it has done its work."""
    steps = list(getattr(wanted, part))
    step: Step = steps[index]
    calls = (BROKEN, *step.calls) if step.name == "execute" else (*step.calls, BROKEN)
    steps[index] = replace(step, calls=calls)
    changed: dict[str, Any] = {part: tuple(steps)}
    return replace(wanted, **changed)


def test_whatever_step_fails_nothing_stays_behind(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    config = read(with_limits(config))
    wanted = plan(config, inspect.host(config, directory))
    before, files = snapshot(), tree(directory)
    assert len(parts(wanted)) > 40
    for part, index in parts(wanted):
        name = getattr(wanted, part)[index].name.partition(":")[0]
        with pytest.raises(StartError) as caught:
            output_of(directory, config, alter=lambda made, at=(part, index): failing_at(made, *at))
        assert caught.value.step.partition(":")[0] == name
        assert caught.value.number == errno.ENOENT
        assert snapshot() == before, f"{part} {name}"
        assert tree(directory) == files, f"{part} {name}"


def test_a_start_error_names_step_call_and_errno(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    with pytest.raises(StartError, match=r"pivot-root: openat\(AT_FDCWD, .*\): ENOENT \(No such file or directory\)"):
        output_of(
            directory, read(config), alter=lambda made: made.exchange("pivot-root", Step("pivot-root", "", (BROKEN,)))
        )


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -TERM $$; sleep 1; exit 3", 3)])
def test_the_exit_status_is_the_programs(tmp_path: Path, command: str, status: int) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", command)
    assert output_of(directory, read(config))[0] == status


def test_a_program_killed_by_a_signal_ends_with_128_and_its_number(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "sh -c 'kill -9 $$'; exit $?")
    assert output_of(directory, read(config))[0] == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "init", "pid_namespace"),
    [
        ("trap '' TERM INT HUP; while :; do sleep 60; done", "false", True),
        ("kill -STOP $$", "true", True),  # not as process 1, for that cannot be stopped from inside
        ("kill -STOP $$", "false", False),
        ("while :; do cat /bin/busybox; done > /proc/self/fd/0", "false", True),
    ],
    ids=["ignores every signal", "stops itself", "stops itself on the host", "fills its own input"],
)
def test_the_deadline_ends_a_program_that_does_not_end(
    tmp_path: Path, command: str, init: str, pid_namespace: bool
) -> None:
    """rex-wall-clock: whatever it does instead, and with nothing left."""
    directory, config = bundle(tmp_path, "sh", "-c", command)
    config["annotations"] = {"isoproof.init": init}
    if not pid_namespace:
        if os.geteuid() != 0:
            pytest.skip("an ordinary user has no /proc to mount without a PID namespace")
        config["linux"]["namespaces"].remove({"type": "pid"})
    before = snapshot()
    null = os.open("/dev/null", os.O_RDWR)
    stdin, feed = os.pipe()
    assert run(read(with_limits(config)), directory, (stdin, null, null), 0.3) == 124
    for descriptor in (null, stdin, feed):
        os.close(descriptor)
    assert snapshot() == before


def test_descriptors_signals_and_environment_of_the_launcher_stay_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_SECRET", "visible")
    stray = os.open("/", os.O_RDONLY)
    os.set_inheritable(stray, True)
    ignored = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        directory, config = bundle(tmp_path / "shell", "sh", "-c", "cat /proc/1/environ; echo; ls /proc/1/fd; umask")
        status, text = output_of(directory, read(config))
        directory, config = bundle(tmp_path / "signals", "cat", "/proc/self/status")
        signals = output_of(directory, read(config))[1]
    finally:
        os.close(stray)
        signal.signal(signal.SIGUSR1, ignored)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
    assert status == 0
    assert "CANARY" not in text
    assert text.split("\n")[1:] == ["0", "1", "2", "0022", ""]
    masks = {
        line.split()[0]: int(line.split()[1], 16)
        for line in signals.splitlines()
        if line.startswith("Sig") and "/" not in line
    }
    assert masks == {"SigPnd:": 0, "SigBlk:": 0, "SigIgn:": 0, "SigCgt:": 0}


def test_capabilities_are_exactly_those_of_the_config_in_all_five_sets(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "cat", "/proc/self/status")
    wanted = {"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}
    config["process"]["capabilities"] = wanted | {"inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
    status, text = output_of(directory, read(config))
    assert status == 0
    masks = {line.split()[0]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}
    kill, chown = 1 << 5, 1 << 0
    assert masks["CapBnd:"] == kill | chown
    assert masks["CapInh:"] == masks["CapAmb:"] == masks["CapPrm:"] == masks["CapEff:"] == kill


def test_ambient_capabilities_that_cannot_be_are_left_out_with_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory, config = bundle(tmp_path, "cat", "/proc/self/status")
    sets = config["process"]["capabilities"]
    sets |= {"inheritable": ["CAP_KILL"], "ambient": ["CAP_AUDIT_WRITE", "CAP_KILL"]}  # the first as `runc spec` has it
    (directory / "config.json").write_text(json.dumps(config))
    assert cli.main(["run", str(directory)]) == 0
    said = capfd.readouterr()
    assert "CapAmb:\t0000000000000020\n" in said.out
    field = f"{directory}/config.json: process.capabilities.ambient[0]"
    assert said.err.startswith(f"isoproof: {field}: CAP_AUDIT_WRITE is left out: only what is permitted and")
    assert said.err.count("\n") == 1
    assert cli.main(["run", "--strict", str(directory)]) == 2
    assert capfd.readouterr().out == ""


def test_the_program_is_reaped_for_by_the_init_shim_if_one_is_asked_for(tmp_path: Path) -> None:
    command = "(sleep 0.1 & ) ; sleep 0.5; echo pid $$; grep -l ') Z' /proc/[0-9]*/stat; exit 9"
    directory, config = bundle(tmp_path, "sh", "-c", command, annotations={"isoproof.init": "true"})
    status, text = output_of(directory, read(config))
    assert (status, text.split()) == (9, ["pid", "2"])


def test_a_container_dies_with_its_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "folders", lambda: [str(tmp_path / "records")])
    directory, config = bundle(tmp_path / "bundle", "sh", "-c", "echo up; while :; do sleep 60; done")
    reader, writer = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        null = os.open("/dev/null", os.O_RDWR)
        os.close(reader)
        run(read(config), directory, (null, writer, null), 30.0)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.readline() == b"up\n"
        os.kill(launcher, signal.SIGKILL)
        os.waitpid(launcher, 0)
        watchdog = threading.Timer(10, pipe.close)
        watchdog.start()
        assert pipe.read() == b""  # the end of the output is the end of the last process that held it
        watchdog.cancel()
    assert list(leftovers.remove())[1:] == [
        f"  removed /{name} in {directory}/rootfs" for name in ("proc", "dev", "sys")
    ]


def test_limits_are_in_force(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user has no cgroup to set limits in")
    directory, config = bundle(tmp_path, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait")
    config["linux"]["resources"] = {"pids": {"limit": 4}}
    _status, text = output_of(directory, read(config))
    assert "can't fork" in text


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_an_image_with_a_symlink_for_proc_or_sys_is_refused(tmp_path: Path, name: str) -> None:
    directory, config = bundle(tmp_path)
    (directory / "rootfs" / name).symlink_to("bin")
    with pytest.raises(StartError, match=f"mount:/{name}: .*EINVAL.*symlink"):
        output_of(directory, read(config))


def test_a_symlink_of_the_image_does_not_lead_a_mount_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    directory, config = bundle(tmp_path / "bundle", "ls", str(outside))
    (directory / "rootfs" / "link").symlink_to(outside)
    config["mounts"].append({"destination": "/link/x", "type": "tmpfs", "source": "tmpfs", "options": []})
    with pytest.raises(
        StartError, match="mount:/link/x"
    ):  # the target is not there in the root, and is not made outside
        output_of(directory, read(config))
    assert list(outside.iterdir()) == []


def test_an_overlay_is_made_of_directories_of_the_host(tmp_path: Path) -> None:
    layers = {name: tmp_path / name for name in ("lower", "upper", "work")}
    for layer in layers.values():
        layer.mkdir()
    (layers["lower"] / "file").write_text("original\n")
    options = [f"{name}dir={path}" for name, path in layers.items()]
    directory, config = bundle(tmp_path / "bundle", "/bin/sh", "-c", "cat /data/file; echo new > /data/file")
    config["mounts"].append({"destination": "/data", "type": "overlay", "source": "overlay", "options": options})
    assert output_of(directory, read(config)) == (0, "original\n")
    assert (layers["lower"] / "file").read_text() == "original\n"
    assert (layers["upper"] / "file").read_text() == "new\n"


def test_a_missing_program_is_found_out_before_anything_is_done(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "/bin/nonesuch")
    with pytest.raises(BundleError, match=r"execute /bin/nonesuch: ENOENT"):
        output_of(directory, read(config))


def test_a_program_without_its_interpreter_ends_with_127(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "/bin/script")
    (directory / "rootfs/bin/script").write_text("#!/bin/nonesuch\n")
    (directory / "rootfs/bin/script").chmod(0o755)
    with pytest.raises(StartError) as caught:
        output_of(directory, read(config))
    assert caught.value.status == 127


def test_a_program_that_may_not_be_executed_ends_with_126(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "/bin/data")
    (directory / "rootfs/bin/data").write_text("data\n")
    with pytest.raises(StartError) as caught:
        output_of(directory, read(config))
    assert caught.value.status == 126


def test_the_hosts_own_root_is_refused(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    config["root"]["path"] = "/"
    with pytest.raises(BadInput, match="the host's own root"):
        output_of(directory, read(config))


def test_what_no_call_of_the_plan_says_is_an_error_too(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, annotations={"isoproof.init": "true"})
    denied = {"names": ["fork", "vfork", "clone", "clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EAGAIN}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]}
    before = snapshot()
    with pytest.raises(StartError, match=r"start the program: EAGAIN .*; a PID 1 that reaps takes a second process"):
        output_of(directory, read(config))
    assert snapshot() == before


def test_an_exception_in_the_child_is_an_error_too(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    unknown = Step("unknown", "test", (Call("close", (Saved("nobody has saved it"),)),))
    with pytest.raises(StartError, match=r"start the program: KeyError: 'nobody has saved it'"):
        output_of(directory, read(config), alter=lambda plan: replace(plan, steps=(unknown, *plan.steps), replay=False))


def test_what_the_child_failed_at_is_told_rather_than_what_failed_for_it(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    a_while = Packed(struct.pack("=qq", 0, 300_000_000), "300 ms")
    first = Step("first", "test", (BROKEN,))
    second = Step("second", "test", (Call("nanosleep", (a_while, None)), BROKEN))
    with pytest.raises(StartError, match=r"^first: "):
        output_of(
            directory,
            read(config),
            alter=lambda plan: replace(plan, steps=(first, *plan.steps), between=(second, *plan.between)),
        )


def test_the_undo_of_a_step_keeps_its_own_names_when_a_later_step_has_failed(tmp_path: Path) -> None:
    file, before = tmp_path / "file", os.listdir("/proc/self/fd")

    def writing(text: str) -> tuple[Call, ...]:
        opened = Call("openat", (AT_FDCWD, str(file), O.WRONLY | O.CLOEXEC), saves="file")
        return (opened, Call("write", (Saved("file"), text, len(text))), Call("close", (Saved("file"),)))

    file.touch()
    with contextlib.ExitStack() as undo:
        results: dict[str, int] = {}
        hostside.run(Step("first", "", writing("done"), writing("back")), results, undo)
        with pytest.raises(StartError):
            hostside.run(Step("second", "", (writing("")[0], BROKEN)), results, undo)
    assert file.read_text() == "back"
    assert os.listdir("/proc/self/fd") == before
