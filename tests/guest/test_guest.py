"""Machines for those who have no Linux: what the Vagrantfile asks for, how a guest is made ready, what is said if not.

Programs that would change this machine are played by scripts that tell how they were called. Whether a guest really
comes up is shown by `make vagrant-test`, which takes too long to be run each time.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GUEST = ROOT / "harness/guest"

Missing = Callable[[str], NoReturn]
Play = Callable[..., None]
Run = Callable[..., subprocess.CompletedProcess[str]]
PROVIDERS = {"libvirt", "qemu", "virtualbox", "vmware_desktop", "parallels", "utm"}


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """`play(uname="echo Linux")` puts a script of that name in the place of all other programs."""
    stage = tmp_path / "bin"
    stage.mkdir()
    for name in ("bash", "sh", "cat", "chown", "dirname", "head", "od", "readlink", "rm", "sort", "stat", "tar"):
        (stage / name).symlink_to(shutil.which(name) or pytest.fail(f"there is no {name}"))
    monkeypatch.setenv("PATH", str(stage))

    def script(**scripts: str) -> None:
        for name, text in scripts.items():
            path = stage / name.replace("_", "-")
            path.unlink(missing_ok=True)  # or the real one would be written to, where this is a link to it
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)

    return script


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, cwd=ROOT)


# The Vagrantfile


@pytest.fixture
def vagrantfile(missing: Missing, monkeypatch: pytest.MonkeyPatch) -> Run:
    ruby = shutil.which("ruby") or missing("ruby is not installed")
    for name in ("BOX", "BOX_URL", "BOX_VERSION", "CPUS", "MEMORY", "VAGRANT_DEFAULT_PROVIDER"):
        monkeypatch.delenv(name, raising=False)

    def load(machine: str = "x86_64", version: str = "2.4.9") -> subprocess.CompletedProcess[str]:
        return run(ruby, ROOT / "tests/guest/vagrantfile.rb", machine, version)

    return load


def test_every_provider_has_a_box_and_its_size(vagrantfile: Run) -> None:
    said = vagrantfile().stdout.splitlines()
    for provider in PROVIDERS:
        settings = {line.split(": ", 1)[1] for line in said if line.startswith(f'vm.provider "{provider}": ')}
        processors = 'smp= "2"' if provider == "qemu" else "cpus= 2"
        assert {processors, "memory= 2048"} < settings
        assert any(setting.startswith("vm.box= ") for setting in settings)
    assert 'vm.synced_folder ".", "/vagrant", {:disabled=>true}' in said
    (copied,) = [line for line in said if line.startswith('vm.synced_folder ".", "/home/vagrant/isoproof"')]
    assert '["--archive", "--delete", "--compress"]' in copied  # if nothing is said, Vagrant adds --copy-links


def test_another_box_and_size_are_asked_for_in_the_environment(
    vagrantfile: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOX_URL", "file:///box")
    monkeypatch.setenv("CPUS", "3")
    said = vagrantfile("riscv64").stdout.splitlines()
    assert [line for line in said if "box=" in line] == ['vm.box= "isoproof"']
    assert 'vm.box_url= "file:///box"' in said
    assert 'vm.provider "utm": cpus= 3' in said
    monkeypatch.setenv("BOX", "mine")
    assert 'vm.box= "mine"' in vagrantfile().stdout.splitlines()


def test_an_older_vagrant_is_not_asked_for_an_architecture(
    vagrantfile: Run,
) -> None:
    assert "box_architecture" in vagrantfile(version="2.4.0").stdout
    older = vagrantfile(version="2.3.4")
    assert older.returncode == 0
    assert "box_architecture" not in older.stdout


@pytest.mark.parametrize(
    ("machine", "version", "environment", "sentence"),
    [
        ("x86_64", "2.4.9", {"MEMORY": "lots"}, "MEMORY=lots is no number of at least 1024; MEMORY=2048 will do"),
        ("x86_64", "2.4.9", {"MEMORY": "512"}, "MEMORY=512 is no number of at least 1024; MEMORY=2048 will do"),
        ("x86_64", "2.4.9", {"CPUS": "0"}, "CPUS=0 is no number of at least 1; CPUS=2 will do"),
        (
            "x86_64",
            "2.4.9",
            {"VAGRANT_DEFAULT_PROVIDER": "hyperv"},
            "no box is known for hyperv; take one of libvirt, ",
        ),
        ("riscv64", "2.4.9", {}, "no box is known for riscv64, only for amd64 and arm64; name one: BOX_URL="),
        ("arm64", "2.3.4", {}, "Vagrant 2.3.4 knows boxes for amd64 only; install 2.4 or later, or name one for arm64"),
    ],
)
def test_the_vagrantfile_says_in_a_line_what_will_not_do(
    vagrantfile: Run,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    version: str,
    environment: dict[str, str],
    sentence: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = vagrantfile(machine, version)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Vagrantfile: {sentence}")
    assert done.stderr.count("\n") == 1


# provision.sh

LINUX = {"uname": "case $1 in -s) echo Linux;; -m) echo x86_64;; -r) echo 6.1.0-50-amd64;; esac", "id": "echo 0"}
READY = LINUX | {
    "apt_get": "echo apt-get $* >&2",
    "dpkg_query": "echo install ok installed",
    "findmnt": "echo ext4",
    "su": "echo su $*",
    "readlink": "exit 1",
    "ln": "echo ln $*",
}


@pytest.mark.parametrize(
    ("scripts", "sentence"),
    [
        (
            {"uname": "echo Darwin"},
            "this is Darwin, and containers are made of Linux; docs/machines.md says how to get one here",
        ),
        (
            {"uname": "[ $1 = -s ] && echo Linux || echo ppc64le"},
            "this is a machine of ppc64le; isoproof is for x86_64",
        ),
        (
            {"uname": LINUX["uname"].replace("6.1.0-50-amd64", "4.4.0-19041-Microsoft")},
            "Linux 4.4.0-19041-Microsoft is too old, 5.12 is the oldest that will do; if this is WSL 1: wsl",
        ),
        ({"id": "echo 1000"}, "only root can install packages: sudo "),
        (
            {"dpkg_query": "exit 1", "apt_get": "echo E: Unable to locate package >&2; exit 100"},
            "cannot install binutils ",
        ),
        (
            {"findmnt": "echo 9p"},
            f"{ROOT} is shared with another machine (9p); copy it to a disk of this one, and start",
        ),
        ({"su": "echo pip: no; exit 2"}, "cannot make the environment: no network, or no package index; pip says what"),
    ],
)
def test_provisioning_says_in_a_line_what_will_not_do(play: Play, scripts: dict[str, str], sentence: str) -> None:
    play(**READY | scripts)
    done = run(GUEST / "provision.sh")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("E: ")]
    assert line.startswith(f"provision.sh: {sentence}")


def test_provisioning_without_a_package_manager_names_what_to_install(play: Play) -> None:
    play(**LINUX)
    done = run(GUEST / "provision.sh")
    assert done.returncode == 2
    assert done.stderr == (
        "provision.sh: neither apt-get nor dnf is here; install make, runc, busybox and Python 3.11 with venv\n"
    )


def test_provisioning_asks_nothing_of_the_network_where_all_is_there(play: Play) -> None:
    play(**READY)
    done = run(GUEST / "provision.sh")
    assert (done.returncode, done.stderr) == (0, "")
    environment, command = done.stdout.splitlines()
    assert environment.endswith(" --command make environment")
    assert command == f"ln --symbolic --force {GUEST}/isoproof-verify /usr/local/bin/"
    play(readlink=f"echo {GUEST}/isoproof-verify")
    assert run(GUEST / "provision.sh").stdout.splitlines() == [environment]
    done = run(GUEST / "provision.sh", "--packages-only")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_provisioning_installs_what_is_absent_and_what_is_named(play: Play) -> None:
    play(**READY | {"dpkg_query": "case $* in *runc | *crun) exit 1;; *) echo install ok installed;; esac"})
    done = run(GUEST / "provision.sh", "--packages-only", "crun")
    update, install = done.stderr.splitlines()
    assert update == "apt-get update -qq"
    assert install.endswith(" runc crun")


def test_provisioning_knows_fedora(play: Play) -> None:
    play(**LINUX, rpm="exit 1", dnf="echo dnf $*")
    assert run(GUEST / "provision.sh", "--packages-only", "crun").stdout.endswith(" strace crun\n")
    play(rpm="exit 0")
    assert run(GUEST / "provision.sh", "--packages-only", "crun").stdout == ""
    play(rpm="exit 1", dnf="exit 1")
    done = run(GUEST / "provision.sh", "--packages-only")
    assert done.stderr.startswith("provision.sh: cannot install packages: no network, ")


# isoproof-verify


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing in it but the command, and a Python that tells what it is asked to do."""
    folder = tmp_path / "isoproof"
    shutil.copytree(GUEST, folder / "harness/guest")
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\npwd\nprintf '[%s]' \"$@\"\nexit 3\n")
    python.chmod(0o755)
    return folder


def test_the_command_of_the_guest_hands_its_arguments_to_pytest(play: Play, checkout: Path, tmp_path: Path) -> None:
    play(id="echo 0", chown='echo; echo "chown $*"')
    link = tmp_path / "bin/isoproof-verify"
    link.symlink_to(checkout / "harness/guest/isoproof-verify")
    done = run(link, "-m", "escape and not slow")
    assert done.stdout.splitlines() == [
        str(checkout),
        "[-m][pytest][scenarios/][-m][escape and not slow]",
        "chown --recursive --reference . .",
    ]
    assert done.returncode == 3


def test_the_command_of_the_guest_becomes_root(play: Play, checkout: Path) -> None:
    play(id="echo 1000", sudo="printf '[%s]' \"$@\"")
    command = checkout / "harness/guest/isoproof-verify"
    assert run(command, "-k", "a b").stdout == f"[{command}][-k][a b]"


# make vagrant-verify

GUEST_ANSWERS = """
case $* in
    *isoproof-verify*) echo "$*"; exit 1 ;;
    *'tar -C isoproof'*) tar -C guest -c reports/vagrant ;;
    *) echo "vagrant $*" ;;
esac
"""


@pytest.fixture
def make(missing: Missing, play: Play, tmp_path: Path) -> Run:
    """make, in a folder that holds the Makefile alone, with reports of an earlier run."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "reports/vagrant").mkdir(parents=True)
    (tmp_path / "reports/vagrant/isolation.json").write_text("old")
    program = shutil.which("make", path=os.defpath) or missing("make is not installed")

    def vagrant_verify(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program, "--silent", "-C", str(tmp_path), "vagrant-verify", *arguments]
        return run(*command)

    return vagrant_verify


def test_reports_come_back_although_a_check_has_failed(make: Run, play: Play, tmp_path: Path) -> None:
    reports = tmp_path / "guest/reports/vagrant"
    reports.mkdir(parents=True)
    (reports / "isolation.json").write_text("new")
    play(vagrant=GUEST_ANSWERS)
    done = make("ARGS=-m 'escape and not slow'")
    assert "isoproof-verify --reports reports/vagrant -m 'escape and not slow'" in done.stdout
    assert (tmp_path / "reports/vagrant/isolation.json").read_text() == "new"
    assert done.returncode == 2  # make's own, for a check that failed
    assert "Error 1" in done.stderr


def test_a_guest_that_tells_nothing_is_told_from_one_whose_checks_fail(make: Run, play: Play, tmp_path: Path) -> None:
    play(vagrant=GUEST_ANSWERS)
    done = make()
    assert "make: the guest made no report; what stands above says why\n" in done.stderr
    assert not (tmp_path / "reports/vagrant/isolation.json").exists()


def test_what_to_do_without_a_guest_is_said_in_a_line(make: Run, play: Play) -> None:
    lines = make().stderr.splitlines()
    assert lines[0].startswith("make: vagrant is not installed; ")
    play(vagrant="echo 'The box could not be found' >&2; exit 1")
    lines = make().stderr.splitlines()
    assert lines[0] == "The box could not be found"
    assert lines[1].startswith("make: no machine came up; ")
    assert lines[2].endswith("Error 2")


# make vagrant-test


@pytest.mark.parametrize(
    ("scripts", "sentence"),
    [
        ({"uname": "echo aarch64"}, "this is aarch64; the box is made and emulated on x86_64 only"),
        (
            {"uname": "echo x86_64", "id": "echo 1000"},
            "only root can make a box and start libvirt: sudo make vagrant-test",
        ),
        ({"uname": "echo x86_64", "id": "echo 0"}, "there is no debootstrap; on Debian: harness/guest/provision.sh "),
    ],
)
def test_the_test_of_the_machine_says_in_a_line_what_it_lacks(
    play: Play, scripts: dict[str, str], sentence: str
) -> None:
    play(**scripts)
    done = run(ROOT / "tests/guest/run.sh")
    assert done.returncode == 2
    assert done.stderr.startswith(f"vagrant-test: {sentence}")
    assert done.stderr.count("\n") == 1


# Lima


def test_the_template_for_lima_is_as_lima_would_have_it() -> None:
    template = yaml.safe_load((GUEST / "lima.yaml").read_text())
    assert template["mounts"] == [{"location": "{{.Param.checkout}}", "mountPoint": "/mnt/isoproof"}]  # read-only
    assert set(template["param"]) == {"checkout"}
    scripts = [entry["script"] for entry in template["provision"] + template["probes"]]
    for script in scripts:
        assert script.startswith("#!/bin/sh\n")
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert "harness/guest/provision.sh" in scripts[0]
    limactl = shutil.which("limactl")
    if limactl:
        assert run(limactl, "template", "validate", GUEST / "lima.yaml").returncode == 0
