"""Verdicts: nothing but a whole observation that holds is a pass, and nothing but one that does not is a proof."""

import copy
from typing import Any

import pytest

from harness.language import Container
from harness.results import Failure
from harness.scenario import Check, Expectation
from harness.verdict import Redness, Verdict, answers, judge, prove, unmet, unprovable

ENVIRONMENT = {"kernel": [6, 18], "uid": 0}

ANSWER: dict[str, Any] = {
    "start": {"ran": True, "status": 0, "refused": False, "message": ""},
    "inside": {
        "init": {"facts": {"pid": 1}},
        "identity": {"facts": {"hostname": "cell", "items": [1, 2]}},
        "broken": {"error": "it was killed by SIGSYS"},
    },
    "host": {"identity": {"facts": {"hostname": "host"}}},
    "host_after": {"identity": {"facts": {"hostname": "host"}}},
    "config": {"hostname": "cell"},
    "canary": {"bait": {"pid": 7, "signals": {}}},
    "container": {"survivors": 0},
    "error": None,
}


def check(*expect: str, **changes: Any) -> Check:
    fields: dict[str, Any] = {
        "name": "a",
        "path": "a.yaml",
        "line": 3,
        "claim": "c",
        "expect": [Expectation(text, 10 + index) for index, text in enumerate(expect)],
        "sabotages": ["skip-ns=uts"],
        "severity": "leak",
        "why": None,
        "see": [],
        "container": Container(),
        "twin": None,
        "canaries": {},
        "inside": {},
        "host": {},
        "host_after": {},
        "alone": False,
        "requires": {},
    }
    return Check(**{**fields, **changes})


def answer(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(ANSWER) | changes


def judged(*expect: str, **changes: Any) -> Verdict:
    return judge(check(*expect), answer(**changes), ENVIRONMENT)


def test_pass() -> None:
    verdict = judged(
        "inside.identity.hostname == config.hostname",
        "inside.identity.hostname != host.identity.hostname",
        "host_after.identity.hostname == host.identity.hostname",
        "inside.init.pid == 1",
        "canary.bait.signals == {}",
        "container.survivors == 0 and start.status == 0",
        "inside.identity.items",
    )
    assert verdict == Verdict("pass", [], "")


@pytest.mark.parametrize("expression", ["False", "0", "''", "[]", "None", "canary.bait.signals", "start.refused"])
def test_what_is_not_true_fails(expression: str) -> None:
    assert judged("start.ran", expression).outcome == "fail"


def test_a_failure_says_where_and_why() -> None:
    verdict = judged("start.ran", "inside.identity.hostname == host.identity.hostname", "inside.init.pid == 2")
    assert verdict == Verdict(
        "fail",
        [
            Failure(
                "inside.identity.hostname == host.identity.hostname",
                "a.yaml",
                11,
                [("inside.identity.hostname", "'cell'"), ("host.identity.hostname", "'host'")],
            ),
            Failure("inside.init.pid == 2", "a.yaml", 12, [("inside.init.pid", "1")]),
        ],
        "",
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"error": "place canary: ENOSPC"}, "place canary: ENOSPC"),
        ({"error": "\x1b[2J"}, "\\x1b[2J"),
        ({"start": {"ran": False, "message": "exec /bin/x: ENOENT"}}, "the container did not run: exec /bin/x: ENOENT"),
        ({"start": {"ran": False, "message": ""}}, "the container did not run: its first process reported nothing"),
        ({"start": {"ran": 1}}, "the container did not run: its first process reported nothing"),
        ({"start": {}}, "the container did not run: its first process reported nothing"),
        ({"inside": {}}, "the container did not run: its first process reported nothing"),
        ({"inside": {"init": {"error": "garbage"}}}, "the container did not run: garbage"),
        ({"inside": {"init": {"facts": None}}}, "the container did not run: its first process reported nothing"),
    ],
)
def test_nothing_is_judged_unless_the_container_ran(changes: dict[str, Any], reason: str) -> None:
    for expression in ("True", "False", "host.identity.hostname == 'host'"):
        assert judged(expression, **changes) == Verdict("error", [], reason)


def test_an_empty_answer_is_an_error() -> None:
    verdict = judge(check("True"), {}, ENVIRONMENT)
    assert verdict == Verdict("error", [], "the container did not run: its first process reported nothing")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("inside.broken.x == 1", "inside.broken: it was killed by SIGSYS"),
        ("True or inside.broken.x", "inside.broken: it was killed by SIGSYS"),
        ("inside.broken", "inside.broken: it was killed by SIGSYS"),
        ("inside['broken'].x", "inside.broken: it was killed by SIGSYS"),
        ("all(inside.broken.x == y for y in [])", "inside.broken: it was killed by SIGSYS"),
        ("inside.absent.x == 1", "inside.absent: it was not observed"),
        ("not inside.absent.x", "inside.absent: it was not observed"),
        ("host.absent.x == 1", "host.absent: it was not observed"),
        ("host_after.absent.x != 1", "host_after.absent: it was not observed"),
        (
            "inside.broken.x == host.absent.y",
            "host.absent: it was not observed\ninside.broken: it was killed by SIGSYS",
        ),
        (
            "inside.identity.hostnam == 'x'",
            "a.yaml:10: inside.identity.hostnam is missing: the keys there are hostname, items",
        ),
        ("canary.gone.pid == 7", "a.yaml:10: canary.gone is missing: the keys there are bait"),
        ("config.linux.x == 7", "a.yaml:10: config.linux is missing: the keys there are hostname"),
        (
            "inside.identity.hostname > 3",
            "a.yaml:10: inside.identity.hostname > 3: '>' not supported between instances of 'str' and 'int'",
        ),
    ],
)
def test_what_was_not_observed_is_neither_pass_nor_fail(expression: str, reason: str) -> None:
    assert judged(expression) == Verdict("error", [], reason)


def test_an_error_outweighs_a_failure_and_keeps_it() -> None:
    verdict = judged("inside.init.pid == 2", "inside.broken.x == 1", "inside.broken.y == 1")
    assert verdict.outcome == "error"
    assert [failure.line for failure in verdict.failures] == [10]
    assert verdict.reason == "inside.broken: it was killed by SIGSYS"


@pytest.mark.parametrize(
    ("requires", "verdict"),
    [
        ({}, None),
        ({"environment.kernel >= [6, 14]": "needs Linux 6.14"}, None),
        ({"environment.kernel >= [7, 0]": "needs Linux 7.0"}, Verdict("skip", [], "needs Linux 7.0")),
        (
            {"environment.uid == 0": "needs root", "environment.kernel >= [7, 0]": "needs Linux 7.0"},
            Verdict("skip", [], "needs Linux 7.0"),
        ),
        (
            {"environment.userns": "x"},
            Verdict("error", [], "requires: environment.userns is missing: the keys there are kernel, uid"),
        ),
    ],
)
def test_what_the_machine_lacks_is_a_skip(requires: dict[str, str], verdict: Verdict | None) -> None:
    demanding = check("False", requires=requires)
    assert unmet(demanding, ENVIRONMENT) == verdict
    assert judge(demanding, answer(), ENVIRONMENT).outcome == (verdict.outcome if verdict else "fail")


def test_where_the_sabotage_has_no_effect_there_is_a_verdict_but_no_proof() -> None:
    one = check("start.ran", provable={"environment.kernel >= [7, 0]": "the kernel refuses it anyway"})
    assert unprovable(one, ENVIRONMENT) == Verdict("skip", [], "the kernel refuses it anyway")
    assert unprovable(one, {"kernel": [7, 1]}) is None
    assert unprovable(one, {}) == Verdict("error", [], "provable: environment.kernel is missing: nothing is there")
    assert judge(one, answer(), ENVIRONMENT) == Verdict("pass", [], "")


def test_one_sabotage_may_have_no_effect_where_another_has() -> None:
    one = check("start.ran", provable={"knob != 'skip-ns=uts' or environment.uid == 7": "only 7 can turn it"})
    assert unprovable(one, ENVIRONMENT, "skip-ns=uts") == Verdict("skip", [], "only 7 can turn it")
    assert unprovable(one, ENVIRONMENT, "skip-ns=net") is None
    assert unprovable(one, ENVIRONMENT) is None


REFUSED = {"start": {"ran": False, "refused": True, "message": "EINVAL"}, "inside": {}}


def test_a_refusal_counts_only_beside_a_twin_that_ran() -> None:
    refusing = check("start.refused", twin=Container())
    assert judge(refusing, answer(**REFUSED), ENVIRONMENT, answer()) == Verdict("pass", [], "")
    assert judge(refusing, answer(), ENVIRONMENT, answer()).outcome == "fail"
    assert judge(refusing, answer(**REFUSED), ENVIRONMENT) == Verdict(
        "error", [], "the container that must start was not tried"
    )
    assert judge(refusing, answer(**REFUSED), ENVIRONMENT, answer(**REFUSED)) == Verdict(
        "error", [], "the container that must start did not run: EINVAL"
    )
    assert judge(refusing, answer(**REFUSED), ENVIRONMENT, answer(error="no")) == Verdict("error", [], "no")
    assert judge(refusing, answer(**REFUSED, error="no"), ENVIRONMENT, answer()) == Verdict("error", [], "no")


def test_what_may_be_refused_is_judged_inside_where_it_was_not() -> None:
    either = check("start.ran or 'EINVAL' in start.message", "inside.init.pid == 1", twin=Container(), may_refuse=True)
    assert judge(either, answer(**REFUSED), ENVIRONMENT, answer()) == Verdict("pass", [], "")
    assert judge(either, answer(), ENVIRONMENT, answer()) == Verdict("pass", [], "")
    other = {"start": {"ran": False, "refused": True, "message": "ENOENT"}, "inside": {}}
    assert judge(either, answer(**other), ENVIRONMENT, answer()).outcome == "fail"
    assert judge(either, answer(inside={"init": {"facts": {"pid": 2}}}), ENVIRONMENT, answer()).outcome == "fail"
    assert judge(either, answer(**REFUSED), ENVIRONMENT, answer(**REFUSED)).outcome == "error"


def test_silence_is_no_refusal() -> None:
    either = check("start.message == ''", "inside.init.pid == 1", twin=Container(), may_refuse=True)
    silent = {"start": {"ran": False, "refused": False, "message": ""}, "inside": {}}
    assert judge(either, answer(**silent), ENVIRONMENT, answer()) == Verdict(
        "error", [], "the container did not run: its first process reported nothing"
    )


def test_a_check_that_goes_red_is_proven() -> None:
    assert prove(check("inside.identity.hostname == 'x'"), answer()) == Redness("proven", "")


def test_a_check_that_stays_green_is_not() -> None:
    assert prove(check("start.ran"), answer()) == Redness("unproven", "the check did not go red")


def test_an_error_is_no_proof() -> None:
    for one, given, why in (
        (check("inside.broken.x"), answer(), "inside.broken: it was killed by SIGSYS"),
        (check("False", "inside.broken.x"), answer(), "inside.broken: it was killed by SIGSYS"),
        (check("False"), answer(**REFUSED), "the container did not run: EINVAL"),
    ):
        assert prove(one, given) == Redness("error", f"the check went red only by an error: {why}")


def test_proof_of_a_refusal() -> None:
    refusing = check("start.refused", twin=Container())
    assert prove(refusing, answer(), answer()).outcome == "proven"
    assert prove(refusing, answer(**REFUSED), answer()).outcome == "unproven"
    assert prove(refusing, answer(), answer(**REFUSED)).outcome == "error"


def test_hostile_facts_are_shown_escaped() -> None:
    facts = {"init": {"facts": {}}, "identity": {"facts": {"hostname": "\x1b[31m\u202e" + "x" * 9999}}}
    ((_, value),) = judged("inside.identity.hostname == 'x'", inside=facts).failures[0].values
    assert value.isprintable()
    assert len(value) < 250


def test_answers_are_what_the_expectations_name() -> None:
    """Each name once, in the order of the expectations; of the container alone, for a host's are nobody's business."""
    one = check(
        "inside.identity.hostname == config.hostname",
        "all(item > 0 for item in inside.identity['items']) and inside.identity.hostname != host.identity.hostname",
        "canary.bait.signals == {}",
        "inside.broken.errno == 'EPERM' or host_after.identity.hostname == container.survivors",
        "start.status == 0",
    )
    assert answers(one, answer()) == [
        ("inside.identity.hostname", "'cell'"),
        ("inside.identity.items", "[1, 2]"),
        ("start.status", "0"),
    ]
