"""The knobs: each changes what its name says, and nothing where its name is wrong."""

import pytest

from harness import sabotage
from harness.runtime.plan import plan
from harness.runtime.spec import example
from harness.runtime.step import Host
from harness.sabotage import (
    Unfit,
    applies_to,
    check_name,
    fits,
    in_config,
    in_plan,
    parts,
    sabotaged_config,
    sabotaged_plan,
)

HOST = Host("isoproof-1", "/bundle/rootfs", kernel=(6, 18))


def test_names_are_checked_with_a_hint() -> None:
    for knob in (
        "skip-ns=uts",
        "skip-ns=mnt",
        "no-sethostname",
        "skip-ns=pid + no-cgroup-kill",
        "drop-flag=nosuid@/dev/shm",
    ):
        check_name(knob)
    with pytest.raises(ValueError, match="unknown sabotage 'skip-nss=uts'; did you mean 'skip-ns'"):
        check_name("skip-nss=uts")
    with pytest.raises(ValueError, match="the sabotage 'skip-ns' needs a value"):
        check_name("skip-ns")
    with pytest.raises(ValueError, match="the sabotage 'no-masks' takes no value"):
        check_name("no-masks=x")


def test_plan_knobs_are_for_builtin_alone() -> None:
    assert applies_to("skip-ns=uts", "runc") is None
    assert applies_to("keep-old-root", "builtin") is None
    assert applies_to("keep-old-root", "builtin:forked") is None
    assert "keep-old-root changes the plan" in str(applies_to("keep-old-root", "runc"))
    assert "no-cgroup-kill changes the plan" in str(applies_to("skip-ns=pid + no-cgroup-kill", "runc"))


def test_a_config_knob_changes_a_copy() -> None:
    config = example(0, 0)
    changed = sabotaged_config(["skip-ns=uts"], config)
    assert config == example(0, 0)
    assert {"type": "uts"} not in changed["linux"]["namespaces"]
    assert "hostname" not in changed
    assert "CAP_SYS_ADMIN" in sabotaged_config(["grant-cap=SYS_ADMIN"], config)["process"]["capabilities"]["ambient"]


def test_a_plan_knob_changes_only_what_it_names() -> None:
    good = plan(example(0, 0), HOST)
    bad = sabotaged_plan(["keep-old-root"], good)
    assert [step for step in good.steps if step not in bad.steps] == [
        step for step in good.steps if step.name == "drop-old-root"
    ]


def test_a_knob_that_finds_nothing_to_break_says_so() -> None:
    config = example(0, 0)
    del config["hostname"]
    with pytest.raises(Unfit, match="no-sethostname does not fit this container: KeyError: 'hostname'"):
        sabotaged_plan(["no-sethostname"], plan(config, HOST))
    with pytest.raises(Unfit, match="no mount at /sys/fs/cgroup"):
        sabotaged_config(["cgroupfs-rw"], config)
    with pytest.raises(Unfit, match="no cgroup is joined"):
        sabotaged_plan(["join-late"], plan(config, HOST))
    with pytest.raises(Unfit, match="inherit-oom does not fit"):
        sabotaged_config(["skip-ns=uts + inherit-oom"], config)


def test_a_knob_fits_where_it_may_change_something() -> None:
    config = example(0, 0)
    assert fits("skip-ns=uts", config)
    assert fits("no-sethostname", config)  # only the plan will show it
    assert fits("no-cgroup-kill + drop-idmap", config)
    assert not fits("drop-idmap", config)
    assert not fits("cgroupfs-rw", config)


def test_every_knob_says_what_it_does() -> None:
    for module in (in_config, in_plan):
        for name, function in sabotage._knobs(module).items():
            assert function.__doc__, name
    assert parts("a + b") == ["a", "b"]
