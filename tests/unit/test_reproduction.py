"""A difference as files: a bundle that any runtime takes, and a scenario that is red on the one that is wrong."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness import agreement, reproduction, rootfs, scenario, verdict
from harness.errors import BadInput
from harness.expression import evaluate
from harness.language import Container
from harness.outcomes import END, UNSAID, Difference, Group
from harness.reproduction import Shown
from harness.runtime.config import Config, read
from harness.shapes import KIT, config, merged

KINDS = ("mnt", "net", "pid", "uts", "ipc", "cgroup", "user", "time")
LIMIT = {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}
NAME = "hostname-two"
CONFIG = config([Container()], 0, 0)
CONFIG["hostname"] = "yes"
CONFIG["linux"]["resources"] = {"pids": {"limit": 64}}
CONFIG["linux"]["sysctl"] = {"net.core.somaxconn": "0o17"}
del CONFIG["process"]["noNewPrivileges"]


def answer(**identity: Any) -> dict[str, Any]:
    facts = {"hostname": "yes", "domainname": "outer", "uid": 0, "euid": 0, "suid": 0, "groups": [4, 27]} | identity
    inside = {"init": {"facts": {"pid": 1}}, "identity": {"facts": facts}}
    start = {"ran": True, "refused": False, "message": "", "status": 0}
    return {"inside": inside, "host": {}, "container": {}, "error": None, "start": start}


def shown(path: str = "hostname", runtime: str = "two", asked: Any = "yes", **answers: dict[str, Any]) -> Shown:
    answers = answers or {"one": answer(), "two": answer(hostname="no", domainname="other")}
    field = path.partition(".(")[0]
    values = {name: agreement.seen(one, CONFIG).get(field) for name, one in answers.items()}
    return Shown(Group(path, runtime), Difference(values, asked), CONFIG, (answers, answers))


def test_the_expectations_are_about_the_facts_that_make_the_difference_alone() -> None:
    assert reproduction.expectations(shown()) == ["inside.identity.hostname == 'yes'"]
    several = shown("process.user.uid", asked=0, one=answer(), two=answer(uid=1, suid=1, hostname="no"))
    assert reproduction.expectations(several) == ["inside.identity.uid == 0", "inside.identity.suid == 0"]
    path = "process.user.additionalGids[]"
    groups = shown(f"{path}.(others)", asked=[4, 27], one=answer(), two=answer(groups=[4, 28]))
    assert reproduction.expectations(groups) == ["inside.identity.groups[1] == 27"]
    less = shown(f"{path}.(less)", asked=[4, 27], one=answer(), two=answer(groups=[4]))
    assert reproduction.expectations(less) == ["inside.identity.groups == [4, 27]"]
    order = shown(f"{path}.(order)", asked=[4, 27], one=answer(), two=answer(groups=[27, 4]))
    assert reproduction.expectations(order) == ["inside.identity.groups[0] == 4", "inside.identity.groups[1] == 27"]


def test_a_fact_that_is_too_long_for_an_expression_is_not_expected() -> None:
    long = shown("hostname", asked="a" * 5000, one=answer(hostname="a" * 5000), two=answer())
    assert reproduction.expectations(long) == []


def test_the_runtime_that_shows_what_was_asked_for_is_right() -> None:
    deviating = shown(one=answer(hostname="no"), two=answer(), three=answer())
    assert (deviating.right, deviating.wrong) == ("three", "two")
    first = shown(one=answer(hostname="no"), two=answer())
    assert (first.right, first.wrong) == ("two", "one")
    assert reproduction.expectations(first) == ["inside.identity.hostname == 'yes'"]
    unsaid = shown("domainname", asked=UNSAID)
    assert (unsaid.right, unsaid.wrong) == ("one", "two")
    assert reproduction.expectations(unsaid) == ["inside.identity.domainname == 'outer'"]
    nobody = shown(one=answer(hostname="no"), two=answer(hostname="nor"))
    assert nobody.right != nobody.wrong


def test_where_no_fact_makes_the_difference_the_start_is_expected() -> None:
    refused = {"start": {"ran": False}, "inside": {"init": {"error": "nothing"}}, "host": {}}
    assert reproduction.expectations(shown("start refused: no", asked=UNSAID, one=answer(), two=refused)) == []
    text = reproduction.scenario(NAME, shown("start refused: no", asked=UNSAID, one=answer(), two=refused))
    assert "- start.ran\n" in text
    assert "claim: The container starts on two as it does on one\n" in text
    assert reproduction.expectations(shown(END, asked="status 0")) == ["start.status == 0"]


def test_the_scenario_asks_for_the_same_config_and_is_red_on_the_runtime_that_is_wrong(tmp_path: Path) -> None:
    found = shown()
    path = tmp_path / "scenarios" / f"{NAME}.yaml"
    path.parent.mkdir()
    path.write_text(reproduction.scenario(NAME, found))
    (check,) = scenario.load(path).checks
    assert config([check.container], os.geteuid(), os.getegid()) == CONFIG
    assert check.claim == "hostname is the same on two as on one"
    assert check.inside == {"identity": agreement.observations(CONFIG)["identity"] | {"meanwhile": None}}
    outcomes = {name: verdict.judge(check, one, {}).outcome for name, one in found.answers[0].items()}
    assert outcomes == {"one": "pass", "two": "fail"}


def test_what_is_never_the_same_is_compared_with_the_host() -> None:
    """The number of a namespace: whether it is the host's is what counts."""
    host = dict.fromkeys(KINDS, 9)

    def of(uts: int) -> dict[str, Any]:
        seen = answer()
        seen["inside"]["init"]["facts"]["namespaces"] = dict.fromkeys(KINDS, 5) | {"uts": uts}
        return seen | {"host": {"namespaces": {"facts": host}}}

    path = "linux.namespaces.uts"
    values: dict[str, Any] = {"one": "the launcher's", "two": "its own"}
    answers = {"one": of(9), "two": of(6)}
    shared = Shown(Group(path, "two"), Difference(values, values["one"]), CONFIG, (answers, answers))
    assert reproduction.expectations(shared) == ["inside.init.namespaces.uts == 9"]
    later = {name: copy.deepcopy(one) for name, one in answers.items()}
    later["one"]["inside"]["init"]["facts"]["namespaces"]["uts"] = 19
    later["one"]["host"]["namespaces"]["facts"]["uts"] = 19
    again = shared._replace(answers=(answers, later))
    assert reproduction.expectations(again) == ["inside.init.namespaces.uts == host.namespaces.uts"]
    again.answers[0]["two"]["host"] = {"namespaces": {"facts": host | {"uts": 6}}}
    assert reproduction.expectations(again) == []
    again.answers[0]["two"]["host"] = {"namespaces": {"facts": host}}
    own = again._replace(difference=Difference(values, values["two"]))
    assert (own.right, own.wrong) == ("two", "one")
    later["two"]["inside"]["init"]["facts"]["namespaces"]["uts"] = 16
    assert reproduction.expectations(own) == ["inside.init.namespaces.uts != host.namespaces.uts"]


def test_what_the_host_sees_of_the_container_may_be_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of its cgroup, for one."""

    def of(limit: str) -> dict[str, Any]:
        return answer() | {"host": {"cgroups": {"facts": {"files": {"pids.max": limit}}}}}

    def seen(one: dict[str, Any], _config: Config) -> dict[str, Any]:
        return {"linux.resources.pids.limit": one["host"]["cgroups"]["facts"]["files"]["pids.max"]}

    monkeypatch.setattr(agreement, "seen", seen)
    limits = shown("linux.resources.pids.limit", asked="64", one=of("64"), two=of("max"))
    assert reproduction.expectations(limits) == ["host.cgroups.files['pids.max'] == '64'"]


def test_a_fact_that_only_one_side_has_is_expected_to_be_there_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """And others of its kind, which only the other has, do not hide a value that differs."""

    def of(**files: int) -> dict[str, Any]:
        seen = answer()
        seen["inside"]["devices"] = {"facts": {"entries": {f"/dev/{name}": mode for name, mode in files.items()}}}
        return seen

    def seen(names: str) -> None:
        def entries(one: dict[str, Any], _config: Config) -> dict[str, Any]:
            found = one["inside"]["devices"]["facts"]["entries"]
            return {"linux.devices": [found.get(f"/dev/{name}") for name in names]}

        monkeypatch.setattr(agreement, "seen", entries)

    seen("a")
    other = shown("linux.devices.(others)", asked=[1], one=of(a=1, b=1), two=of(a=2, c=1))
    assert reproduction.expectations(other) == ["inside.devices.entries['/dev/a'] == 1"]
    missing = shown("linux.devices.(others)", asked=[1], one=of(a=1), two=of(b=1))
    assert reproduction.expectations(missing) == ["inside.devices.entries['/dev/a'] == 1"]
    more = shown("linux.devices.(others)", asked=[None], one=of(b=1), two=of(a=1))
    assert reproduction.expectations(more) == ["'/dev/a' not in inside.devices.entries"]


def test_an_observation_of_another_name_has_one_that_an_expression_can_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a mount are named for its place."""
    entry = {"probe": "location", "args": {"path": "/Root"}, "deadline": 5.0}
    monkeypatch.setattr(agreement, "observations", lambda _config: {"at /Root": entry})
    monkeypatch.setattr(agreement, "host_observations", lambda _config: {})
    monkeypatch.setattr(agreement, "seen", lambda one, _config: {"mounts": one["inside"]["at /Root"]["facts"]["uid"]})

    def of(uid: int) -> dict[str, Any]:
        return answer() | {"inside": {"init": {"facts": {}}, "at /Root": {"facts": {"uid": uid}}}}

    found = shown("mounts", asked=0, one=of(0), two=of(1))
    assert reproduction.expectations(found) == ["inside.at__root.uid == 0"]
    path = tmp_path / "a.yaml"
    path.write_text(reproduction.scenario("a", found))
    assert scenario.load(path).checks[0].inside == {"at__root": entry | {"meanwhile": None}}


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({}, ["the default one"]),
        ({"hostname": "a", "root": {"readonly": None}}, ["root.readonly: left out", 'hostname: "a"']),
        (
            {"process": {"rlimits": []}},
            ['process.rlimits without {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}'],
        ),
        ({"process": {"rlimits": [LIMIT, {"type": "RLIMIT_AS"}]}}, ['process.rlimits and {"type": "RLIMIT_AS"}']),
        ({"linux": {"sysctl": {"a": "1"}}}, ['linux.sysctl: {"a": "1"}']),
    ],
)
def test_a_config_is_told_by_what_it_has_beyond_the_usual(change: dict[str, Any], lines: list[str]) -> None:
    usual = config([Container()], os.geteuid(), os.getegid())
    assert list(reproduction.described(merged(usual, change))) == lines


def test_the_scenario_observes_the_host_where_it_is_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["inside.init.namespaces.uts == host.namespaces.uts", "host.cgroup.path == '/'"]
    monkeypatch.setattr(reproduction, "expectations", lambda _shown: texts)
    path = tmp_path / "a.yaml"
    path.write_text(reproduction.scenario("a", shown()))
    (check,) = scenario.load(path).checks
    assert (sorted(check.inside), sorted(check.host)) == (["stay"], ["cgroup", "namespaces"])


def test_a_place_is_spelled_as_an_expression_reads_it() -> None:
    facts = {"a b": [{"class": {"it's": 1}}], "x": {"y": 2}}
    for place, value in ((("a b", 0, "class", "it's"), 1), (("x", "y"), 2)):
        assert evaluate(f"facts{reproduction._spelled(place)}", {"facts": facts}) == value


def test_the_bundle_is_a_config_that_brings_its_root_and_waits_for_nobody(tmp_path: Path) -> None:
    before = copy.deepcopy(CONFIG)
    made = reproduction.bundle(CONFIG)
    assert CONFIG == before
    assert read(made, strict=True) == made
    assert made["root"]["path"] == "../rootfs"
    assert all(mount["destination"] != KIT for mount in made["mounts"])
    request = json.loads(made["process"]["args"][-1])
    names = [entry["name"] for entry in request["observe"]]
    assert "identity" in names
    assert "stay" in agreement.observations(CONFIG)
    assert "stay" not in names


def test_bundles_share_a_root_with_the_kit_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = tmp_path / "kit"
    (kit / "probes").mkdir(parents=True)
    (kit / "probes" / "__main__.pyc").write_text("new")
    (kit / "loader").symlink_to("probes")
    monkeypatch.setattr(reproduction, "build_kit", lambda: kit)
    for name in ("one", "other"):
        files = reproduction.write(tmp_path / "found", name, shown())
        assert json.loads((files.bundle / "config.json").read_text()) == reproduction.bundle(CONFIG)
        assert files.scenario == tmp_path / "found" / "scenarios" / f"{name}.yaml"
        assert files.scenario.read_text() == reproduction.scenario(name, shown())
    root = tmp_path / "found" / "rootfs"
    assert (root / "isoproof/probes/__main__.pyc").read_text() == "new"
    assert {entry.name for entry in root.iterdir()} == set(rootfs.DIRECTORIES)
    assert sorted(entry.name for entry in (tmp_path / "found").iterdir()) == ["one", "other", "rootfs", "scenarios"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"^write .*/file/a: Not a directory; --reports DIR names another folder$"):
        reproduction.write(tmp_path / "file", "a", shown())
