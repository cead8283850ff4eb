"""Hooks: run where and when the runtime-spec wants it, told what it wants, and with nothing left when they fail."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from harness.runtime import folders, leftovers
from harness.runtime.config import Config, read
from harness.runtime.errors import StartError
from tests.kernel.bundles import bundle, output_of, snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces")

POINTS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
HOST_SIDE = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
TYPES = ("mnt", "uts", "pid", "net", "ipc")


def told(directory: Path, script: str) -> dict[str, Any]:
    """Return a hook of the host's that runs a script of the shell in which $0 is a folder for what it finds."""
    return {"path": "/bin/sh", "args": ["sh", "-c", script, str(directory)]}


def observing(directory: Path, point: str) -> dict[str, Any]:
    """Return a hook that writes down what it is told, its environment and the namespaces that it is in."""
    script = (
        f'cat > "$0/{point}.state"; echo {point} >> "$0/order"; env > "$0/{point}.env"; pwd > "$0/{point}.cwd"; '
        f'for name in {" ".join(TYPES)}; do readlink /proc/self/ns/$name; done > "$0/{point}.namespaces"'
    )
    return told(directory, script) | {"env": [f"POINT={point}"]}


def bundle_with(directory: Path, hooks: dict[str, Any], *command: str) -> tuple[Path, Config]:
    made, config = bundle(directory, *(command or ("sh", "-c", "echo program")))
    for name in ("readlink", "env", "echo"):
        (made / "rootfs/bin" / name).symlink_to("busybox")
    config["annotations"] = {"note": "x"}
    return made, config | {"hooks": hooks}


def namespaces(path: Path) -> list[str]:
    return path.read_text().split()


def test_each_is_run_at_its_place_and_told_the_state(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    heard.mkdir(mode=0o777)
    hooks = {point: [observing(heard, point)] for point in HOST_SIDE}
    script = f"cat; for name in {' '.join(TYPES)}; do readlink /proc/self/ns/$name; done"
    hooks["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", f"{{ {script}; }} > /dev/shm/started"]}]
    command = ("sh", "-c", f"cat /dev/shm/started; echo; readlink /proc/self/ns/mnt; echo {os.getpid()}")
    directory, config = bundle_with(tmp_path / "bundle", hooks, *command)
    before = snapshot()
    status, text = output_of(directory, read(config))
    assert status == 0, text
    assert snapshot() == before
    assert (heard / "order").read_text().split() == list(HOST_SIDE)
    started, end = json.JSONDecoder().raw_decode(text)
    inside = text[end:].split()
    states = {point: json.loads((heard / f"{point}.state").read_text()) for point in HOST_SIDE}
    states["startContainer"] = started
    statuses = {point: states[point].pop("status") for point in POINTS}
    assert list(statuses.values()) == ["creating", "creating", "creating", "created", "running", "stopped"]
    assert "pid" not in states["poststop"]
    pid = states["prestart"]["pid"]
    assert pid > 1
    common = {"ociVersion": "1.0.2", "id": started["id"], "bundle": str(directory), "annotations": {"note": "x"}}
    for point in POINTS:
        assert states[point] == common | ({} if point == "poststop" else {"pid": pid}), point
    for point in HOST_SIDE:
        lines = (heard / f"{point}.env").read_text().splitlines()
        assert f"POINT={point}" in lines
        assert {line.partition("=")[0] for line in lines} <= {"POINT", "PWD", "SHLVL", "_", "OLDPWD"}
        assert (heard / f"{point}.cwd").read_text().strip() == str(directory)
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in TYPES]
    for point in ("prestart", "createRuntime", "poststart", "poststop"):
        assert namespaces(heard / f"{point}.namespaces") == ours
    assert not set(namespaces(heard / "createContainer.namespaces")) & set(ours)
    assert namespaces(heard / "createContainer.namespaces") == inside[: len(TYPES)]
    assert inside[len(TYPES)] == inside[0]


def test_before_the_pivot_the_mounts_are_there_and_in_the_container_they_can_be_added_to(tmp_path: Path) -> None:
    rootfs = tmp_path / "bundle/rootfs"
    user = "" if os.geteuid() == 0 else "--user --preserve-credentials"
    path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    pid = "$(sed 's/.*\"pid\": \\([0-9]*\\).*/\\1/')"
    enter = f"{path}; nsenter {user} --mount --target {pid} test -c {rootfs}/dev/null"
    add = f"test -c {rootfs}/dev/null && mount -t tmpfs -o size=64k added {rootfs}/tmp && echo in > {rootfs}/tmp/file"
    hooks = {
        "createRuntime": [told(tmp_path, enter)],
        "createContainer": [told(tmp_path, f"{path}; {add}")],
    }
    directory, config = bundle_with(tmp_path / "bundle", hooks, "sh", "-c", "cat /tmp/file; ls /; ls /proc/self/fd")
    (rootfs / "tmp").mkdir()
    before = snapshot()
    status, text = output_of(directory, read(config))
    assert status == 0, text
    assert text.split()[0] == "in"
    assert set(text.split()[1:]) >= {"bin", "tmp", "proc"}
    assert "host-root" not in text
    assert text.split()[-4:] == ["0", "1", "2", "3"]  # the last is ls's own
    assert not (rootfs / "tmp/file").exists()
    assert snapshot() == before


def test_one_in_the_container_can_do_no_more_than_the_program(tmp_path: Path) -> None:
    """The same user, capabilities, limits, filter, cgroup and root."""
    look = "{ id -u; cat /proc/self/status /proc/self/limits /proc/self/cgroup; } > "
    hooks = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", f"{look} /dev/shm/hook"]}]}
    changing = "-e ^Pid -e ^Tgid -e ^PPid -e ^Name -e ^Vm -e ^Rss -e ctxt -e ^NSpid -e ^NSpgid -e ^NSsid -e ^NStgid"
    script = f"{look} /dev/shm/program; for one in hook program; do grep -v {changing} /dev/shm/$one; echo ==; done"
    directory, config = bundle_with(tmp_path / "bundle", hooks, "sh", "-c", script)
    (directory / "rootfs/bin/grep").symlink_to("busybox")
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
    }
    if os.geteuid() == 0:
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        config["linux"]["resources"] = {"pids": {"limit": 50}}
    status, text = output_of(directory, read(config))
    assert status == 0, text
    hook, program, _ = text.split("==\n")
    assert hook == program
    assert "Seccomp:\t2" in hook
    assert "NoNewPrivs:\t1" in hook


def test_one_in_the_container_cannot_look_into_the_copy_of_the_launcher_that_runs_it(tmp_path: Path) -> None:
    """It has the same rights, and still nothing of the launcher's memory: the catalogue's sig-setup-process-opaque."""
    look = "for name in environ mem maps; do head -c 1 /proc/1/$name; done; readlink /proc/1/exe; readlink /proc/1/cwd"
    hooks = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", f"{{ {look}; }} > /dev/shm/seen 2>&1; true"]}]}
    directory, config = bundle_with(tmp_path / "bundle", hooks, "cat", "/dev/shm/seen")
    for name in ("cat", "head"):
        (directory / "rootfs/bin" / name).unlink(missing_ok=True)
        (directory / "rootfs/bin" / name).symlink_to("busybox")
    status, text = output_of(directory, read(config))
    assert status == 0, text
    assert text == "".join(f"head: /proc/1/{name}: Permission denied\n" for name in ("environ", "mem", "maps"))


@pytest.mark.parametrize("init", ["true", "false"])
@pytest.mark.parametrize("point", POINTS[:4])
def test_one_that_fails_ends_the_start_with_its_words(tmp_path: Path, point: str, init: str) -> None:
    inside = point == "startContainer"
    bad = {"path": "/bin/sh", "args": ["sh", "-c", "echo it will not >&2; exit 3"]}
    last = [told(tmp_path, 'cat > "$0/stopped"')]
    directory, config = bundle_with(tmp_path / "bundle", {point: [{"path": "/bin/true"}, bad], "poststop": last})
    config["annotations"]["isoproof.init"] = init
    before = snapshot()
    with pytest.raises(StartError, match=rf"^hooks\.{point}\[1\]: run /bin/sh: exit status 3: it will not$") as caught:
        output_of(directory, read(config))
    assert caught.value.step == f"hooks.{point}[1]"
    assert snapshot() == before
    assert json.loads((tmp_path / "stopped").read_text())["status"] == "stopped"
    assert inside or not (directory / "rootfs/proc").exists()


@pytest.mark.parametrize("point", POINTS[:5])
def test_one_that_takes_too_long_is_killed_with_its_children(tmp_path: Path, point: str) -> None:
    where = "/dev/shm" if point == "startContainer" else str(tmp_path)
    slow = {"path": "/bin/sh", "args": ["sh", "-c", f"sleep 600 & echo $! > {where}/pid; wait"], "timeout": 1}
    directory, config = bundle_with(tmp_path / "bundle", {point: [slow]}, "sleep", "600")
    before = snapshot()
    begin = time.monotonic()
    with pytest.raises(StartError, match=rf"^hooks\.{point}\[0\]: run /bin/sh: not over after its timeout of 1 s$"):
        output_of(directory, read(config))
    assert time.monotonic() - begin >= 1
    assert snapshot() == before
    if where != "/dev/shm" and point != "createContainer":  # whose number is the container's own
        assert ends((tmp_path / "pid").read_text().strip())


@pytest.mark.parametrize(
    ("point", "hook", "words"),
    [
        ("createRuntime", {"path": "/not/there"}, r"hooks\.createRuntime\[0\]: run /not/there: ENOENT"),
        ("createContainer", {"path": "/not/there"}, r"hooks\.createContainer\[0\]: run /not/there: ENOENT"),
        ("startContainer", {"path": "/usr/bin/env"}, r"hooks\.startContainer\[0\]: run /usr/bin/env: ENOENT"),
        ("poststart", {"path": "/etc/passwd"}, r"hooks\.poststart\[0\]: run /etc/passwd: EACCES"),
        (
            "createContainer",
            {"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]},
            r"hooks\.createContainer\[0\]: run /bin/sh: killed by signal 9: it said nothing",
        ),
    ],
)
def test_one_that_cannot_be_run_is_named(tmp_path: Path, point: str, hook: dict[str, Any], words: str) -> None:
    directory, config = bundle_with(tmp_path / "bundle", {point: [hook]}, "sleep", "600")
    before = snapshot()
    with pytest.raises(StartError, match=f"^{words}"):
        output_of(directory, read(config))
    assert snapshot() == before


def test_a_failed_poststop_is_warned_about_and_the_next_one_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hooks = {"poststop": [told(tmp_path, "echo no; exit 1"), told(tmp_path, 'echo > "$0/second"')]}
    directory, config = bundle_with(tmp_path / "bundle", hooks)
    assert output_of(directory, read(config)) == (0, "program\n")
    assert (tmp_path / "second").exists()
    assert capsys.readouterr().err == "isoproof: hooks.poststop[0]: run /bin/sh: exit status 1: no\n"


def test_nobody_waits_for_what_a_hook_leaves_running(tmp_path: Path) -> None:
    """A daemon that it has started keeps its standard streams open."""
    hook = told(tmp_path, 'sleep 600 & echo $! > "$0/pid"')
    directory, config = bundle_with(tmp_path / "bundle", {"createRuntime": [hook]})
    try:
        assert output_of(directory, read(config)) == (0, "program\n")
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("point", ["createRuntime", "createContainer", "startContainer", "poststart"])
def test_a_launcher_that_is_killed_takes_its_hook_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(folders, "folders", lambda: [str(tmp_path / "records")])
    where = tmp_path / "bundle/rootfs" if point == "startContainer" else tmp_path
    path = "" if point == "startContainer" else str(tmp_path)
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo > {path}/running; exec sleep 600.25"]}
    directory, config = bundle_with(tmp_path / "bundle", {point: [hook]}, "sleep", "600.25")
    config["root"]["readonly"] = False
    launcher = os.fork()
    if launcher == 0:
        output_of(directory, read(config))
        os._exit(0)
    end = time.monotonic() + 20
    while not (where / "running").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert (where / "running").exists()
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    while sleepers() and time.monotonic() < end:
        time.sleep(0.01)
    assert not sleepers()
    said: list[str] = []
    while not any("removed /proc in" in line for line in said) and time.monotonic() < end:
        said = list(leftovers.remove())  # the container's first process may hold the record for a moment yet
    assert any("removed /proc in" in line for line in said), said


def ends(pid: str) -> bool:
    """Return whether a process has ended, or does so in time, reaped or not."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            if Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def sleepers() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [str(path)] if b"600.25" in path.read_bytes().split(b"\0") else []
        except OSError:
            continue
    return found
