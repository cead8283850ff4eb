"""A difference as files that show it again: a bundle for any OCI runtime, and a scenario for `pytest --runtime`.

The bundle runs the probes that have seen it; all bundles of a folder share one root, with the probe kit in it. The
scenario expects the facts of which the difference is made, as the runtime that is right has shown them.
"""

import copy
import json
import keyword
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from harness import agreement, expression, outcomes, shapes
from harness.errors import BadInput
from harness.language import Container
from harness.outcomes import END, STARTS, Difference, Group
from harness.rootfs import build_kit, command, make_rootfs
from harness.runtime.config import Config
from harness.shapes import KIT
from harness.shapes import config as config_of
from harness.yamlfile import Plain, core

NONCE = "0" * 32  # nobody waits for the lines of a bundle
ROOT = "rootfs"
SABOTAGE = "skip-ns=uts"  # a check must name one, and which it is nobody knows yet
HEAD = """\
# By isoproof fuzz. Before this is a check of yours: say what is claimed and why, and name the sabotage that breaks it.
"""
SIDES = ("inside", "host")
ABSENT = object()  # instead of a value where the other side has a key more

Answer = dict[str, Any]
Place = tuple[str | int, ...]


class Shown(NamedTuple):
    """A difference with the smallest config that shows it, and what the host role answered for it on each runtime.

    That is there twice, for what is never the same, such as the number of a namespace, shows nothing.
    """

    group: Group
    difference: Difference
    config: Config
    answers: tuple[dict[str, Answer], dict[str, Answer]]

    @property
    def right(self) -> str:
        """The runtime that the others are to be like: the first that shows what was asked for."""
        others = [name for name in self.difference.shown if name != self.group.runtime]
        return next((name for name in others if name not in self.difference.deviating), self.group.runtime)

    @property
    def wrong(self) -> str:
        """The runtime that is not like it: the one that stands apart, or if that is right the first."""
        return self.group.runtime if self.group.runtime != self.right else next(iter(self.difference.shown))


class Files(NamedTuple):
    """Where a difference is written: the folder of its bundle, and its scenario."""

    bundle: Path
    scenario: Path


def write(directory: Path, name: str, shown: Shown) -> Files:
    """Write bundle and scenario of a difference below a folder, over those of that name, and return where they are."""
    files = Files(directory / name, directory / "scenarios" / f"{name}.yaml")  # where pytest takes a file for one
    try:
        files.bundle.mkdir(parents=True, exist_ok=True)
        files.scenario.parent.mkdir(exist_ok=True)
        _provide_root(directory / ROOT)
        (files.bundle / "config.json").write_text(json.dumps(bundle(shown.config), indent=2) + "\n")
        files.scenario.write_text(scenario(name, shown))
    except OSError as error:
        raise BadInput(f"write {error.filename}: {error.strerror}; --reports DIR names another folder") from None
    return files


def _provide_root(root: Path) -> None:
    """Make the root of all bundles: the mount points of a container, and the kit of this moment."""
    root.mkdir(exist_ok=True)
    make_rootfs(root, {})
    kit = root / KIT.strip("/")
    if not (kit / "probes").exists():
        shutil.copytree(build_kit(), kit, symlinks=True, dirs_exist_ok=True)


def bundle(config: Config) -> Config:
    """Return the config for a bundle beside the shared root, where the kit is part of the tree and no mount."""
    awaited = {entry.get("during") for entry in agreement.host_observations(config).values()}
    observe = [
        {"name": name, "probe": entry["probe"], "arguments": entry.get("args") or {}, "deadline": entry.get("deadline")}
        for name, entry in agreement.observations(config).items()
        if name not in awaited  # for there is no host that would let it go on
    ]
    result = copy.deepcopy(config)
    result["root"]["path"] = f"../{ROOT}"
    result["process"]["args"] = command(json.dumps({"nonce": NONCE, "observe": observe}))
    result["mounts"] = [mount for mount in result["mounts"] if mount["destination"] != KIT]
    return result


def scenario(name: str, shown: Shown) -> str:
    """Return the text of a scenario with one check, which holds on the runtime that is right."""
    expect = expectations(shown) or ["start.ran"]
    both = agreement.observations(shown.config) | agreement.host_observations(shown.config)
    entries = {_identifier(name): entry for name, entry in both.items()}
    named = {name.split(".")[1] for text in expect for name in expression.names(text)}
    named |= {entries[name]["during"] for name in named & entries.keys() if entries[name].get("during")}
    observe = {name: _observe(entry) for name, entry in entries.items() if name in named - {"init"}}
    text = {
        "title": "A config that runtimes make different containers of",
        "container": {"oci": beyond_default(shown.config)},
        "observe": observe,
        "checks": {
            name: {
                "claim": _claim(shown),
                "expect": expect,
                "sabotage": SABOTAGE,
                "severity": "hygiene",
            }
        },
    }
    return HEAD + yaml.dump(text, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _claim(shown: Shown) -> str:
    if shown.group.path.startswith(STARTS):
        return f"The container starts on {shown.wrong} as it does on {shown.right}"
    return f"{shown.group.path} is the same on {shown.wrong} as on {shown.right}"


def _observe(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an observation as a scenario asks for it."""
    return {key: entry[key] for key in ("probe", "args", "during", "deadline") if entry.get(key)}


def beyond_default(config: Config) -> Config:
    """Return what a config has that an ordinary container of a scenario has not, as a merge patch."""
    beyond = shapes.patch(_ordinary(), config)
    return beyond


def described(config: Config) -> Iterator[str]:
    """Yield the same for people, a line for each part, and of lists only what they have more and less."""
    yield from _described("", _ordinary(), config) if config != _ordinary() else ["the default one"]


def _described(path: str, usual: Any, value: Any) -> Iterator[str]:
    if isinstance(usual, dict) and isinstance(value, dict):
        for key in [key for key in dict.fromkeys([*usual, *value]) if usual.get(key) != value.get(key)]:
            yield from _described(f"{path}.{key}" if path else key, usual.get(key), value.get(key))
    elif isinstance(usual, list) and isinstance(value, list):
        yield from (f"{path} without {json.dumps(item)}" for item in usual if item not in value)
        yield from (f"{path} and {json.dumps(item)}" for item in value if item not in usual)
    else:
        yield f"{path}: {'left out' if value is None else json.dumps(value)}"


def _ordinary() -> Config:
    return config_of([Container()], os.geteuid(), os.getegid())


def expectations(shown: Shown) -> list[str]:
    """Return the expressions that hold on the runtime that is right and not on the other, if there are any.

    They are about the facts of which the difference is made: put one by one in the place of those on the other side,
    they make it appear.
    """
    if shown.group.path == END:
        return ["start.status == 0"]
    first, second = shown.answers
    good, bad = first.get(shown.right, {}), first.get(shown.wrong, {})
    right, wrong = [_facts(good), _facts(second.get(shown.right, {}))], _facts(bad)
    found = []
    for place, value, other in _unlike(right[0], wrong):
        if len(place) > 2 and _matters(shown, good, place, other):
            tried = _candidates(place, value)
            found += [text for text in tried if all(_holds(text, one) for one in right) and not _holds(text, wrong)][:1]
    return found


def _facts(answer: Answer) -> Answer:
    """Return the facts of an answer by side and observation, as expressions name them."""
    return {
        side: {_identifier(name): made["facts"] for name, made in answer.get(side, {}).items() if "facts" in made}
        for side in SIDES
    }


def _identifier(name: str) -> str:
    """Return the name of an observation as an expression can have it."""
    return re.sub("[^a-z0-9_]", "_", name.lower())


def _candidates(place: Place, value: Any) -> list[str]:
    """Return what may be expected of a fact: its value, or for one that is never the same whether it is the host's."""
    side, *rest = place
    fact = _spelled(tuple(rest))
    if value is ABSENT:
        return [f"{rest[-1]!r} not in {side}{_spelled(tuple(rest[:-1]))}"]
    hosts = [_spelled(tuple(rest[start:])) for start in range(len(rest) - 1)] if side == "inside" else []
    return [
        f"{side}{fact} == {value!r}",
        *(f"inside{fact} {sign} host{host}" for host in hosts for sign in ("==", "!=")),
    ]


def _holds(text: str, scope: Answer) -> bool:
    try:
        return bool(expression.evaluate(text, scope))
    except (expression.EvaluationError, expression.ExpressionError):  # it is about what is not there, or is too long
        return False


def _matters(shown: Shown, answer: Answer, place: Place, value: Any) -> bool:
    """Return whether another value of a fact makes the difference."""
    changed = copy.deepcopy(answer)
    side, alias, *keys, last = place
    target: Any = next(made for name, made in changed[str(side)].items() if _identifier(name) == alias)["facts"]
    for key in keys:
        target = target[key]
    if value is ABSENT:
        del target[last]
    else:
        target[last] = value
    seen, then = (agreement.seen(each, shown.config) for each in (answer, changed))
    changes = [outcomes.kind(path, keys) for path, keys in outcomes.unlike(seen, then)]
    return _field(shown.group.path) in map(_field, changes)


def _field(path: str) -> str:
    """Return a path without what is said of a list: one item less of it may make the difference that more is in it."""
    return path.partition(".(")[0]


def _unlike(here: Any, there: Any, place: Place = ()) -> Iterator[tuple[Place, Any, Any]]:
    """Yield the places at which two facts differ, as deep as they are built alike, with both values, or ABSENT."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in dict.fromkeys([*here, *there]):
            yield from _unlike(here.get(key, ABSENT), there.get(key, ABSENT), (*place, key))
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        for index, (left, right) in enumerate(zip(here, there, strict=True)):
            yield from _unlike(left, right, (*place, index))
    elif here != there:
        yield place, here, there


def _spelled(place: Place) -> str:
    """Return how an expression goes to a place: `.limits[0]["soft limit"]`."""
    return "".join(
        f".{key}" if isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key) else f"[{key!r}]"
        for key in place
    )


class _Dumper(yaml.SafeDumper):
    """Writes YAML that our reader takes for the same values: it knows other numbers than YAML 1.1 does."""

    def ignore_aliases(self, _data: object) -> bool:
        """Return that a value which stands in several places is written in each of them."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = core(Plain(text)) == text
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)
