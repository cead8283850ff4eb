"""`process.landlock`, without privileges: what is refused, and the calls that it becomes."""

from typing import Any

import pytest

from harness.runtime.config import read
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.plan import plan
from harness.runtime.spec import example
from harness.runtime.step import Host, Plan

FILES = {"handledAccessFS": ["read_file", "make_reg"]}


def made(ruleset: dict[str, Any], version: int = 7, **rules: Any) -> Plan:
    config = example(0, 0)
    config["process"]["landlock"] = {"ruleset": ruleset, "rules": rules}
    return plan(read(config), Host("isoproof-1", "/bundle/rootfs", kernel=(6, 18), landlock=version))


def calls(wanted: Plan) -> list[str]:
    return [str(call) for step in wanted.steps if step.name == "landlock" for call in step.calls]


def test_a_ruleset_becomes_rules_and_then_the_domain() -> None:
    beneath = [{"paths": ["/data", "/dev/null"], "allowedAccess": ["read_file"]}]
    on_port = [{"port": 443, "allowedAccess": ["connect_tcp"]}]
    wanted = made(FILES | {"handledAccessNet": ["connect_tcp"]}, pathBeneath=beneath, netPort=on_port)
    assert calls(wanted) == [
        "landlock_create_ruleset({LANDLOCK_ACCESS_FS_READ_FILE|LANDLOCK_ACCESS_FS_MAKE_REG, "
        "LANDLOCK_ACCESS_NET_CONNECT_TCP}, 24, 0) -> $ruleset",
        'openat2(AT_FDCWD, "/data", {O_PATH|O_CLOEXEC, RESOLVE_NO_MAGICLINKS}, 24) -> $/data',
        "landlock_add_rule($ruleset, LANDLOCK_RULE_PATH_BENEATH, {LANDLOCK_ACCESS_FS_READ_FILE, $/data}, 0)",
        "close($/data)",
        'openat2(AT_FDCWD, "/dev/null", {O_PATH|O_CLOEXEC, RESOLVE_NO_MAGICLINKS}, 24) -> $/dev/null',
        "landlock_add_rule($ruleset, LANDLOCK_RULE_PATH_BENEATH, {LANDLOCK_ACCESS_FS_READ_FILE, $/dev/null}, 0)",
        "close($/dev/null)",
        "landlock_add_rule($ruleset, LANDLOCK_RULE_NET_PORT, {LANDLOCK_ACCESS_NET_CONNECT_TCP, 443}, 0)",
        "landlock_restrict_self($ruleset, 0)",
        "close($ruleset)",
    ]


def test_it_comes_when_the_tree_is_whole_and_the_right_to_it_still_there() -> None:
    names = [step.name for step in made(FILES).steps]
    assert names.index("root-read-only") < names.index("landlock") < names.index("user")
    assert "landlock" not in [step.name for step in plan(example(0, 0), Host("isoproof-1", "/r")).steps]


@pytest.mark.parametrize(
    ("ruleset", "rules", "sentence"),
    [
        ({}, {}, "landlock.ruleset: restricts nothing; it needs one of handledAccessFS, handledAccessNet, scoped"),
        ({"handledAccessFS": []}, {}, "landlock.ruleset: restricts nothing"),
        ({"handledAccessFS": ["fly"]}, {}, r"handledAccessFS\[0\]: expected a known right of Landlock, found \"fly\""),
        ({"scoped": "signal"}, {}, "landlock.ruleset.scoped: expected a list"),
        (FILES, {"pathBeneath": [{"paths": ["/"]}]}, r"pathBeneath\[0\]: needs paths and allowedAccess"),
        (FILES, {"pathBeneath": [{"paths": ["x"]}]}, r"pathBeneath\[0\].paths\[0\]: expected an absolute path"),
        (FILES, {"netPort": [{"allowedAccess": ["bind_tcp"]}]}, r"netPort\[0\]: needs port and allowedAccess"),
        (FILES, {"netPort": [{"port": 65536}]}, r"netPort\[0\].port: expected a whole number from 0 to 65535"),
        (
            FILES,
            {"pathBeneath": [{"paths": ["/"], "allowedAccess": ["execute"]}]},
            r"pathBeneath\[0\].allowedAccess: execute is not in ruleset.handledAccessFS, so it is allowed anyway",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(ruleset: Any, rules: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        made(ruleset, **rules)


@pytest.mark.parametrize(
    ("key", "right", "needed"),
    [
        ("handledAccessFS", "make_sym", 1),
        ("handledAccessFS", "refer", 2),
        ("handledAccessFS", "truncate", 3),
        ("handledAccessNet", "bind_tcp", 4),
        ("handledAccessFS", "ioctl_dev", 5),
        ("scoped", "signal", 6),
    ],
)
def test_a_right_that_this_kernel_lacks_is_named_with_its_version(key: str, right: str, needed: int) -> None:
    assert calls(made({key: [right]}, version=needed))
    has = "no Landlock" if needed == 1 else str(needed - 1)
    with pytest.raises(StartError, match=rf"{key}\[0\]: {right} needs version {needed} .*, this kernel has {has}"):
        made({key: [right]}, version=needed - 1)
