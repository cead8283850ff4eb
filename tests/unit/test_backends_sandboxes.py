"""How a config is said in the words of bubblewrap, systemd-nspawn and firejail, and what cannot be said in them."""

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from harness import shapes
from harness.backends import Options, _sandboxes, bubblewrap, firejail, load, nspawn
from harness.language import Container

IDS = [{"containerID": 0, "hostID": 1 << 20, "size": 1 << 16}]
USERNS = {
    "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")],
    "uidMappings": IDS,
    "gidMappings": IDS,
}


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The root of a container; whoever asks is root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getegid", lambda: 0)
    (tmp_path / "etc").mkdir()
    return tmp_path


def config(root: Path, **changes: Any) -> dict[str, Any]:
    """The default config with a root, and a merge patch; mounts are added to it."""
    mounts = changes.pop("mounts", [])
    result: dict[str, Any] = shapes.config([Container()], 0, 0)
    result["root"]["path"] = str(root)
    result["mounts"] += mounts
    return shapes.merged(result, changes)  # type: ignore[no-any-return]


def bind(source: str, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": source, "options": ["bind", *options]}


@pytest.mark.parametrize("name", ["bubblewrap", "nspawn", "firejail"])
def test_the_default_container_can_be_asked_for(name: str, root: Path) -> None:
    assert load(name).unsupported(config(root)) == []
    assert load(f"{name}:as-shipped").unsupported(config(root)) == []


@pytest.mark.parametrize(
    ("name", "changes", "lacking"),
    [
        ("bubblewrap", {"domainname": "example.org"}, ["domainname"]),
        ("bubblewrap", {"process": {"rlimits": []}}, []),
        ("bubblewrap", {"process": {"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}]}}, ["process.rlimits"]),
        (
            "bubblewrap",
            {"process": {"user": {"uid": 1000}}},
            ["another user without a user namespace (--uid needs one)"],
        ),
        ("bubblewrap", {"linux": USERNS, "process": {"user": {"uid": 1000}}}, []),
        (
            "bubblewrap",
            {"linux": USERNS},
            ["root of a user namespace that is not its caller (--userns does not become uid 0)"],
        ),
        ("bubblewrap", {"mounts": [bind("/srv", "/srv", "noexec")]}, ["options of the mount at /srv"]),
        ("nspawn", {"process": {"user": {"uid": 1000, "additionalGids": [5]}}}, []),
        ("nspawn", {"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}}, ["linux.sysctl"]),
        (
            "nspawn",
            {"linux": {"readonlyPaths": ["/etc"]}},
            ["linux.readonlyPaths other than those of /proc that it makes read-only itself"],
        ),
        (
            "nspawn",
            {"mounts": [bind("/srv", "/proc/uptime")]},
            ["a bind mount at /proc/uptime (it looks for the source when it has left the host)"],
        ),
        ("firejail", {"mounts": [bind("/srv", "/srv")]}, ["mounts.bind"]),
        ("firejail", {"process": {"user": {"uid": 1000}}}, ["another user than its caller"]),
        (
            "firejail",
            {"linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]}},
            ["the host's ipc namespace", "the host's pid namespace"],
        ),
    ],
)
def test_what_cannot_be_said_is_told(name: str, changes: dict[str, Any], lacking: list[str], root: Path) -> None:
    assert load(name).unsupported(config(root, **changes)) == lacking


def test_bubblewrap_serves_an_ordinary_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is root in a namespace where he is alone, by options of its own."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    asked = shapes.config([Container()], 1000, 1000)
    asked["root"]["path"] = str(root)
    assert load("bubblewrap").unsupported(asked) == []
    with contextlib.ExitStack() as undo:
        given = bubblewrap.Bubblewrap(Options("bubblewrap")).words(asked, undo)
    place = given.index("--unshare-user")
    assert given[place + 1 : place + 5] == ["--uid", "0", "--gid", "0"]


def test_what_every_container_is_asked_for_is_no_reason_to_skip(root: Path) -> None:
    assert _sandboxes.lacking(config(root, domainname="example.org"), []) != []
    assert "process.rlimits" not in _sandboxes.lacking(config(root), [])
    limits = [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 5}]
    assert "process.rlimits" in _sandboxes.lacking(config(root, process={"rlimits": limits}), [])


def test_bubblewrap_mounts_in_order(root: Path) -> None:
    """Covers lie on what has been mounted, and the root becomes read-only when all mount points are made."""
    (root / "secrets").mkdir()
    asked = config(root, mounts=[bind("/srv", "/srv", "ro")], linux={"maskedPaths": ["/secrets", "/nowhere"]})
    given = bubblewrap.files(asked, asked, shipped=False)
    assert given[:3] == ["--bind", str(root), "/"]
    places = [given.index(word) for word in ("--proc", "--ro-bind-try", "/srv", "/secrets")]
    assert places == sorted(places)
    assert given[-2:] == ["--remount-ro", "/"]
    assert "/nowhere" not in given


def test_bubblewrap_as_shipped_has_its_least_form(root: Path) -> None:
    asked = config(root)
    given = bubblewrap.files(asked, {"root": asked["root"], "mounts": [bind("/kit", "/isoproof", "ro")]}, shipped=True)
    least = ["--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    assert given == [*least, "--ro-bind", "/kit", "/isoproof", "--remount-ro", "/"]


def test_nspawn_passes_over_no_argument(root: Path) -> None:
    """What it passes over in a bundle is not in there, for it has options for that."""
    asked = config(root, process={"user": {"uid": 5, "gid": 6}})
    made = nspawn.bundle_of(asked, asked)
    assert made["ociVersion"] == "1.0.0"
    assert made["process"]["user"] == {"uid": 5, "gid": 6}
    assert not {"args", "noNewPrivileges"} & made["process"].keys()
    assert made["root"] == {"path": str(root)}


def test_nspawn_paths_have_their_colons_escaped(root: Path) -> None:
    asked = config(root, mounts=[bind("/a:b", "/c", "ro")], linux={"maskedPaths": []})
    assert list(nspawn.files(asked, asked))[-1] == r"--bind-ro=/a\:b:/c:norbind"


def test_links_lead_nowhere_outside(root: Path) -> None:
    (root / "absolute").symlink_to("/etc")
    (root / "climbing").symlink_to("../../../../etc")
    (root / "loop").symlink_to("loop")
    assert nspawn.within_root(root, "/absolute/file") == root / "etc/file"
    assert nspawn.within_root(root, "/climbing/file") == root / "etc/file"
    assert nspawn.within_root(root, "/loop/file") == root / "loop/file"


def test_firejail_is_asked_for_what_it_keeps(root: Path) -> None:
    asked = config(root, process={"oomScoreAdj": 5})
    given = list(firejail.options_for(asked, asked, shipped=False))
    assert "--caps.keep=audit_write,kill,net_bind_service" in given
    assert {"--noprofile", "--net=none", "--nonewprivs", "--oom=5", "--rlimit-nofile=1024"} < set(given)
    none = config(root, process={"capabilities": {"permitted": []}})
    assert "--caps.drop=all" in firejail.options_for(none, none, shipped=False)


def test_files_are_made_and_removed_again(root: Path) -> None:
    with _sandboxes.made({root / "a/b": True, root / "c/file": False, root / "etc": True}):
        assert (root / "a/b").is_dir()
        assert (root / "c/file").is_file()
        (root / "a/left").touch()
    assert sorted(path.name for path in root.rglob("*")) == ["a", "etc", "left"]


def test_a_complaint_is_told_from_what_the_program_says(capfd: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    command = ["sh", "-c", "echo bwrap: no such thing >&2; echo of the program >&2; exit 3"]
    assert _sandboxes.run(command, (0, 1, writing), 10.0, "bwrap: ") == (3, "no such thing")
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read() == "bwrap: no such thing\nof the program\n"
