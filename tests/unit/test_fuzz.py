"""Differential testing with runtimes that are functions: what differs is found, shrunk, told apart and counted."""

import contextlib
import copy
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from harness import allowed, cli, fuzz, reproduction, shapes
from harness.allowed import Allowed
from harness.fuzz import Comparison, Found, Runtimes, Search
from harness.language import Container, Differing, Known
from harness.outcomes import Difference, Group, Outcome
from harness.runtime.config import Config
from harness.shapes import default

SEED = 5
EXAMPLES = 60
Runtime = Callable[[Config], Outcome]


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Configs that have a name, a mask and variables."""
    config = default(0, 0)
    config["hostname"] = draw(st.text("abc", min_size=1, max_size=8))
    config["process"]["user"]["umask"] = draw(st.integers(0, 0o777))
    config["process"]["env"] += [f"{name}=1" for name in draw(st.lists(st.sampled_from("ABC"), max_size=3))]
    return config


def faithful(config: Config) -> Outcome:
    return Outcome("ran", seen=seen(config))


def seen(config: Config) -> dict[str, Any]:
    variables = {f"process.env[{at}]": text for at, text in enumerate(config["process"]["env"])}
    return {"hostname": config["hostname"], "process.user.umask": config["process"]["user"]["umask"], **variables}


def forgetful(config: Config) -> Outcome:
    """Drops a mask above 0o77, and of names all but the first four letters."""
    changed = copy.deepcopy(config)
    changed["hostname"] = config["hostname"][:4]
    if config["process"]["user"]["umask"] > 0o77:
        changed["process"]["user"]["umask"] = 0o22
    return Outcome("ran", seen=seen(changed))


def timid(config: Config) -> Outcome:
    """Refuses more than two variables, in words that are never the same."""
    if len(variables := config["process"]["env"]) > 2:
        return Outcome("refused", f"take '{variables[-1]}': it is one of {len(variables)} in /run/{len(variables)}/env")
    return faithful(config)


def found(**runtimes: Runtime) -> Found:
    return found_by(comparing(**runtimes))


def found_by(compare: fuzz.Compare, examples: int = EXAMPLES) -> Found:
    """What is counted, and shrunk until somebody interrupts it."""
    search = Search(configs(), compare, examples, SEED)
    result = search.count(lambda _group: None, lambda _text: None)
    for group in result.times:
        if not result.interrupted:
            search.shrink(group, result, lambda _text: None)
    return result


def comparing(**runtimes: Runtime) -> fuzz.Compare:
    def compare(config: Config) -> Comparison:
        return fuzz.comparison(config, {name: runtime(config) for name, runtime in runtimes.items()}, {})

    return compare


def test_runtimes_that_agree_show_nothing() -> None:
    result = found(one=faithful, other=faithful)
    assert (result.smallest, result.times, result.interrupted) == ({}, {}, False)
    assert result.examples == EXAMPLES
    assert result.how == {("one", "ran"): EXAMPLES, ("other", "ran"): EXAMPLES}


def test_each_difference_is_shrunk_by_itself() -> None:
    result = found(one=faithful, other=forgetful)
    name, mask = Group("hostname", "other"), Group("process.user.umask", "other")
    assert set(result.smallest) == {name, mask}
    simplest = default(0, 0) | {"hostname": "a"}
    simplest["process"]["user"]["umask"] = 0
    assert result.smallest[name] == simplest | {"hostname": "aaaaa"}
    simplest["process"]["user"]["umask"] = 0o100
    assert result.smallest[mask] == simplest
    assert 0 < result.times[name] < result.times[mask] <= EXAMPLES


@pytest.mark.parametrize("order", [("faithful", "forgetful"), ("forgetful", "faithful")])
def test_what_is_known_of_either_is_counted_and_does_not_hide_the_rest(order: tuple[str, str]) -> None:
    known = {"forgetful": Known(differs={"host*": Differing(reason="it has room for four letters")})}
    runtimes = {"faithful": faithful, "forgetful": forgetful}

    def compare(config: Config) -> Comparison:
        return fuzz.comparison(config, {name: runtimes[name](config) for name in order}, known)

    result = found_by(compare)
    assert [group.path for group in result.smallest] == ["process.user.umask"]
    (times,) = result.known.values()
    assert f"  {times} times known of forgetful: it has room for four letters" in fuzz.summary([], result)


def test_each_difference_is_announced_once_and_at_once() -> None:
    made: list[Config] = []
    announced: list[tuple[int, str]] = []

    def compare(config: Config) -> Comparison:
        made.append(config)
        return comparing(one=faithful, other=forgetful)(config)

    search = Search(configs(), compare, EXAMPLES, SEED)
    search.count(lambda group: announced.append((len(made), group.path)), lambda _text: None)
    first = {
        path: next(at for at, config in enumerate(made, 1) if Group(path, "other") in compare(config).differences)
        for path in ("hostname", "process.user.umask")
    }
    assert sorted(announced) == sorted((at, path) for path, at in first.items())


def test_what_is_announced_is_found_whatever_interrupts_it() -> None:
    def announce(_group: Group) -> None:
        raise KeyboardInterrupt

    result = Search(configs(), comparing(one=faithful, other=forgetful), EXAMPLES, SEED).count(
        announce, lambda _text: None
    )
    assert result.interrupted
    assert result.times
    assert result.smallest.keys() == result.times.keys()


def test_the_same_seed_finds_the_same() -> None:
    first, again = (found(one=faithful, other=forgetful) for _ in range(2))
    assert first == again


def test_a_seed_gives_other_configs_than_another() -> None:
    def made(seed: int) -> list[Config]:
        seen: list[Config] = []

        def note(config: Config) -> bool:
            seen.append(config)
            return False

        Search(configs(), comparing(), EXAMPLES, seed).smallest(note)
        return seen

    assert made(1) == made(1) != made(2)


def test_a_refusal_is_one_difference_whatever_its_words_are_about() -> None:
    result = found(one=faithful, other=timid)
    (group,) = result.smallest
    assert group == Group("start refused: take …: it is one of N in /…", "other")
    assert [text[-2:] for text in result.smallest[group]["process"]["env"][1:]] == ["=1", "=1"]
    assert {"A=1"} == set(result.smallest[group]["process"]["env"][1:])
    assert result.how["other", "refused"] == result.times[group]


def test_what_the_specification_allows_is_counted_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = Allowed(
        "process.user.umask", "config.md User", "a mask may be anything", lambda _config, shown: shown["other"] == 0o22
    )
    monkeypatch.setattr(allowed, "ALLOWED", (mask,))
    result = found(one=faithful, other=forgetful)
    assert set(result.smallest) == {Group("hostname", "other")}
    assert result.allowed[mask] > 0
    never = mask._replace(when=lambda _config, _shown: False)
    monkeypatch.setattr(allowed, "ALLOWED", (never,))
    result = found(one=faithful, other=forgetful)
    assert Group("process.user.umask", "other") in result.smallest
    assert not result.allowed


@pytest.mark.parametrize("runs", range(4, 24, 4))
def test_sigint_ends_a_search_with_what_was_found_until_then(runs: int) -> None:
    """While examples are counted, and while one is shrunk: then with the shortest config that showed the difference."""
    compare = comparing(one=faithful, other=forgetful)
    made: list[Config] = []

    def interrupted(config: Config) -> Comparison:
        made.append(config)
        if len(made) == runs:
            raise KeyboardInterrupt
        return compare(config)

    result = found_by(interrupted, examples=6)
    assert result.interrupted
    assert result.examples == min(runs - 1, 6)
    assert len(made) == runs
    assert Group("process.user.umask", "other") in result.smallest
    for group, config in result.smallest.items():
        shown = [one for one in made[:-1] if group in compare(one).differences]
        assert config in shown
        assert len(str(config)) == min(len(str(one)) for one in shown)


class Sandboxes:
    """Starts hosts on which every container runs, and writes down what they are asked for."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @contextlib.contextmanager
    def start(self) -> Iterator["Sandboxes"]:
        self.events.append("start")
        yield self
        self.events.append("end")

    def run(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        self.events.append(request["runtime"])
        start = {"ran": True, "status": 0}
        return {"start": start, "inside": {"init": {"facts": {}}}, "host": {}, "container": {}, "error": None}


@pytest.fixture
def sandboxes() -> Sandboxes:
    return Sandboxes()


def with_cable() -> Config:
    """A config that runtimes of runc's kind cannot be asked for."""
    config = default(0, 0)
    config["linux"]["veth"] = [{"name": "a", "hostName": "b"}]
    return config


def test_a_config_is_run_once_on_each_runtime_in_one_sandbox(sandboxes: Sandboxes) -> None:
    runtimes = Runtimes(["builtin", "runc"], sandboxes.start)
    first, again = runtimes.compare(default(0, 0)), runtimes.compare(default(0, 0))
    assert first is again
    runtimes.compare(default(0, 0) | {"hostname": "other"})
    runtimes.close()
    assert sandboxes.events == ["start", "builtin", "runc", "builtin", "runc", "end"]


def test_a_config_is_run_anew_in_a_sandbox_of_its_own(sandboxes: Sandboxes) -> None:
    runtimes = Runtimes(["builtin", "runc"], sandboxes.start)
    runtimes.compare(default(0, 0))
    assert list(runtimes.anew(default(0, 0))) == ["builtin", "runc"]
    assert list(runtimes.anew(with_cable())) == ["builtin"]
    runtimes.close()
    assert sandboxes.events == [
        "start",
        "builtin",
        "runc",
        "end",
        "start",
        "builtin",
        "runc",
        "end",
        "start",
        "builtin",
        "end",
    ]


def test_a_runtime_is_not_asked_for_what_it_has_no_terms_for(sandboxes: Sandboxes) -> None:
    runtimes = Runtimes(["builtin", "runc", "builtin:forked"], sandboxes.start)
    assert runtimes.compare(with_cable()).how == {"builtin": "ran", "runc": "not asked", "builtin:forked": "ran"}
    runtimes.close()
    assert sandboxes.events == ["start", "builtin", "builtin:forked", "end"]


@pytest.mark.parametrize(
    ("names", "comparable"),
    [
        (["builtin", "runc"], False),
        (["runc", "builtin"], False),
        (["builtin", "runc", "builtin:forked"], True),
        (["runc", "builtin", "builtin:forked"], False),
    ],
)
def test_a_comparison_takes_the_first_and_another(names: list[str], comparable: bool) -> None:
    assert Runtimes(names).comparable(with_cable()) is comparable
    assert Runtimes(names).comparable(default(0, 0))


def test_runtimes_that_cannot_be_compared_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for runtimes, complaint in (
        (["null"], "fuzz: it takes two runtimes that are not the same: --runtime A --runtime B"),
        (["null", "null"], "fuzz: it takes two runtimes that are not the same: --runtime A --runtime B"),
        (["null", "nul"], "unknown runtime 'nul'; known are "),
        (["null", "runc:/nowhere"], "runtime runc:/nowhere: no program at /nowhere"),
    ):
        assert cli.main(["fuzz", *(word for name in runtimes for word in ("--runtime", name))]) == 2
        told = capsys.readouterr()
        assert told.err.startswith(f"isoproof: {complaint}")
        assert told.err.count("\n") == 1
        assert told.out == ""


@pytest.mark.parametrize("words", [[], ["--runtime", "null", "--examples", "0"], ["--runtime", "null", "--seed", "x"]])
def test_wrong_words_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["fuzz", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_hypothesis_it_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "harness.strategies", raising=False)
    monkeypatch.setattr(fuzz, "_require", lambda _names: None)
    assert cli.main(["fuzz", "--runtime", "null", "--runtime", "builtin"]) == 2
    assert capsys.readouterr().err == "isoproof: fuzz: Hypothesis is not installed: pip install isoproof[fuzz]\n"


def test_the_seed_is_told_first_and_another_each_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def count(search: Search, *_: Any) -> Found:
        seeds.append(search.seed)
        return Found()

    monkeypatch.setattr(Search, "count", count)
    monkeypatch.setattr(fuzz, "_require", lambda _names: None)
    words = ["fuzz", "--runtime", "null", "--runtime", "builtin", "--examples", "7"]
    for more in ([], [], ["--seed", "12"]):
        assert cli.main([*words, *more]) == 0
        first = capsys.readouterr().out.splitlines()[0]
        assert first == f"seed {seeds[-1]}: isoproof {' '.join(words)} --seed {seeds[-1]}"
    assert seeds[0] != seeds[1]
    assert seeds[2] == 12


def test_what_was_found_is_told() -> None:
    group = Group("hostname", "other")
    config = shapes.config([Container()], os.geteuid(), os.getegid()) | {"hostname": "b"}
    config["process"]["umask"] = 1
    answers: dict[str, dict[str, Any]] = {"one": {}, "other": {}}
    shown = reproduction.Shown(group, Difference({"one": "b", "other": "\x1b"}, "b"), config, (answers, answers))
    files = reproduction.Files(Path("found/a"), Path("found/scenarios/a.yaml"))
    counted = Found(examples=9, times=Counter({group: 2}))
    told = list(fuzz.told(shown, counted, files))
    assert told[:5] == [
        "",
        "hostname on other: in 2 of 9 configs",
        "  asked  b",
        "  one    b",
        r"  other  \x1b  (not as asked)",
    ]
    assert told[5:7] == ['  config  hostname: "b"', "  config  process.umask: 1"]
    assert told[7:] == [
        "  it does not come each time",
        "  bundle  found/a",
        "  again   isoproof verify found/scenarios/a.yaml --runtime one --runtime other",
    ]


def test_groups_of_one_name_have_files_of_their_own() -> None:
    groups = [Group("a b", "one"), Group("a-b", "one"), Group("c", "one"), Group("a.b", "one")]
    assert list(fuzz._names(groups)) == ["a-b-one", "a-b-one-2", "c-one", "a-b-one-3"]
