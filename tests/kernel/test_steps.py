"""Each kind of step against the real kernel: what it makes is there, seen from inside."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import read
from harness.runtime.errors import StartError
from harness.runtime.inspect import kernel_version
from tests.kernel.bundles import bundle, output_of

pytestmark = pytest.mark.usefixtures("needs_namespaces")
ROOTLESS = os.geteuid() != 0


def seen(directory: Path, command: str, **changes: Any) -> list[str]:
    """Return the lines that a shell command prints inside; `changes` go into process and linux of the config."""
    directory, config = bundle(directory, "sh", "-c", command)
    config["process"] |= changes.get("process", {})
    config["linux"] |= changes.get("linux", {})
    config["mounts"] += changes.get("mounts", [])
    config["root"] |= changes.get("root", {})
    status, text = output_of(directory, read(config))
    assert status == 0, text
    return text.splitlines()


def mount_options(lines: list[str]) -> dict[str, set[str]]:
    """Return the options of each mount from `mount`'s output; of mounts upon each other the last."""
    return {line.split()[2]: set(line.rpartition("(")[2].rstrip(")").split(",")) for line in lines}


def test_mounts_have_their_options_and_stand_in_order(tmp_path: Path) -> None:
    mounts = [
        {"destination": "/a", "type": "tmpfs", "source": "first", "options": ["nosuid", "nodev", "size=64k"]},
        {"destination": "/a/b/c", "type": "tmpfs", "source": "second", "options": ["ro", "noexec", "noatime"]},
    ]
    lines = seen(tmp_path, "mount", mounts=mounts)
    points = [line.split()[2] for line in lines]
    assert points.index("/proc") < points.index("/a") < points.index("/a/b/c")
    options = mount_options(lines)
    assert {"rw", "nosuid", "nodev", "size=64k"} <= options["/a"]
    assert "noexec" not in options["/a"]
    assert {"ro", "noexec", "noatime"} <= options["/a/b/c"]
    assert "ro" in options["/"]
    assert {"ro", "nosuid", "noexec", "nodev"} <= options["/sys"]


def test_a_bind_mount_shows_the_hosts_file_or_directory_and_no_more(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("content\n")
    mounts = [
        {"destination": "/v", "source": str(volume), "options": ["bind", "ro"]},
        {"destination": "/etc/one", "source": str(volume / "file"), "options": ["rbind", "rw"]},
    ]
    command = "cat /v/file /etc/one; touch /v/new 2>&1; echo more >> /etc/one; ls /etc"
    lines = seen(tmp_path / "bundle", command, mounts=mounts)
    assert lines[:2] == ["content", "content"]
    assert "Read-only file system" in lines[2]
    assert lines[3:] == ["one"]
    assert (volume / "file").read_text() == "content\nmore\n"
    assert not (volume / "new").exists()
    assert sorted(os.listdir(tmp_path / "bundle/rootfs")) == ["bin"], "places for mounts were left in the root"


def test_a_writable_root_is_the_bundles(tmp_path: Path) -> None:
    seen(tmp_path, "touch /written", root={"readonly": False})
    assert (tmp_path / "rootfs/written").exists()
    assert sorted(os.listdir(tmp_path / "rootfs")) == ["bin", "written"]


def test_devices_are_the_default_ones_and_work(tmp_path: Path) -> None:
    command = "cd /dev; for name in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' $name; done; ls"
    directory, config = bundle(tmp_path, "/bin/busybox", "sh", "-c", command.replace("stat", "busybox stat"))
    status, text = output_of(directory, read(config))
    assert status == 0, text
    lines = text.splitlines()
    numbers = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
    assert lines[:6] == [f"{name} character special file {number} 666" for name, number in numbers.items()]
    links = {"fd", "stdin", "stdout", "stderr", "ptmx"}
    assert set(lines[6:]) == {*numbers, *links, "pts", "shm", "mqueue"}


def test_masked_files_read_empty_and_masked_directories_list_empty(tmp_path: Path) -> None:
    lines = seen(tmp_path, "cat /proc/timer_list /proc/keys; ls /proc/acpi /sys/firmware 2>/dev/null; echo end")
    assert lines == [*(["/proc/acpi:", "", "/sys/firmware:"] if os.path.isdir("/proc/acpi") else []), "end"]


def test_read_only_paths_cannot_be_written(tmp_path: Path) -> None:
    lines = seen(tmp_path, "(echo x > /proc/sys/kernel/domainname) 2>&1; exit 0")
    assert "Read-only file system" in lines[0]


def test_a_mask_without_dev_null_is_refused_and_not_left_out(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
    with pytest.raises(StartError, match=r"cover-null: openat\(AT_FDCWD, \"/dev\""):
        output_of(directory, read(config))


def test_names_rlimits_and_no_new_privileges_are_those_of_the_config(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "hostname; cat /proc/sys/kernel/domainname; ulimit -n; ulimit -Hc")
    config |= {"hostname": "name", "domainname": "domain.example"}
    config["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    status, text = output_of(directory, read(config))
    assert (status, text.split()) == (0, ["name", "domain.example", "100", "0"])
    lines = seen(tmp_path / "more", "cat /proc/self/status")
    assert "NoNewPrivs:\t1" in lines


def test_user_groups_umask_cwd_and_environment_are_those_of_the_config(tmp_path: Path) -> None:
    user = (
        {"uid": 0, "gid": 0, "umask": 0o27} if ROOTLESS else {"uid": 7, "gid": 8, "umask": 0o27, "additionalGids": [9]}
    )
    process = {"user": user, "cwd": "/dev", "env": ["PATH=/bin", "A=b c"], "capabilities": {}}
    lines = seen(tmp_path, "id -u; id -G; umask; pwd; echo $A; cat /proc/self/environ | tr '\\0' ' '", process=process)
    assert lines[0] == str(user["uid"])
    assert ROOTLESS or lines[1].split() == ["8", "9"]
    assert lines[2:5] == ["0027", "/dev", "b c"]
    assert set(lines[5].split(" ")) - {""} <= {"PATH=/bin", "A=b", "c", "PWD=/dev", "SHLVL=1"}


def test_a_relative_program_is_found_by_the_path_of_its_own_environment(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "hostname")
    config["process"]["env"] = ["PATH=/nowhere:/bin"]
    assert output_of(directory, read(config)) == (0, "cell\n")


def test_a_sysctl_of_an_own_namespace_is_set_inside_only(tmp_path: Path) -> None:
    key, value = "net.ipv4.ip_default_ttl", "77"
    path = "/proc/sys/" + key.replace(".", "/")
    before = Path(path).read_text()
    assert seen(tmp_path, f"cat {path}", linux={"sysctl": {key: value}}) == [value]
    assert Path(path).read_text() == before


@pytest.mark.skipif(kernel_version() < (6, 14), reason="kernel.pid_max belongs to the whole machine before Linux 6.14")
def test_pid_max_is_private(tmp_path: Path) -> None:
    assert seen(tmp_path, "cat /proc/sys/kernel/pid_max", linux={"sysctl": {"kernel.pid_max": "1234"}}) == ["1234"]


def test_loopback_is_up_and_alone(tmp_path: Path) -> None:
    lines = seen(tmp_path, "cat /sys/class/net/lo/flags; ls /sys/class/net")
    assert int(lines[0], 16) & 1
    assert lines[1:] == ["lo"]


def test_oom_score_is_set(tmp_path: Path) -> None:
    assert seen(tmp_path, "cat /proc/self/oom_score_adj", process={"oomScoreAdj": 321}) == ["321"]


def test_the_image_cannot_lend_a_device_node_of_its_own(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "/bin/busybox", "stat", "-c", "%F", "/dev/null")
    (directory / "rootfs/dev").mkdir()
    (directory / "rootfs/dev/null").write_text("not a device")
    assert output_of(directory, read(config)) == (0, "character special file\n")
    assert stat.S_ISREG((directory / "rootfs/dev/null").stat().st_mode)


def test_a_dev_that_is_a_symlink_does_not_lead_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    directory, config = bundle(tmp_path / "bundle")
    (directory / "rootfs/dev").symlink_to(outside)
    with pytest.raises(StartError, match="mount:/dev"):
        output_of(directory, read(config))
    assert list(outside.iterdir()) == []
