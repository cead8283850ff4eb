"""What came of a config, and in what two outcomes differ: fields by their parts, starts by their causes."""

from typing import Any

import pytest

from harness import outcomes
from harness.agreement import UNSEEN
from harness.outcomes import END, ENDED, NOTHING, UNSAID, Difference, Group, Outcome
from harness.shapes import default

CONFIG = default(0, 0)
LOG = '{"msg": "oh", "level": "error"}\nno\n["msg"]\n{"a": 1}\n1'


def answer(**parts: Any) -> dict[str, Any]:
    """The host role's answer for a container that ran, and of which the name was seen."""
    ran = {"ran": True, "refused": False, "message": "", "status": 0}
    inside = {"init": {"facts": {"pid": 1}}, "identity": {"facts": {"hostname": "a"}}}
    return {"inside": inside, "host": {}, "container": {"survivors": 0}, "error": None, "start": ran} | parts


def did_not_run(refused: bool, message: str) -> dict[str, Any]:
    start = {"ran": False, "refused": refused, "message": message, "status": 125}
    return answer(start=start, inside={"init": {"error": "the probe reported nothing"}})


def test_of_a_container_that_ran_it_is_told_what_was_seen_and_how_it_ended() -> None:
    came = outcomes.outcome(answer(), CONFIG)
    assert (came.how, came.words, came.seen["hostname"], came.seen[END]) == ("ran", "", "a", ENDED)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"error": "panic: \x1b oh no"}, r"panic: \x1b oh no"),
        ({"container": {"survivors": 2}}, "processes left behind: 2"),
        ({"start": {"ran": True, "status": 3}}, "status 3"),
        ({"inside": {"init": {"facts": {}}, "mounts": {"error": "hung"}}}, "mounts: hung"),
        (
            {"error": "a", "inside": {"init": {"facts": {}}, "mounts": {"error": "b"}}, "container": {"survivors": 1}},
            "a; mounts: b; processes left behind: 1",
        ),
    ],
)
def test_what_is_amiss_at_the_end_is_told(parts: dict[str, Any], told: str) -> None:
    assert outcomes.outcome(answer(**parts), CONFIG).seen[END] == told


@pytest.mark.parametrize(
    ("said", "came"),
    [
        (did_not_run(True, "no\n"), Outcome("refused", "no")),
        (did_not_run(False, LOG), Outcome("failed", 'oh no ["msg"] {"a": 1} 1')),
        (did_not_run(False, "oh no"), Outcome("failed", "oh no")),
        (did_not_run(False, ""), Outcome("failed", "the probe reported nothing")),
        ({"error": "it did not answer in time"}, Outcome("failed", "it did not answer in time")),
        ({}, Outcome("failed", NOTHING)),
    ],
)  # fmt: skip
def test_a_refusal_is_told_from_a_crash_and_a_hang(said: dict[str, Any], came: Outcome) -> None:
    assert outcomes.outcome(said, CONFIG) == came


@pytest.mark.parametrize("mounts", [{"mounts": []}, {"mounts": [1]}, {"mounts": None}, {"mounts": ["a"]}, {}])
def test_facts_that_nobody_expects_are_told_as_not_seen(mounts: dict[str, Any]) -> None:
    """They come out of a container: a runtime that makes nonsense of one shall not end the comparison."""
    came = outcomes.outcome(answer(inside={"init": {"facts": {}}, "mounts": {"facts": mounts}}), CONFIG)
    assert came.seen["root.readonly"].startswith("not seen: ")


def ran(**seen: Any) -> Outcome:
    return Outcome("ran", seen=seen)


def test_a_field_that_is_seen_otherwise_is_one_difference_with_all_runtimes_and_what_was_asked() -> None:
    came = {"one": ran(hostname="a"), "two": ran(hostname="a"), "three": ran(hostname="b")}
    found = outcomes.differences(came, {"hostname": "a"})
    assert found == {Group("hostname", "three"): Difference({"one": "a", "two": "a", "three": "b"}, "a")}
    assert found[Group("hostname", "three")].deviating == ["three"]


def test_the_first_may_be_the_one_that_deviates() -> None:
    came = {"one": ran(hostname="b"), "two": ran(hostname="a"), "three": ran(hostname="a")}
    found = outcomes.differences(came, {"hostname": "a"})
    assert list(found) == [Group("hostname", "two"), Group("hostname", "three")]
    assert found[Group("hostname", "two")].deviating == ["one"]


def test_nobody_deviates_from_what_the_config_does_not_say() -> None:
    (difference,) = outcomes.differences({"one": ran(hostname="b"), "two": ran(hostname="a")}, {}).values()
    assert (difference.asked, difference.deviating) == (UNSAID, [])


def test_parts_of_a_field_are_differences_by_themselves() -> None:
    """Or the flag of a mount that a runtime is known to drop would hide all others; files are all one."""
    here = {"/a": {"ro": True, "nosuid": True}, "/b": {"ro": True}, "/c": "no mount"}
    there = {"/a": {"ro": False, "nosuid": True}, "/b": {"ro": False}, "/c": {"ro": True}}
    came = {"one": ran(mounts=here, rest={"x": 1}), "two": ran(mounts=there, rest={"y": 1})}
    found = outcomes.differences(came, {"mounts": here})
    assert [group.path for group in found] == ["mounts.*.ro", "mounts.*", "rest.x", "rest.y"]
    assert found[Group("mounts.*.ro", "two")] == Difference({"one": True, "two": False}, True)
    assert found[Group("mounts.*", "two")] == Difference({"one": "no mount", "two": {"ro": True}}, "no mount")
    assert found[Group("rest.x", "two")] == Difference({"one": 1, "two": None}, UNSAID)


@pytest.mark.parametrize(
    ("there", "how"),
    [(["a", "b", "c"], "(more)"), (["a"], "(less)"), (["a", "c"], "(others)"), (["b", "a"], "(order)")],
)
def test_what_is_always_there_does_not_hide_what_is_missing(there: list[str], how: str) -> None:
    """The variable HOME, which some runtimes add to what was asked for."""
    variables = ["a", "b"]
    found = outcomes.differences({"one": ran(env=variables), "two": ran(env=there)}, {"env": variables})
    assert found == {Group(f"env.{how}", "two"): Difference({"one": variables, "two": there}, variables)}


def test_how_a_container_ends_is_compared_and_asked_for() -> None:
    came = {"one": ran(**{END: ENDED}), "two": ran(**{END: "status 1"})}
    assert outcomes.differences(came, {}) == {Group(END, "two"): Difference({"one": ENDED, "two": "status 1"}, ENDED)}


def test_what_a_container_that_ended_amiss_has_not_shown_is_told_as_its_end_alone() -> None:
    amiss = {END: "mounts: the probe reported nothing", "mounts": f"{UNSEEN}: the probe reported nothing"}
    came = {"one": ran(mounts={}, **{END: ENDED}), "two": ran(**amiss)}
    assert [group.path for group in outcomes.differences(came, {})] == [END]
    came["two"] = ran(**amiss | {END: ENDED})
    assert [group.path for group in outcomes.differences(came, {})] == ["mounts"]


def test_what_some_refuse_is_a_difference_and_what_all_refuse_is_none() -> None:
    no, other = Outcome("refused", "no"), Outcome("refused", "never")
    assert outcomes.differences({"one": no, "two": other}, {}) == {}
    assert outcomes.differences({"one": ran(), "two": no}, {}) == {
        Group("start refused: no", "two"): Difference({"one": "ran", "two": "no"}, UNSAID)
    }
    assert list(outcomes.differences({"one": no, "two": ran(), "three": other}, {})) == [
        Group("start refused: no", "one"),
        Group("start refused: never", "three"),
    ]


def test_a_start_that_failed_is_told_of_every_runtime() -> None:
    lost, no = Outcome("failed", "lost"), Outcome("refused", "no")
    assert list(outcomes.differences({"one": lost, "two": lost}, {})) == [
        Group("start failed: lost", "one"),
        Group("start failed: lost", "two"),
    ]
    assert Group("start failed: lost", "two") in outcomes.differences({"one": no, "two": lost}, {})


def test_a_runtime_that_cannot_be_asked_is_compared_with_nobody() -> None:
    unasked, no = Outcome("not asked", "it has no terms for it"), Outcome("refused", "no")
    assert outcomes.differences({"one": ran(a=1), "two": unasked}, {}) == {}
    assert outcomes.differences({"one": unasked, "two": ran(a=1), "three": ran(a=2)}, {}) == {}
    assert outcomes.differences({"one": unasked, "two": no}, {}) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('mounting "a" to /a/b at 1: no', 'mounting "b\'" to /c at -20: no'),
        ("open '/a': ENOENT (no)", "open 'b c': ENOENT (no)"),
        (r"config \"a\" no", r"config \"b\" no"),
        ("config.json: linux.netDevices.a: no such", "config.json: linux.netDevices.b.c: no such"),
        ("it has not ended in 0.5 s", "it has not ended in 20 s"),
    ],
)
def test_words_that_differ_in_names_and_numbers_have_one_cause(one: str, other: str) -> None:
    first, second = (
        outcomes.differences({"a": ran(), "b": Outcome("refused", words)}, {}).keys() for words in (one, other)
    )
    assert first == second


def test_other_words_have_another_cause() -> None:
    groups = {
        group
        for words in ("mount 'a': EPERM (no)", "mount 'a': EINVAL (no)", "open 'a': EPERM (no)")
        for group in outcomes.differences({"a": ran(), "b": Outcome("refused", words)}, {})
    }
    assert len(groups) == 3


def test_a_group_has_a_name_for_files() -> None:
    assert Group("mounts.*.ro", "runc:/opt/runc").name == "mounts-ro-runc-opt-runc"
    assert len(Group("start refused: " + "so " * 50, "runc").name) <= outcomes.LONGEST_NAME
