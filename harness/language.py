"""The scenario language as authors write it; the docstrings of these classes are its reference.

A scenario is one YAML file, a File here: one area, a container and the checks made in it. Editors read the schema
that schema() makes of the classes; harness/scenario.schema.json holds it. What is known of a runtime is another
file, a Known, with harness/known.schema.json.
"""

import fnmatch
import itertools
import operator
import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct

from harness.severities import Severity

CheckName = Annotated[str, Meta(pattern="^[a-z0-9]+(-[a-z0-9]+)*$")]
Identifier = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
Text = Annotated[str, Meta(min_length=1)]


class Size(int):
    """A number of bytes, written with a binary unit: `64 MiB`."""

    UNITS: ClassVar[dict[str, int]] = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

    @classmethod
    def parse(cls, text: str) -> "Size":
        """The size in a text; raises ValueError with the rest of a sentence about it."""
        match = re.fullmatch(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB|)", text)
        if not match:
            raise ValueError(f"expects a size such as 64 MiB, not {text!r}")
        return cls(int(match[1]) * cls.UNITS[match[2]])


class Versions(str):
    """Some versions of a runtime: comparisons, with commas between them, which must all hold: `>=1.1, <1.2`.

    Compared are the numbers one by one, a missing one as 0: 1.10 is above 1.9, and 1.2 is 1.2.0. What stands behind
    them does not count, so that 1.1.5+ds1 is 1.1.5, and 1.2.0-rc.1 is 1.2.
    """

    COMPARISONS: ClassVar[dict[str, Any]] = {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "=": operator.eq,
    }

    @classmethod
    def parse(cls, text: str) -> "Versions":
        """The versions in a text; raises ValueError with the rest of a sentence about it."""
        for part in text.split(","):
            if not re.fullmatch(r" *(<|<=|>|>=|=) ?[0-9]{1,9}(\.[0-9]{1,9})* *", part):
                raise ValueError(f"expects versions such as '<1.2' or '>=1.1, <1.2', not {text!r}")
        return cls(text)

    def include(self, version: str) -> bool:
        """Whether a version, as the runtime tells it, is one of these; one without numbers never is."""
        found = version_numbers(version)
        return bool(found) and all(
            self.COMPARISONS[sign](*_of_one_length(found, version_numbers(wanted)))
            for sign, wanted in re.findall(r"([<>=]+) ?([0-9.]+)", self)
        )


def version_numbers(version: str) -> list[int]:
    """The first numbers in a text that have dots between them: [1, 1, 5] of `runc version 1.1.5+ds1`."""
    match = re.search(r"[0-9]+(\.[0-9]+)*", version)
    return [int(number) for number in match[0].split(".")] if match else []


def _of_one_length(*lists: list[int]) -> Iterator[tuple[int, ...]]:
    """The lists with zeros behind the shorter ones."""
    return zip(*itertools.zip_longest(*lists, fillvalue=0), strict=True)


class Image(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands in the container's root besides the few empty directories that a probe needs.

    directories: directories to make, with their parents
    files: the text of each file, by its path
    symlinks: the target of each symbolic link, by the link's path
    setuid: programs of root's with the set-user-ID bit, which print their /proc/self/status
    capable: the same program with a file capability instead, such as NET_RAW, by the path
    loaders: programs in the place of a dynamic loader, which keep what was to be loaded open as descriptor 100, and run
        its arguments instead
    devices: device nodes that only their owner, root, may open, such as `c 1:3`, by the path
    """

    directories: list[str] | None = None
    files: dict[str, str] | None = None
    symlinks: dict[str, str] | None = None
    setuid: list[str] | None = None
    capable: dict[str, str] | None = None
    loaders: list[str] | None = None
    devices: dict[str, Annotated[str, Meta(pattern="^[bc] [0-9]+:[0-9]+$")]] | None = None


class Container(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The container that is asked for: shorthand over a shape.

    A check's container is laid over the file's key by key: mappings merge, all else (lists too) replaces.

    shape: the named container to start from (scenarios/shapes/), or several, each laid over those before it (`a + b`)
    hostname: the name of the machine, as uname(2) gives it
    domainname: the NIS domain name
    capabilities: those of the bounding, effective and permitted set, instead of the shape's, without CAP_
    grant: capabilities added to all five sets, without CAP_
    seccomp: whether system calls go through the usual filter
    userns: whether it has a user namespace, with ids that nobody on the host has
    memory: the limit of memory, such as 64 MiB
    pids: the limit of processes and threads
    cpu: the share of one processor that may be used, such as 0.2
    mounts: OCI mounts made after those of the shape
    namespaces: types of namespaces that the container has besides those of the shape (true), or not (false)
    sysctl: kernel parameters by their dotted names
    init: whether a small init is process 1 and the probes' runner its child
    image: what stands in the root
    readonly: whether the root is read-only
    oom_score_adj: how readily the kernel kills when memory is short, -1000 to 1000
    cgroup: whether the container has a cgroup of its own and sees it, read-only, at /sys/fs/cgroup
    oci: a merge patch (RFC 7386) over the config that all of this makes; null removes a key; in process.args
        `container.command` stands for what runs the probes
    """

    shape: Text | None = None
    hostname: str | None = None
    domainname: str | None = None
    capabilities: list[Text] | None = None
    grant: list[Text] | None = None
    seccomp: bool | None = None
    userns: bool | None = None
    memory: Size | None = None
    pids: Annotated[int, Meta(ge=1)] | None = None
    cpu: Annotated[float, Meta(gt=0)] | None = None
    mounts: list[dict[str, Any]] | None = None
    namespaces: dict[str, bool] | None = None
    sysctl: dict[str, str] | None = None
    init: bool | None = None
    image: Image | None = None
    readonly: bool | None = None
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] | None = None
    cgroup: bool | None = None
    oci: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """What was asked for, without the keys that were left out."""
        return _given(self)


class Observe(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One observation that takes more than naming its probe.

    probe: the file in probes/, without .py
    args: the arguments; `canary.NAME.fact` and `container.fact` stand for values known when the probe runs
    meanwhile: the canary that acts while the probe waits for it
    during: run on the host only, while the named probe waits inside
    deadline: seconds that the probe may take
    """

    probe: Text
    args: dict[str, Any] = {}
    meanwhile: Text | None = None
    during: Text | None = None
    deadline: Annotated[float, Meta(gt=0, le=60)] = 5.0


class CheckEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One claim about observations.

    claim: what is promised, in one sentence
    expect: expressions that must all be true, over inside, host, host_after, config, canary, container, start
    sabotage: the knob that must turn the check red (`a + b` turns two at once), or several, each by itself; behind =
        may stand `canary.NAME.fact`
    severity: what a failure means
    why: what the kernel does here, and what happens without it
    see: manual pages, CVEs and other sources
    also: other suites that check it, and what it is called there
    container: laid over the file's, for this check
    shapes: instead of the file's, the named containers in which it is made besides its own
    canaries: added to the file's
    observe: added to the file's
    alone: whether the check spoils its container and must have a launch of its own
    slow: whether it needs more than two seconds
    refuses: whether the claim is that this container is not started; the file's container must start
    may_refuse: whether a runtime may also refuse it; then what is expected inside is left out, the rest must hold
    requires: what the machine must have, expressions over environment, each with the reason to give if not
    provable: likewise, what it must have for the sabotage to have any effect, over knob, its name, too; without it the
        proof is left out
    """

    claim: Text
    expect: Annotated[list[Text], Meta(min_length=1)]
    sabotage: Text | Annotated[list[Text], Meta(min_length=1)]
    severity: Severity
    why: Text | None = None
    see: Annotated[list[Text], Meta(min_length=1)] | None = None
    also: Annotated[list[Text], Meta(min_length=1)] | None = None
    container: Container | None = None
    shapes: list[Text] | None = None
    canaries: dict[Identifier, Text | dict[str, Any]] = {}
    observe: dict[Identifier, Observe] = {}
    alone: bool = False
    slow: bool = False
    refuses: bool = False
    may_refuse: bool = False
    requires: dict[str, Text] = {}
    provable: dict[str, Text] = {}


class File(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A scenario: a container and the checks made in it.

    title: what the area is about, in one sentence
    why: the kernel mechanism, for a reader who does not know it
    container: the container of all checks
    shapes: named containers in which the checks are made besides; a check that names a shape has only its own list
    canaries: bait on the host: a kind, or a mapping with a kind and its arguments
    observe: observations that need arguments; a probe without them is found by its name in `expect`
    checks: the claims by name
    """

    title: Text
    checks: Annotated[dict[CheckName, CheckEntry], Meta(min_length=1)]
    why: Text | None = None
    container: Container = Container()
    shapes: list[Text] = []
    canaries: dict[Identifier, Text | dict[str, Any]] = {}
    observe: dict[Identifier, Observe] = {}


class Shape(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A named container to start from (scenarios/shapes/NAME.yaml).

    title: what it is, in one sentence
    why: what it is for, and where it comes from
    see: the sources that it follows
    container: laid over the default one
    requires: as for a check: what the machine must have for it
    """

    title: Text
    container: Container
    why: Text | None = None
    see: Annotated[list[Text], Meta(min_length=1)] | None = None
    requires: dict[str, Text] = {}


class Finding(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A check that a runtime is known to fail.

    reason: why it fails there, in one sentence
    see: where that is told: sources, issues, CVEs
    shapes: the containers in which it fails, `own` for the check's own; all of them where it is left out
    versions: those of the runtime that fail it, such as `<1.2`; every one where it is left out
    """

    reason: Text
    see: list[Text] = []
    shapes: Annotated[list[Text], Meta(min_length=1)] | None = None
    versions: Versions | None = None


class Skipped(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A check that cannot be made on a runtime.

    reason: why not, in one sentence
    shapes: the containers in which it cannot, `own` for the check's own; all of them where it is left out
    versions: those of the runtime on which it cannot, such as `<1.2`; every one where it is left out
    """

    reason: Text
    shapes: Annotated[list[Text], Meta(min_length=1)] | None = None
    versions: Versions | None = None

    def beside(self, finding: Finding) -> bool:
        """Whether no container is both one in which the check cannot be made and one in which it fails."""
        return bool(self.shapes and finding.shapes and not set(self.shapes) & set(finding.shapes))


class Differing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A difference from other runtimes that random configs have shown.

    reason: what it does otherwise, in one sentence
    see: where that is told: sources, issues, sections of the runtime-spec
    versions: those of the runtime that do, such as `<1.2`; every one where it is left out
    """

    reason: Text
    see: list[Text] = []
    versions: Versions | None = None


class Known(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of a runtime (scenarios/known/NAME.yaml), by the names of checks.

    fails: the checks that it fails; they are expected to, and reported where they do not
    skips: those that cannot be made on it, and are no hole in a run that must be complete
    differs: what `isoproof fuzz` counts and does not tell of again, by the path that it tells, in which `*` is any text
    """

    fails: dict[CheckName, Finding] = {}
    skips: dict[CheckName, Skipped] = {}
    differs: dict[Text, Differing] = {}

    def finding(self, check: str, shape: str) -> Finding | None:
        """What is known of a check in a shape, or in its own container where that has no name."""
        finding = self.fails.get(check)
        return finding if finding and _within(finding.shapes, shape) else None

    def skipped(self, check: str, shape: str) -> Skipped | None:
        """Why a check cannot be made in a shape, or in its own container where that has no name; None if it can."""
        skipped = self.skips.get(check)
        return skipped if skipped and _within(skipped.shapes, shape) else None

    def difference(self, path: str) -> Differing | None:
        """What is known of a difference of this path."""
        return next((entry for pattern, entry in self.differs.items() if fnmatch.fnmatchcase(path, pattern)), None)

    def contradictions(self) -> list[str]:
        """The checks of which it says that they fail in a container in which they cannot be made."""
        return [name for name in self.skips if name in self.fails and not self.skips[name].beside(self.fails[name])]

    def of(self, version: str) -> "Known":
        """What is known of one version: the entries for others are as if they were not there."""
        return Known(
            fails={name: entry for name, entry in self.fails.items() if _holds(entry.versions, version)},
            skips={name: entry for name, entry in self.skips.items() if _holds(entry.versions, version)},
            differs={path: entry for path, entry in self.differs.items() if _holds(entry.versions, version)},
        )


def _within(shapes: list[str] | None, shape: str) -> bool:
    return shapes is None or (shape or "own") in shapes


def _holds(versions: Versions | None, version: str) -> bool:
    return versions is None or versions.include(version)


def laid_over(base: Any, own: Any) -> Any:
    """One container laid over another: structs and mappings merge, all else replaces."""
    if isinstance(base, Struct) and isinstance(own, Struct):
        fields = {name: (getattr(base, name), getattr(own, name)) for name in base.__struct_fields__}
        merged = {
            name: over if under is None else under if over is None else laid_over(under, over)
            for name, (under, over) in fields.items()
        }
        return type(base)(**merged)
    if isinstance(base, dict) and isinstance(own, dict):
        return base | {key: laid_over(base[key], value) if key in base else value for key, value in own.items()}
    return own


def _given(struct: Struct) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, Struct):
            given[name] = _given(value)
        elif value is not None:
            given[name] = int(value) if isinstance(value, Size) else value
    return given


def schema(kind: type[Struct] = File) -> dict[str, Any]:
    """The JSON Schema of scenario files, or of what is known of runtimes, with the reference as descriptions."""
    (reference,), components = msgspec.json.schema_components([kind], schema_hook=_of_text)
    for described in components.values():
        text, *fields = re.split(r"^(?:    )?(\w+): ", described["description"], flags=re.MULTILINE)
        described["description"] = " ".join(text.split())
        for name, meaning in zip(fields[::2], fields[1::2], strict=True):
            field = _without_null(described["properties"][name])
            described["properties"][name] = {**field, "description": " ".join(meaning.split())}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **reference, "$defs": components}


def _of_text(kind: type) -> dict[str, Any]:
    """The schema of a class that reads itself from a text."""
    return {"type": ["string", "integer"] if kind is Size else "string", "description": kind.__doc__}


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """A field without the null, and the empty defaults, that stand for a key left out: nobody writes them."""
    rest: dict[str, Any] = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        return {**rest, **choices[0]}
    return rest | {"anyOf": choices} if choices else rest
