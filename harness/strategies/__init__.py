"""Random configs for Hypothesis, made from the table of fields (`harness.runtime.fields`): pip install isoproof[fuzz].

`configs()` gives configs that a start in the outer sandbox takes, or refuses before anything has happened. A field that
is new in the table is in them at once, with whatever its kind allows; what has rules across fields has a strategy of
its own, in the module of its subject (`RULES`). So has what is no good to a container that is to tell what it sees:
kept out are limits that the probes' interpreter cannot start under, profiles that deny what it does, and mounts over
the kit or /proc. All that is left out of a random config is as in the default one of `harness.shapes`, to which it
shrinks.
"""

from typing import Any

from hypothesis import strategies as st

from harness import shapes
from harness.language import Container
from harness.random_profiles import profiles
from harness.runtime.config import Config
from harness.runtime.fields import FIELDS, KINDS
from harness.runtime.kinds import Text
from harness.runtime.spec import example
from harness.strategies import linux, mounts, process, resources
from harness.strategies.values import NAMES, Strategy, values
from harness.strategies.world import WORLDS, Rule, World
from harness.wrong_values import place, wrong_values

__all__ = ["any_configs", "configs", "profiles", "values", "wrong_configs"]

RULES: dict[str, Rule] = {
    "ociVersion": lambda _world: st.sampled_from(["1.0.2", "1.1.0", "1.2.0"]),
    "root.path": lambda _world: st.just("container.rootfs"),
    **process.RULES,
    **mounts.RULES,
    **linux.RULES,
    **resources.RULES,
}
DRAWN_FIRST = ("linux.namespaces", "linux.uidMappings", "linux.gidMappings")
# What takes a kernel or a machine that few have; where it is not to be had, one of these is enough for a refusal.
RARE = (
    "linux.netDevices",
    "linux.resources.hugepageLimits",
    "linux.resources.network",
    "linux.resources.rdma",
    "process.apparmorProfile",
    "process.selinuxLabel",
)
RARITY = 6  # how much more often others are drawn
MOST = 12  # parts of a config that are not as in the default one
WORDS = ("tmpfs", "bind", "ro", "5", "memory.high", "read")  # texts that mean something in one field or another


def _part(path: str) -> str:
    """Return the part of a config that a field is drawn with: `process.user`, `linux.resources.memory`, `mounts`."""
    words = path.split(".")
    depth = 3 if path.startswith("linux.resources.") else 2 if words[0] in ("root", "process", "linux") else 1
    return ".".join(words[:depth]).partition("[")[0]


def parts() -> list[str]:
    """Return the parts of a config that may be drawn, in the order of the table."""
    return [part for part in dict.fromkeys(_part(field.path) for field in FIELDS) if part not in DRAWN_FIRST]


def drawn(path: str, world: World) -> Strategy:
    """Return values of what stands at a path of the table: by its rule, by its kind, or by what is below it."""
    if path in RULES:
        return RULES[path](world)
    if path in KINDS:
        return values(KINDS[path])
    below = sorted({_step(path, field.path) for field in FIELDS} - {""})
    if below == ["[]"]:
        item = drawn(f"{path}[]", world)
        return st.just([]) if item.is_empty else st.lists(item, max_size=3)
    if below == ["*"]:
        return st.dictionaries(NAMES, drawn(f"{path}.*", world), max_size=2)
    return st.fixed_dictionaries({}, optional={key: drawn(f"{path}.{key}", world) for key in below})


def _step(above: str, path: str) -> str:
    """Return the first step from a path of the table to one below it: a key, `[]`, `*`; nothing if it is not below."""
    if path.startswith(f"{above}[]"):
        return "[]"
    return path.removeprefix(f"{above}.").split(".")[0].split("[")[0] if path.startswith(f"{above}.") else ""


def configs() -> st.SearchStrategy[Config]:
    """Return configs that root can run in the outer sandbox; their paths are those that the host role knows."""
    usual = [part for part in parts() if part not in RARE]
    return _configs(st.sampled_from(usual * RARITY + list(RARE)))


@st.composite
def _configs(draw: st.DrawFn, chosen: Strategy) -> Config:
    world = draw(WORLDS)
    config = shapes.config([Container()], 0, 0)
    config["mounts"] = mounts.fitted(config["mounts"], world)
    config["linux"]["namespaces"] = world.namespaces()
    if world.mapped:
        config["linux"] |= {"uidMappings": world.mappings(), "gidMappings": world.mappings()}
    if "uts" not in world.own:
        del config["hostname"]
    for part, value in draw(st.lists(_change(chosen, world), unique_by=lambda change: change[0], max_size=MOST)):
        _put(config, part, value)
    return config


@st.composite
def _change(draw: st.DrawFn, chosen: Strategy, world: World) -> tuple[str, Any]:
    """Draw a part and what stands there: one after the other, so that they go together when a config is shrunk."""
    part = draw(chosen)
    return part, draw(drawn(part, world))


def _put(config: Config, part: str, value: Any) -> None:
    """Put a part in its place: mounts behind those of the default config, and nothing in the place of no name."""
    *above, last = part.split(".")
    for word in above:
        config = config.setdefault(word, {})
    if last == "mounts":
        value = config[last] + value
    if value == "":
        config.pop(last, None)
    else:
        config[last] = value


@st.composite
def any_configs(draw: st.DrawFn) -> Config:
    """Draw an example with some fields set as the table allows, whether they go together or not."""
    config = example(0, 0)
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=8)):
        right = values(field.kind) | (st.sampled_from(WORDS) if type(field.kind) is Text else st.nothing())
        if not right.is_empty:
            place(config, field.path, draw(right))
    return config


@st.composite
def wrong_configs(draw: st.DrawFn) -> Config:
    """Draw one of those with one field set as the table does not allow."""
    config = draw(any_configs())
    field = draw(st.sampled_from(FIELDS))
    place(config, field.path, draw(st.sampled_from(wrong_values(field.kind))))
    return config
