"""A scenario file, read, checked for mistakes, and each of its checks with all that it needs to be run and judged.

What may stand in a file is told in harness/language.py. Here the mistakes are found that the types alone do not show
(names of probes, knobs, canaries, expressions), and a check's observations are worked out from its expressions.
`python -m harness.schemas` renews the schemas of both kinds of files.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from harness import expression, sabotage, yamlfile
from harness.errors import ScenarioError
from harness.hints import did_you_mean
from harness.language import CheckEntry, Container, File, Known, Observe, Shape, laid_over
from harness.places import PROBES, told
from harness.severities import Severity
from harness.shapes import COMMAND, merged
from harness.yamlfile import Document, Where


class Expectation(Struct, frozen=True):
    """An expression that must be true, and the line on which it begins."""

    text: str
    line: int


class Check(Struct, frozen=True, kw_only=True):
    """A check with all that it needs to be run and judged.

    `inside`, `host` and `host_after` are the observations to make, as the host role is asked for them.
    `twin` is the container that must start if this check's must not (`refuses`) or need not (`may_refuse`). Both are
    laid over `layers`, one by one. `shapes` are those in which the check is made besides; `shape` is the one of them
    that it is made in here.
    """

    name: str
    path: str
    line: int
    claim: str
    expect: list[Expectation]
    sabotages: list[str]
    severity: Severity
    why: str | None
    see: list[str]
    container: Container
    twin: Container | None
    canaries: dict[str, dict[str, Any]]
    inside: dict[str, dict[str, Any]]
    host: dict[str, dict[str, Any]]
    host_after: dict[str, dict[str, Any]]
    alone: bool
    may_refuse: bool = False
    requires: dict[str, str]
    provable: dict[str, str] = {}
    also: list[str] = []
    slow: bool = False
    layers: list[Shape] = []
    shapes: dict[str, list[Shape]] = {}
    shape: str = ""

    @property
    def label(self) -> str:
        """The check's name, and the shape that it is made in unless it is its own."""
        return f"{self.name}[{self.shape}]" if self.shape else self.name

    @property
    def base(self) -> list[Container]:
        """What the check's container is laid over."""
        return [layer.container for layer in self.layers]

    @property
    def requirements(self) -> dict[str, str]:
        """What the machine must have, for the shape and for the check itself, each with the reason to give if not."""
        return {text: reason for layer in self.layers for text, reason in layer.requires.items()} | self.requires

    def everywhere(self) -> "list[Check]":
        """The check in its own container, and in each of its other shapes.

        There without sabotages: it is proven in its own container, where the knobs are known to have an effect.
        """
        others = (replace(self, shape=name, layers=made, shapes={}, sabotages=[]) for name, made in self.shapes.items())
        return [self, *others]


class Scenario(Struct, frozen=True):
    """A scenario file, read and found to be without mistakes."""

    path: str
    title: str
    why: str | None
    checks: list[Check]


def load(path: Path | str) -> Scenario:
    """The scenario in a file; raises ScenarioError with a line `path:line:column: sentence` for each mistake."""
    document = yamlfile.read(path, told(Path(path)))
    file = yamlfile.typed(document, File)
    resolver = _Resolver(document, file, Path(path).parent / "shapes")
    checks = [resolver.check(name, entry) for name, entry in file.checks.items()]
    resolver.require_use()
    if resolver.problems:
        raise ScenarioError(*resolver.problems)
    return Scenario(document.path, file.title, file.why, checks)


def load_known(path: Path | str) -> Known:
    """What is known of a runtime; raises ScenarioError as load() does."""
    document = yamlfile.read(path)
    known = yamlfile.typed(document, Known)
    for name in known.contradictions():
        raise ScenarioError(document.key_problem(("skips", name), f"{name!r} stands under fails too"))
    return known


def load_shape(path: Path | str) -> Shape:
    """A named container; raises ScenarioError as load() does."""
    document = yamlfile.read(path)
    shape = yamlfile.typed(document, Shape)
    problems: list[str] = []
    for key in ("shape", "image"):
        if getattr(shape.container, key) is not None:
            problems.append(document.problem(("container", key), f"a shape has no {key} of its own"))
    problems += _command_problems(document, ("container",), shape.container)
    problems += _environment_problems(document, ("requires",), shape.requires)
    if problems:
        raise ScenarioError(*problems)
    return shape


def shape_names(folder: Path) -> list[str]:
    """The shapes that there are: the files of their folder."""
    return sorted(file.stem for file in folder.glob("*.yaml"))


@cache
def probe_names(folder: Path = PROBES) -> frozenset[str]:
    """The probes that there are: the files of their folder whose names do not begin with an underscore."""
    return frozenset(file.stem for file in folder.glob("*.py") if not file.name.startswith("_"))


class _Resolver:
    """Works out what each check of a file needs, and collects the mistakes on the way."""

    def __init__(self, document: Document, file: File, shape_folder: Path) -> None:
        self.document = document
        self.file = file
        self.problems: dict[str, None] = {}  # a dict: a mistake of the file is seen again with each check
        self.used: set[Where] = set()
        self.shape_folder = shape_folder
        self.loaded: dict[str, Shape | None] = {}
        self.layers(("container", "shape"), file.container.shape)
        self.note(_command_problems(document, ("container",), file.container))
        self.require_canary_kinds((), file.canaries)
        self.require_probes((), file.observe)

    def check(self, name: str, entry: CheckEntry) -> Check:
        where = ("checks", name)
        self.require_canary_kinds(where, entry.canaries)
        self.require_probes(where, entry.observe)
        self.note(_environment_problems(self.document, (*where, "requires"), entry.requires))
        self.note(_environment_problems(self.document, (*where, "provable"), entry.provable, "knob"))
        sabotages = [entry.sabotage] if isinstance(entry.sabotage, str) else entry.sabotage
        self.require_knobs((*where, "sabotage"), sabotages)
        container = laid_over(self.file.container, entry.container) if entry.container else self.file.container
        self.note(_command_problems(self.document, (*where, "container"), entry.container or Container()))
        own_shape = bool(entry.container and entry.container.shape)
        layers = self.layers((*(where if own_shape else ()), "container", "shape"), container.shape)
        needs = _Needs(self, where, entry)
        needs.require_canaries((*where, "sabotage"), _values(sabotages))
        needs.require_canaries((*where, "container") if entry.container else ("container",), container.as_dict())
        for index, text in enumerate(entry.expect):
            needs.expression((*where, "expect", index), text)
        key = "refuses" if entry.refuses else "may_refuse" if entry.may_refuse else None
        if key and not entry.container:
            self.problem(where, f"`{key}` needs a `container` of the check's own: the file's must start")
        if entry.refuses and needs.inside:
            self.problem(where, f"nothing is observed in a refused container: inside.{min(needs.inside)}")
        if entry.may_refuse and needs.all_inside:
            self.problem(where, "nothing is expected of a refusal: every expectation names inside")
        return Check(
            name=name,
            path=self.document.path,
            line=self.document.line(where),
            claim=entry.claim,
            expect=[
                Expectation(text, self.document.line((*where, "expect", index)))
                for index, text in enumerate(entry.expect)
            ],
            sabotages=sabotages,
            severity=entry.severity,
            why=entry.why,
            see=entry.see or [],
            also=entry.also or [],
            slow=entry.slow,
            container=container,
            twin=self.file.container if key else None,
            canaries=needs.canaries,
            inside=needs.inside,
            host=needs.host,
            host_after=needs.host_after,
            alone=entry.alone,
            may_refuse=entry.may_refuse,
            requires=entry.requires,
            provable=entry.provable,
            layers=layers,
            shapes=self.shapes(where, entry, own_shape),
        )

    def problem(self, where: Where, sentence: str) -> None:
        self.note([self.document.problem(where, sentence)])

    def note(self, problems: Iterable[str]) -> None:
        self.problems.update(dict.fromkeys(problems))

    def require_canary_kinds(self, where: Where, canaries: dict[str, str | dict[str, Any]]) -> None:
        if not canaries:
            return
        from harness.canaries import kinds  # only a scenario with canaries pays for it

        for name, canary in canaries.items():
            kind = canary if isinstance(canary, str) else canary.get("kind")
            if str(kind) not in kinds():
                hint = did_you_mean(str(kind), kinds())
                self.problem((*where, "canaries", name), f"unknown kind of canary {kind!r}{hint}")

    def shapes(self, where: Where, entry: CheckEntry, own_shape: bool) -> dict[str, list[Shape]]:
        """The shapes in which a check is made besides its own, with what they are made of."""
        if entry.shapes is not None:
            place = (*where, "shapes")
            names = entry.shapes
        else:
            place = ("shapes",)
            names = [] if own_shape else self.file.shapes
        return {name: self.layers((*place, index), name) for index, name in enumerate(names)}

    def layers(self, where: Where, name: str | None) -> list[Shape]:
        """The shapes of which a name is made, `docker-like + userns` of two."""
        found = [self.shape(where, part.strip()) for part in name.split("+")] if name else []
        return [shape for shape in found if shape]

    def shape(self, where: Where, name: str) -> Shape | None:
        if name not in self.loaded:
            self.loaded[name] = None
            known = shape_names(self.shape_folder)
            if name in known:
                try:
                    self.loaded[name] = load_shape(self.shape_folder / f"{name}.yaml")
                except ScenarioError as error:
                    self.note(str(error).splitlines())
            else:
                self.problem(where, f"unknown shape {name!r}{did_you_mean(name, known)}")
        return self.loaded[name]

    def require_probes(self, where: Where, observe: dict[str, Observe]) -> None:
        for name, entry in observe.items():
            if entry.probe not in probe_names(PROBES):
                hint = did_you_mean(entry.probe, probe_names(PROBES))
                self.problem((*where, "observe", name, "probe"), f"unknown probe {entry.probe!r}{hint}")
            if entry.during and entry.meanwhile:
                self.problem((*where, "observe", name), "`during` and `meanwhile` exclude each other")

    def require_knobs(self, where: Where, sabotages: list[str]) -> None:
        for index, knob in enumerate(sabotages):
            try:
                sabotage.check_name(knob)
            except ValueError as error:
                place = (*where, index)
                self.problem(place if place in self.document.positions else where, str(error))

    def require_use(self) -> None:
        for where in self.document.keys:
            match where:
                case ("observe", _) | ("checks", _, "observe", _) if where not in self.used:
                    self.problem(where, f"no expectation names {where[-1]!r}, so it would not be observed")


class _Needs:
    """Finds the observations that one check needs, from the names in its expressions."""

    def __init__(self, resolver: _Resolver, where: Where, entry: CheckEntry) -> None:
        self.resolver = resolver
        self.where = where
        self.observe = resolver.file.observe | entry.observe
        self.own = entry.observe
        self.canaries = {
            name: {"kind": canary} if isinstance(canary, str) else canary
            for name, canary in (resolver.file.canaries | entry.canaries).items()
        }
        self.inside: dict[str, dict[str, Any]] = {}
        self.host: dict[str, dict[str, Any]] = {}
        self.host_after: dict[str, dict[str, Any]] = {}
        self.all_inside = True  # whether every expression so far names inside

    def expression(self, where: Where, text: str) -> None:
        try:
            names = sorted(expression.names(text))
        except expression.ExpressionError as error:
            self.resolver.problem(where, str(error))
            return
        self.all_inside = self.all_inside and any(name.partition(".")[0] == "inside" for name in names)
        for name in names:
            root, first, *_ = [*name.split("."), ""]
            if root == "environment":
                self.resolver.problem(where, "environment stands in `requires` only")
            elif root not in expression.ROOTS:
                self.resolver.problem(where, f"unknown name {root!r}{did_you_mean(root, expression.ROOTS)}")
            elif root in ("inside", "host", "host_after", "canary") and not first:
                self.resolver.problem(where, f"{root} alone is no value; write {root}.NAME")
            elif root == "canary" and first not in self.canaries:
                self.resolver.problem(where, f"unknown canary {first!r}{did_you_mean(first, self.canaries)}")
            elif root in ("inside", "host", "host_after"):
                self.observation(where, root, first)

    def observation(self, where: Where, side: str, name: str) -> None:
        requests: dict[str, dict[str, Any]] = getattr(self, side)
        if name in requests or (side, name) == ("inside", "init"):  # init is always observed
            return
        if name in self.observe:
            entry = self.observe[name]
            place = (*self.where, "observe", name) if name in self.own else ("observe", name)
            self.resolver.used.add(place)
            self.require_canaries(place, entry.args)
            if entry.meanwhile and entry.meanwhile not in self.canaries:
                hint = did_you_mean(entry.meanwhile, self.canaries)
                self.resolver.problem((*place, "meanwhile"), f"unknown canary {entry.meanwhile!r}{hint}")
        elif name in probe_names(PROBES):
            entry = Observe(probe=name)
            place = where
        else:
            hint = did_you_mean(name, self.observe.keys() | probe_names(PROBES))
            self.resolver.problem(where, f"{side}.{name}: neither an observation nor a probe{hint}")
            return
        if entry.during and side != "host":
            self.resolver.problem(where, f"{name!r} is observed during another, on the host: host.{name}")
            return
        requests[name] = {"probe": entry.probe, "args": entry.args, "deadline": entry.deadline}
        if side == "inside":
            requests[name]["meanwhile"] = entry.meanwhile
        if side == "host":
            requests[name]["during"] = entry.during
        if entry.during:
            self.observation((*place, "during"), "inside", entry.during)

    def require_canaries(self, where: Where, values: Any) -> None:
        for name in _canaries_in(values):
            if name not in self.canaries:
                self.resolver.problem(where, f"unknown canary {name!r}{did_you_mean(name, self.canaries)}")


def _values(sabotages: list[str]) -> list[str]:
    """What stands behind the = of each knob."""
    return [part.partition("=")[2] for knob in sabotages for part in sabotage.parts(knob)]


def _canaries_in(values: Any) -> Iterator[str]:
    """The canaries that arguments or a config refer to, in strings such as `canary.bait.pid`."""
    if isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _canaries_in(value)
    elif isinstance(values, str) and (match := re.fullmatch(r"canary\.([^.\s]+)(\.[^.\s]+)*", values)):
        yield match[1]


def _command_problems(document: Document, where: Where, container: Container) -> Iterator[str]:
    """The mistake in a merge patch that leaves no place in process.args for what runs the probes."""
    match merged({"process": {"args": [COMMAND]}}, container.oci or {}):
        case {"process": {"args": [*arguments]}} if COMMAND in arguments:
            return
    place = (*where, "oci", "process", "args")
    while place not in document.positions:
        place = place[:-1]
    yield document.problem(place, f"process.args must hold {COMMAND}, which stands for what runs the probes")


def _environment_problems(
    document: Document, where: Where, requirements: dict[str, str], *besides: str
) -> Iterator[str]:
    """The mistakes in expressions over environment, each with the reason to give where it does not hold."""
    known = ("environment", *besides)
    for text in requirements:
        place = (*where, text)
        try:
            for name in expression.names(text):
                if name.split(".")[0] not in known:
                    asks = " and ".join(known)
                    yield document.problem(place, f"`{where[-1]}` asks of {asks} only, not of {name}")
        except expression.ExpressionError as error:
            yield document.problem(place, str(error))
