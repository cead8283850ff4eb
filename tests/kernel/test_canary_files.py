"""Files as bait: what happens to them is noticed, and mounts are where they are said to be."""

import os
import struct
from pathlib import Path

import pytest

from harness import canaries
from tests.kernel.test_canaries import NONCE, facts_of
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces")


def test_file_notices_a_change(tmp_path: Path) -> None:
    canary = canaries.place("file", {"name": "secret", "mode": 0o600}, tmp_path, NONCE)
    facts = facts_of(canary)
    status = os.stat(facts["path"])
    assert (status.st_dev, status.st_ino, status.st_mode & 0o777) == (facts["device"], facts["inode"], 0o600)
    assert facts["unchanged"]
    assert Path(facts["directory"], "secret").read_text() == facts["token"]
    Path(facts["path"]).write_text("changed")
    assert not facts_of(canary)["unchanged"]
    Path(facts["path"]).unlink()
    assert not facts_of(canary)["unchanged"]
    canary.close()


def test_directory_notices_a_guest(tmp_path: Path) -> None:
    canary = canaries.place("directory", {}, tmp_path, NONCE)
    facts = facts_of(canary)
    assert facts["before"] == facts["entries"] == ["resident"]
    assert facts["mounts"] == []
    Path(facts["path"], "x").mkdir()
    assert facts_of(canary)["entries"] == ["resident", "x"]
    assert facts_of(canary)["unchanged"]
    Path(facts["path"], "resident").write_text("changed")
    assert not facts_of(canary)["unchanged"]
    canary.close()


def test_volume_is_shared_and_mounts_below(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("volume", {}, tmp_path, NONCE)
        path = facts_of(canary)["path"]
        (line,) = [line for line in Path("/proc/self/mountinfo").open() if f" {path} " in line]
        assert "shared:" in line
        assert not facts_of(canary)["mounted"]
        assert canary.act({"ready": {}}) == {"mounted": "below"}
        assert facts_of(canary)["mounted"]
        assert facts_of(canary)["mounts"] == [path, f"{path}/below"]
        canary.close()

    in_throwaway(story)


def test_submounts_has_a_mount_of_its_own(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("submounts", {}, tmp_path, NONCE)
        path = Path(facts_of(canary)["path"])
        assert path.stat().st_dev != (path / "sub").stat().st_dev
        (path / "sub" / "x").touch()
        assert facts_of(canary)["entries"] == ["resident", "x"]
        canary.close()

    in_throwaway(story)


def test_lock_is_held_under_the_name_that_proc_locks_gives(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("lock", {}, tmp_path, NONCE)
        facts = facts_of(canary)
        fields = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        assert [f[1:5] for f in fields if f[5] == facts["key"]] == [["POSIX", "ADVISORY", "WRITE", str(facts["pid"])]]
        canary.close()

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
def test_tenant_is_another_containers_root(tmp_path: Path) -> None:
    canary = canaries.place("tenant", {"first": 300_000, "size": 10}, tmp_path, NONCE)
    facts = facts_of(canary)
    assert facts["alive"]
    for name in ("uid_map", "gid_map"):
        assert Path(f"/proc/{facts['pid']}/{name}").read_text().split() == ["0", "300000", "10"]
    assert os.stat(facts["path"]).st_uid == 300_000
    canary.close()


def test_shared_directory_tells_the_handle_of_its_secret(tmp_path: Path) -> None:
    canary = canaries.place("shared-directory", {}, tmp_path, NONCE)
    facts = facts_of(canary)
    assert len(bytes.fromhex(facts["handle"])) >= 8
    assert not facts["moved"]
    assert canary.act({}) == {}
    assert facts_of(canary)["moved"]
    assert sorted(os.listdir(tmp_path / Path(facts["secret"]).parent)) == ["moved", "secret", "shared"]
    canary.close()


def test_layers_tells_what_has_changed_in_the_lowest(tmp_path: Path) -> None:
    canary = canaries.place("layers", {}, tmp_path, NONCE)
    facts = facts_of(canary)
    assert facts["contents"] == facts["before"]
    Path(facts["kept"]).write_text("changed")
    assert facts_of(canary)["contents"] == facts["before"] | {"kept": "changed"}
    canary.close()


def test_layers_with_a_quota_have_room_for_no_more(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("layers", {"quota": True}, tmp_path, NONCE)
        facts = facts_of(canary)
        upper = Path(next(option for option in facts["options"] if "upperdir" in option).partition("=")[2])
        with pytest.raises(OSError, match="No space left"):
            (upper / "filling").write_bytes(bytes(facts["size"] + 1))
        assert (facts_of(canary)["upper"], facts_of(canary)["beside"]) == (["filling"], [])
        (Path(facts["lower"]).parent / "upper" / "stray").touch()
        assert facts_of(canary)["beside"] == ["stray"]
        canary.close()

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
def test_inbox_tells_owners_set_user_id_bits_and_whose_root_a_capability_is_for(tmp_path: Path) -> None:
    canary = canaries.place("inbox", {}, tmp_path, NONCE)
    inbox = Path(facts_of(canary)["path"])
    version_2 = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    version_3 = struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 1000)
    for name, value in (("hosts", version_2), ("containers", version_3)):
        (inbox / name).touch()
        os.setxattr(inbox / name, "security.capability", value)
    (inbox / "plain").touch()
    os.chown(inbox / "plain", 1000, 1000)
    (inbox / "plain").chmod(0o4755)
    facts = facts_of(canary)
    assert facts["uids"] == {"resident": 0, "hosts": 0, "containers": 0, "plain": 1000}
    assert facts["setuid"] == ["plain"]
    assert facts["capability_roots"] == {"resident": None, "hosts": 0, "containers": 1000, "plain": None}
    canary.close()
