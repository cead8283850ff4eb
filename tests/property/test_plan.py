"""The ordering rules of a plan hold for any config, not only for the example."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.runtime.config import read
from harness.runtime.fields import CAPABILITIES
from harness.runtime.plan import plan
from harness.runtime.spec import example
from harness.runtime.step import Host, Saved, Step

NAMES = st.text("abcdefgh", min_size=1, max_size=3)
DESTINATIONS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/m/" + "/".join(parts))
MOUNTS = st.one_of(
    st.builds(
        lambda where, options: {"destination": where, "type": "tmpfs", "source": "tmpfs", "options": options},
        DESTINATIONS,
        st.lists(st.sampled_from(["ro", "nosuid", "nodev", "noexec", "size=1m", "rw", "rro"]), unique=True),
    ),
    st.builds(
        lambda where, how: {"destination": where, "type": "bind", "source": "/etc", "options": [how, "rslave"]},
        DESTINATIONS,
        st.sampled_from(["bind", "rbind"]),
    ),
)


@st.composite
def configs(draw: st.DrawFn) -> tuple[int, dict[str, Any]]:
    uid = draw(st.sampled_from([0, 1000]))
    config = example(uid, uid)
    config["mounts"] += draw(st.lists(MOUNTS, max_size=5))
    dropped = draw(st.sets(st.sampled_from(["pid", "ipc", "network", "cgroup"])))
    config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] not in dropped]
    config["process"]["capabilities"] = {
        kind: sorted(draw(st.sets(st.sampled_from(CAPABILITIES)))) for kind in ("bounding", "effective", "ambient")
    }
    config["root"]["readonly"] = draw(st.booleans())
    return uid, read(config)


@given(configs())
def test_ordering_rules(wanted: tuple[int, dict[str, Any]]) -> None:
    uid, config = wanted
    steps = plan(config, Host("isoproof-1", "/r", uid=uid, gid=uid, kernel=(6, 18), files=frozenset())).steps
    names = [step.name for step in steps]
    # The mounts are attached in the order of the config, all of them after the host's tree is gone.
    attached = [name.partition(":")[2] for name in names if name.startswith("mount:")]
    assert attached == [mount["destination"] for mount in config["mounts"]]
    gone = names.index("drop-old-root")
    assert all(names.index(name) > gone for name in names if name.startswith(("mount:", "mask:", "read-only:")))
    assert all(names.index(name) < gone for name in names if name.startswith("open"))
    # Nothing is mounted once the root is locked, and nothing at all happens after the program has begun.
    if "root-read-only" in names:
        assert all(not name.startswith("mount:") for name in names[names.index("root-read-only") :])
    assert names[-1] == "execute"
    assert_results_are_there_when_asked_for(steps)


def assert_results_are_there_when_asked_for(steps: tuple[Step, ...]) -> None:
    """No call asks for the result of a call that comes later, or of a descriptor that is closed already."""
    known: set[str] = set()
    for step in steps:
        for call in step.calls:
            for argument in call.arguments:
                if isinstance(argument, Saved):
                    assert argument.name in known, f"{step.name}: {call}"
            if call.name == "close" and isinstance(call.arguments[0], Saved):
                known.discard(call.arguments[0].name)
            if call.saves:
                known.add(call.saves)
    assert known <= {"keyring"}, "a descriptor of the plan is left open"  # that one is a serial number
