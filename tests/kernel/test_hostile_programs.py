"""A program of the image's that would become the launcher's own executable, to write to it later: CVE-2019-5736.

The launcher of these tests is run by a copy of the interpreter, so that nothing is lost should it be written to.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.runtime import folders, leftovers
from harness.runtime.config import read
from harness.runtime.launch import run
from tests.kernel.bundles import bundle, output_of, snapshot
from tests.kernel.test_namespaces import mapped

pytestmark = pytest.mark.usefixtures("needs_namespaces")

REPOSITORY = Path(__file__).parents[2]
LAUNCH = """
import json, os, sys
from pathlib import Path
from harness.runtime.config import read
from harness.runtime.errors import StartError
from harness.runtime.launch import run
directory = Path(sys.argv[1])
try:
    sys.exit(run(read(json.loads((directory / "config.json").read_text())), directory, (0, 1, 2), 10.0))
except StartError as error:
    print(error, file=sys.stderr)
    sys.exit(error.status)
"""
ATTACK = """
import os, time
print("inside", flush=True)
reader = os.open("/proc/self/exe", os.O_RDONLY)
while True:
    try:
        os.write(os.open(f"/proc/self/fd/{reader}", os.O_WRONLY), b"taken over")
        print("written", flush=True)
        break
    except OSError:
        time.sleep(0.001)
"""


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """Return a copy of this interpreter."""
    copy = tmp_path / "host/python"
    copy.parent.mkdir()
    shutil.copy(os.path.realpath(sys.executable), copy)
    return copy


def with_the_hosts_libraries(directory: Path, *command: str) -> dict[str, Any]:
    """Make a bundle in which the host's interpreter could run, as a hostile image would have it."""
    _, config = bundle(directory, *command)
    shared = {"/usr", "/lib", "/lib64", os.path.realpath(sys.base_prefix)}
    for path in sorted(path for path in shared if os.path.isdir(path)):
        config["mounts"].append({"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]})
    config["process"]["env"] = [f"PYTHONHOME={os.path.realpath(sys.base_prefix)}", "PATH=/bin"]
    config["process"]["rlimits"] = []
    return config


def launched_by(interpreter: Path, directory: Path, config: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    (directory / "config.json").write_text(json.dumps(config))
    environment = {
        "PYTHONHOME": os.path.realpath(sys.base_prefix),
        "PYTHONPATH": str(REPOSITORY),
        "PATH": "/usr/bin:/bin",
    }
    return subprocess.run(
        [str(interpreter), "-c", LAUNCH, str(directory)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("init", ["true", "false"])
@pytest.mark.parametrize("program", ["/bin/program", "program", "/bin/around"])
def test_a_link_to_it_is_refused_before_it_runs(tmp_path: Path, interpreter: Path, program: str, init: str) -> None:
    before = interpreter.read_bytes()
    config = with_the_hosts_libraries(tmp_path / "bundle", program, "-I", "-c", ATTACK)
    config["annotations"] = {"isoproof.init": init}
    programs = tmp_path / "bundle/rootfs/bin"
    (programs / "program").symlink_to("/proc/self/exe")
    for decoy in ("exe", "root/bin/busybox"):  # there in the image, until procfs covers it
        (tmp_path / "bundle/rootfs/proc/self" / decoy).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle/rootfs/proc/self" / decoy).touch()
    (programs / "around").symlink_to("/proc/self/root/bin/busybox")
    done = launched_by(interpreter, tmp_path / "bundle", config)
    assert done.returncode == 126
    assert done.stdout == ""
    assert done.stderr.startswith("program: openat2(")
    assert "ELOOP" in done.stderr
    assert "the program is a link of /proc" in done.stderr
    assert interpreter.read_bytes() == before


def test_a_script_for_it_is_ended_as_soon_as_it_runs_and_has_not_written_to_it(
    tmp_path: Path, interpreter: Path
) -> None:
    before, host = interpreter.read_bytes(), snapshot()
    config = with_the_hosts_libraries(tmp_path / "bundle", "/bin/program")
    program = tmp_path / "bundle/rootfs/bin/program"
    program.write_text(f"#!/proc/self/exe\n{ATTACK}")
    program.chmod(0o755)
    done = launched_by(interpreter, tmp_path / "bundle", config)
    assert done.returncode == 126
    assert done.stderr == "execute: the program is the launcher's own executable, by a link to /proc/self/exe\n"
    assert "written" not in done.stdout
    assert interpreter.read_bytes() == before
    assert snapshot() == host


@pytest.mark.parametrize("user_namespace", [True, False])
def test_a_reaping_pid_1_shows_nothing_of_its_launcher(tmp_path: Path, user_namespace: bool) -> None:
    """It stays a copy of it: neither its executable nor its memory, arguments, environment or files are to be had.

    The catalogue's sig-setup-process-opaque, of a process that never becomes a program.
    """
    capabilities = ["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]
    if user_namespace or os.geteuid() != 0:
        capabilities += ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_CHECKPOINT_RESTORE"]
    look = (
        "ls -l /proc/1/exe /proc/1/cwd /proc/1/root; ls /proc/1/fd/ /proc/1/map_files/; "
        "for name in environ mem maps auxv; do head -c 1 /proc/1/$name; done; head -c 4096 /proc/1/cmdline; echo over"
    )
    directory, config = bundle(tmp_path / "bundle", "sh", "-c", f"{{ {look}; }} 2>&1")
    for name in ("head", "echo"):
        (directory / "rootfs/bin" / name).symlink_to("busybox")
    config["annotations"] = {"isoproof.init": "true"}
    config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    if user_namespace and os.geteuid() == 0:
        mapped(config, (0, 0, 1000))
    status, text = output_of(directory, read(config))
    assert status == 0, text
    assert "->" not in text  # the links are listed, but not where they lead
    for name in ("exe", "cwd", "root"):
        assert f"/proc/1/{name}: cannot read link: Permission denied" in text
    for name in ("environ", "mem", "maps", "auxv"):
        assert f"head: /proc/1/{name}: Permission denied\n" in text
    assert not re.search("^[0-9a-f]+-[0-9a-f]+$", text, re.MULTILINE)  # as /proc/1/map_files names what is mapped
    assert text.rpartition("\n")[0].rpartition("\n")[2].replace("\0", "") == "initover"


@pytest.mark.usefixtures("needs_root")
def test_a_set_user_id_program_outlives_a_killed_launcher_until_doctor_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel drops the order to die with a parent when execve(2) gives new rights: README, Limits."""
    monkeypatch.setattr(folders, "folders", lambda: [str(tmp_path / "records")])
    directory, config = bundle(tmp_path / "bundle", "/bin/sh", "-c", "echo there; read line")
    (directory / "rootfs/bin/busybox").chmod(0o4755)
    config["process"] |= {"noNewPrivileges": False, "user": {"uid": 1000, "gid": 1000}}
    config["linux"]["resources"] = {"pids": {"limit": 20}}
    stdin, go = os.pipe()
    output, stdout = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        os.close(output)
        os.close(go)
        run(read(config), directory, (stdin, stdout, stdout))
        os._exit(0)
    os.close(stdin)
    os.close(stdout)
    assert os.read(output, 8) == b"there\n"
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    assert not select.select([output], [], [], 0.2)[0]  # it lives
    said = list(leftovers.remove())
    assert any("killed 1 processes in" in line for line in said), said
    assert os.read(output, 8) == b""
    os.close(output)
    os.close(go)


def test_by_a_mount_of_its_own_a_container_may_run_the_same_file(tmp_path: Path, interpreter: Path) -> None:
    config = with_the_hosts_libraries(tmp_path / "bundle", "/python", "-I", "-c", "print('well')")
    mount = {"destination": "/python", "type": "bind", "source": str(interpreter), "options": ["bind", "ro"]}
    config["mounts"].append(mount)
    done = launched_by(interpreter, tmp_path / "bundle", config)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr
