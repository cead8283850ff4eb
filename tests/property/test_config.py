"""Whatever a config says, it is taken or refused with one line about a field of it; nothing else ever comes out."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.runtime.config import read, read_file
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.plan import explain, plan
from harness.runtime.step import Hierarchy, Host
from harness.strategies import any_configs, wrong_configs

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
HOST = Host(
    "isoproof-1",
    "/r",
    kernel=(6, 18),
    addresses={"name": ("10.0.0.1/8",)},
    hierarchies=(Hierarchy("/c", 2, frozenset("memory pids cpu cpuset io hugetlb rdma".split()), "/c/me", "/c/me"),),
)


def assert_one_line(line: str) -> None:
    assert line.isprintable()


def assert_it_names_a_field_of(config: dict[str, Any], line: str) -> None:
    """The message is one line, and the path in it leads into the config."""
    assert_one_line(line)
    assert line.startswith("config.json: ")
    words = line.removeprefix("config.json: ").partition(": ")[0].replace("[", ".").replace("]", "").split(".")
    here: Any = config
    for word in words[:-1]:  # the last word may be the very one that is missing
        here = here[int(word) if isinstance(here, list) else word]
    assert words[-1] in here or words[-1].isdigit() or "missing" in line or "needs" in line, line


@given(any_configs() | wrong_configs())
def test_a_config_is_taken_or_refused_by_name(wanted: dict[str, Any]) -> None:
    before = copy.deepcopy(wanted)
    try:
        config = read(wanted)
        assert read(config, strict=not config.get("process", {}).get("capabilities", {}).get("ambient")) == config
        assert explain(plan(config, HOST))
    except ConfigError as error:
        assert_it_names_a_field_of(before, str(error))
    except StartError as error:
        assert_one_line(str(error))


@given(wrong_configs())
def test_a_wrong_value_is_refused_whatever_stands_beside_it(wanted: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        read(wanted)


@given(JSON)
def test_of_random_json_comes_nothing_but_a_config_error(value: object) -> None:
    for strict in (False, True):
        with pytest.raises(ConfigError) as caught:
            read(value, strict)
        assert all(line.isprintable() for line in str(caught.value).split("\n"))


@given(
    st.binary(max_size=40)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([b"[" * 10**5, b'{"a":' * 10**5, b"1" * 10**4, b"\xff\xfe[\0"])
)
def test_of_random_bytes_comes_nothing_but_a_config_error(tmp_path_factory: Any, data: bytes) -> None:
    path: Path = tmp_path_factory.mktemp("bundle") / "config.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_file(path)
    assert str(caught.value).isprintable()
