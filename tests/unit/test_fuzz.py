"""Differential testing with runtimes that are functions: what differs is found, shrunk, told apart and counted."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from harness import allowed, fuzz
from harness.allowed import Allowed
from harness.fuzz import Comparison, Found
from harness.outcomes import Group, Outcome
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
    return fuzz.search(configs(), comparing(**runtimes), EXAMPLES, SEED, lambda _text: None)


def comparing(**runtimes: Runtime) -> fuzz.Compare:
    def compare(config: Config) -> Comparison:
        return fuzz.comparison(config, {name: runtime(config) for name, runtime in runtimes.items()})

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


def test_the_same_seed_finds_the_same() -> None:
    first, again = (found(one=faithful, other=forgetful) for _ in range(2))
    assert first == again


def test_a_seed_gives_other_configs_than_another() -> None:
    def made(seed: int) -> list[Config]:
        seen: list[Config] = []

        def note(config: Config) -> bool:
            seen.append(config)
            return False

        fuzz.smallest(configs(), note, EXAMPLES, seed)
        return seen

    assert made(1) == made(1) != made(2)


def test_the_variable_ci_of_a_build_server_does_not_choose_the_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    import hypothesis

    here = found(one=faithful, other=forgetful)
    hypothesis.settings.load_profile("ci")
    try:
        assert found(one=faithful, other=forgetful) == here
    finally:
        hypothesis.settings.load_profile("dev")


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


@pytest.mark.parametrize("runs", [20, EXAMPLES + 3])
def test_sigint_ends_a_search_with_what_was_found_until_then(runs: int) -> None:
    """While examples are counted, and while one is shrunk: then with the shortest config that showed the difference."""
    compare = comparing(one=faithful, other=forgetful)
    made: list[Config] = []

    def interrupted(config: Config) -> Comparison:
        made.append(config)
        if len(made) == runs:
            raise KeyboardInterrupt
        return compare(config)

    result = fuzz.search(configs(), interrupted, EXAMPLES, SEED, lambda _text: None)
    assert result.interrupted
    assert result.examples == min(runs - 1, EXAMPLES)
    assert len(made) == runs
    for group, config in result.smallest.items():
        assert group in compare(config).differences
        shown = [one for one in made[:-1] if group in compare(one).differences]
        assert len(str(config)) == min(len(str(one)) for one in shown)
    assert set(result.smallest) == {Group("hostname", "other"), Group("process.user.umask", "other")}
