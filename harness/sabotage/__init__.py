"""The knobs that break one isolation each, to prove that the check which guards it can go red.

A knob is a function in one of two packages, in a module for its subject: those of `in_config` change what the runtime
is asked for and work on every OCI runtime, those of `in_plan` change how our runtime does it. The function's name is
the knob's, with `_` for `-`; what stands behind `=` is its second argument. `a + b` turns two knobs at once. Everything
that a knob does not name stays as it is.
"""

import copy
import difflib
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType

from harness.runtime.config import Config
from harness.runtime.step import Plan
from harness.sabotage import in_config, in_plan


class Unfit(Exception):
    """A knob finds nothing to break in a container: what it is about is not there."""


def check_name(knob: str) -> None:
    """Raise ValueError, with a sentence, where a knob or a part of a composite is none."""
    for part in parts(knob):
        name, _, argument = part.partition("=")
        try:
            _module, function, _arguments = _find(part)
        except KeyError:
            known = [other.replace("_", "-") for module in (in_config, in_plan) for other in _knobs(module)]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown sabotage {part!r}{hint}") from None
        wants = function.__code__.co_argcount == 2
        if function.__name__ == name.replace("-", "_") and wants != bool(argument):
            raise ValueError(f"the sabotage {name!r} {'needs a value behind =' if wants else 'takes no value'}")


def parts(knob: str) -> list[str]:
    """Return the single knobs of a composite."""
    return [part.strip() for part in knob.split(" + ")]


def purpose(knob: str) -> str:
    """Return what a knob does, in the words of its docstring's first line; of a composite, one after the other."""
    return " ".join((_find(part)[1].__doc__ or "").partition("\n")[0] for part in parts(knob))


def applies_to(knob: str, runtime: str) -> str | None:
    """Return why a knob cannot be turned on a runtime, or None where it can."""
    for part in parts(knob):
        if _find(part)[0] is in_plan and runtime.partition(":")[0] != "builtin":
            return f"the sabotage {part} changes the plan, which only builtin has"
    return None


def fits(knob: str, config: Config) -> bool:
    """Return whether a knob may find something to break, as far as a config shows it: not the plan, and not a file."""
    try:
        changed = sabotaged_config([knob], config) != config
    except Unfit as unfit:
        return isinstance(unfit.__cause__, FileNotFoundError)
    return changed or any(_find(part)[0] is in_plan for part in parts(knob))


def sabotaged_config(knobs: list[str], config: Config) -> Config:
    """Return a copy of a config with the knobs of its level turned. Raises Unfit."""
    config = copy.deepcopy(config)
    for part, module, function, arguments in _found(knobs):
        if module is in_config:
            with _fitting(part):
                function(config, *arguments)
    return config


def sabotaged_plan(knobs: list[str], plan: Plan) -> Plan:
    """Return a plan with the knobs of its level turned. Raises Unfit."""
    for part, module, function, arguments in _found(knobs):
        if module is in_plan:
            with _fitting(part):
                plan = function(plan, *arguments)
    return plan


@contextmanager
def _fitting(part: str) -> Iterator[None]:
    """Take it for Unfit that a knob does not find what it looks for."""
    try:
        yield
    except (LookupError, ValueError, StopIteration, FileNotFoundError) as error:
        raise Unfit(f"the sabotage {part} does not fit this container: {type(error).__name__}: {error}") from error


def _found(knobs: list[str]) -> list[tuple[str, ModuleType, FunctionType, list[str]]]:
    return [(part, *_find(part)) for knob in knobs for part in parts(knob)]


def _find(part: str) -> tuple[ModuleType, FunctionType, list[str]]:
    """Return the knob's module, function and arguments; a value may have a function of its own (`skip_ns_mnt`)."""
    name, _, argument = part.partition("=")
    for spelled, arguments in ((part.replace("=", "-"), []), (name, [argument] if argument else [])):
        for module in (in_config, in_plan):
            function = _knobs(module).get(spelled.replace("-", "_"))
            if function:
                return module, function, arguments
    raise KeyError(part)


@functools.cache
def _knobs(package: ModuleType) -> dict[str, FunctionType]:
    """Return the knobs of a level by the names of their functions."""
    return {
        name: member
        for module in package.MODULES
        for name, member in vars(module).items()
        if isinstance(member, FunctionType) and member.__module__ == module.__name__ and not name.startswith("_")
    }
