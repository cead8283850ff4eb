"""Labels of security modules, without privileges: where they are refused, and through what they are asked for."""

from typing import Any

import pytest

from harness.runtime.config import read
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.plan import plan
from harness.runtime.spec import example
from harness.runtime.step import Host, Plan


def made(*modules: str, **labels: Any) -> Plan:
    config = example(0, 0)
    config["process"] |= labels
    return plan(read(config), Host("isoproof-1", "/bundle/rootfs", kernel=(6, 18), security_modules=modules))


def test_a_label_is_refused_where_nobody_would_enforce_it() -> None:
    sentence = r"process\.apparmorProfile: strict is a label of apparmor's; this kernel has capability, landlock"
    with pytest.raises(StartError, match=sentence):
        made("capability", "landlock", apparmorProfile="strict")
    with pytest.raises(
        StartError, match=r"process\.selinuxLabel: .* of selinux's; this kernel has no security modules"
    ):
        made(selinuxLabel="system_u:system_r:container_t:s0")
    with pytest.raises(ConfigError, match=r"process\.selinuxLabel: AppArmor and SELinux"):
        made("selinux", "apparmor", apparmorProfile="strict", selinuxLabel="x")
    with pytest.raises(ConfigError, match=r"process\.apparmorProfile: expected a text, found a list"):
        made("apparmor", apparmorProfile=["strict"])


@pytest.mark.parametrize(
    ("module", "field", "file", "text"),
    [
        ("apparmor", "apparmorProfile", "thread-self/attr/apparmor/exec", "exec strict"),
        ("selinux", "selinuxLabel", "thread-self/attr/exec", "strict"),
    ],
)
def test_a_label_is_asked_for_in_a_procfs_that_is_mounted_nowhere(
    module: str, field: str, file: str, text: str
) -> None:
    wanted = made(module, **{field: "strict"})
    names = [step.name for step in wanted.steps]
    assert names.index(f"label:{module}") < names.index("open-root")
    (step,) = [step for step in wanted.steps if step.name == f"label:{module}"]
    assert [str(call) for call in step.calls] == [
        'fsopen("proc", FSOPEN_CLOEXEC) -> $context',
        "fsconfig($context, FSCONFIG_CMD_CREATE, NULL, NULL, 0)",
        "fsmount($context, FSMOUNT_CLOEXEC, 0) -> $procfs",
        "close($context)",
        f'openat2($procfs, "{file}", {{O_WRONLY|O_CLOEXEC, RESOLVE_NO_XDEV|RESOLVE_NO_MAGICLINKS}}, 24) -> $file',
        f'write($file, "{text}", {len(text)})',
        "close($file)",
        "close($procfs)",
    ]


def test_an_empty_label_asks_for_none() -> None:
    assert not [step for step in made(apparmorProfile="", selinuxLabel="").steps if step.name.startswith("label")]
