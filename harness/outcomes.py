"""What came of one config on one runtime, and in what the outcomes of several runtimes differ. Pure.

Differences are told apart by what they are about, the path of a field or how the start went, so that one which is
known does not hide the next.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from harness import agreement
from harness.results import one_line
from harness.runtime.config import Config
from harness.runtime.fields import KINDS

Answer = Mapping[str, Any]
Keys = tuple[str, ...]

UNSAID = "(the config does not say)"
END = "end"  # what is seen of the end of a container that ran, beside the fields
STARTS = "start"  # begins the path of what is about the start
ENDED = "status 0"
MAPS = [path.partition(".*")[0] for path in KINDS if ".*" in path]  # the names in them are the config's own
LONGEST_NAME = 60  # characters; more than one group may have the same then
NOTHING = "it has ended without a word"


class Outcome(NamedTuple):
    """What came of a config on a runtime: by field path what was seen inside where it ran, else its words.

    One that `failed` has neither run the container nor refused it: it has crashed, or hung and was killed. One that was
    not `asked` cannot be, for the backend knows what of the config it has no terms for.
    """

    how: Literal["ran", "refused", "failed", "not asked"]
    words: str = ""
    seen: Mapping[str, Any] = {}


class Group(NamedTuple):
    """Differences of one kind: the path of a field, or how the start went, and the runtime that stands apart."""

    path: str
    runtime: str

    @property
    def name(self) -> str:
        """The group as a name for a folder and a check."""
        words = re.sub("[^a-z0-9]+", "-", f"{self.path}-{self.runtime}".lower())
        return words.strip("-")[:LONGEST_NAME].rstrip("-")


class Difference(NamedTuple):
    """One difference: what each runtime that was asked shows, the first one first, and what the config asks for."""

    shown: dict[str, Any]
    asked: Any

    @property
    def deviating(self) -> list[str]:
        """The runtimes that do not show what the config asks for; none where it does not say."""
        return [] if self.asked == UNSAID else [name for name, value in self.shown.items() if value != self.asked]


def outcome(answer: Answer, config: Config) -> Outcome:
    """Return what came of a config, from the answer of the host role."""
    start = answer.get("start", {})
    if not start.get("ran"):
        unheard = answer.get("inside", {}).get("init", {}).get("error")
        words = _plain(start.get("message") or answer.get("error") or unheard or NOTHING)
        return Outcome("refused" if start.get("refused") else "failed", words)
    return Outcome("ran", seen={**agreement.seen(dict(answer), config), END: _end(answer)})


def _plain(message: str) -> str:
    """Return a message in one line, and of lines that are the entries of a log in JSON what they say."""
    said = []
    for line in message.splitlines():
        try:
            said.append(json.loads(line)["msg"])
        except (ValueError, LookupError, TypeError):
            said.append(line)
    return one_line(" ".join(map(str, said)))


def _end(answer: Answer) -> str:
    """Return how a container that ran has ended: what is amiss, or its status."""
    amiss = [answer["error"]] if answer.get("error") else []
    amiss += [f"{name}: {made['error']}" for name, made in answer["inside"].items() if "error" in made]
    if survivors := answer["container"].get("survivors"):
        amiss.append(f"processes left behind: {survivors}")
    return one_line("; ".join(amiss)) or f"status {answer['start']['status']}"


def differences(outcomes: Mapping[str, Outcome], asked: Mapping[str, Any]) -> dict[Group, Difference]:
    """Return in what the outcomes of runtimes differ from that of the first; `asked` is what the config asks for.

    A start that failed is one by itself, on whichever runtime; one that all have refused is none.
    """
    tried = {name: each for name, each in outcomes.items() if each.how != "not asked"}
    first = outcomes[next(iter(outcomes))]
    expected = {**asked, END: ENDED}
    found: dict[Group, Difference] = {}
    for name, each in tried.items():
        if each.how == "failed" or (each.how == "refused" and any(one.how != "refused" for one in tried.values())):
            starts = {other: one.words or one.how for other, one in tried.items()}
            found[Group(f"{STARTS} {each.how}: {_cause(each.words)}", name)] = Difference(starts, UNSAID)
        elif first.how == each.how == "ran":
            ran = {other: one.seen for other, one in tried.items() if one.how == "ran"}
            for path, keys in unlike(_told(first.seen), _told(each.seen)):
                shown = {other: _at(seen[path], keys) for other, seen in ran.items()}
                group = Group(kind(path, keys), name)
                found.setdefault(group, Difference(shown, _at(expected.get(path, UNSAID), keys)))
    return found


def _told(seen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what was seen, without what was not because the container has ended amiss: that is told by itself."""
    if seen.get(END, ENDED) == ENDED:
        return seen
    return {path: value for path, value in seen.items() if not str(value).startswith(agreement.UNSEEN)}


def unlike(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[tuple[str, Keys]]:
    """Yield what of the fields is seen otherwise on one side than on the other: the paths, and keys of their values."""
    for path, here, there in agreement.differences(dict(left), dict(right)):
        for keys in _unlike(here, there):
            yield path, keys


def _unlike(here: Any, there: Any) -> Iterator[Keys]:
    """Yield the keys of all that differs in two mappings of mappings, as deep as both have it.

    Behind those of lists stands whether the other has more in it, or less: one thing that is always there does not hide
    another that is missing.
    """
    if isinstance(here, list) and isinstance(there, list):
        more, less = (any(item not in other for item in one) for one, other in ((there, here), (here, there)))
        yield (
            {(True, True): "(others)", (True, False): "(more)", (False, True): "(less)"}.get((more, less), "(order)"),
        )
        return
    if not isinstance(here, dict) or not isinstance(there, dict):
        yield ()
        return
    for key in dict.fromkeys([*here, *there]):
        if _at(here, (key,)) != _at(there, (key,)):
            yield from ((key, *rest) for rest in _unlike(here.get(key), there.get(key)))


def _at(value: Any, keys: Keys) -> Any:
    """Return what stands under some keys, or the whole where that is no mapping."""
    for key in keys:
        if not isinstance(value, dict):
            return value
        value = value.get(key)
    return value


def kind(path: str, keys: Keys) -> str:
    """Return the name of what has a path and keys; what differs in one file differs in the next, so they are one."""
    return ".".join([path, *("*" if "/" in key else key for key in keys)])


def _cause(words: str) -> str:
    """Return a runtime's words without what is different in each config: what is quoted, names, paths and numbers."""
    for field in MAPS:
        words = re.sub(rf"{re.escape(field)}\.[^\s:]+", f"{field}.*", words)
    words = re.sub(r"""\\?"[^"]*"|'[^']*'|`[^`]*`""", "…", words)
    words = re.sub(r"(?<![\w.])/[\w./-]*", "/…", words)
    return re.sub(r"-?\d+(\.\d+)*", "N", words)
