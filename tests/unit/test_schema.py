"""The schema of scenario files, for editors: it says what the loader says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness import yamlfile
from harness.language import schema
from tests.unit.test_scenario import mistakes

ROOT = Path(__file__).parents[2]


def test_schema_knows_every_key_and_says_what_it_is() -> None:
    for name, definition in schema()["$defs"].items():
        assert definition["additionalProperties"] is False
        assert definition["description"]
        for key, field in definition["properties"].items():
            assert field["description"], f"{name}.{key}"
            assert '"null"' not in json.dumps(field), f"{name}.{key}"


def plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(item) for item in tree] if isinstance(tree, list) else yamlfile.core(tree)


def test_schema_agrees_with_the_scenarios_that_there_are() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    files = sorted((ROOT / "scenarios").glob("*.yaml"))
    assert files
    for path in files:
        validator.validate(plain(yamlfile.read(path).tree))


@pytest.mark.parametrize(
    "text",
    [
        "title: t\nchecks: {}\n",
        "title: t\nchecks: {a: {claim: c}}\n",
        "title: t\nzzz: 1\nchecks: {a: {claim: c, severity: leak, sabotage: x, expect: [x]}}\n",
        "title: t\nchecks: {a: {claim: c, severity: bad, sabotage: x, expect: [x]}}\n",
        "title: t\nchecks: {a: {claim: c, severity: leak, sabotage: x, expect: []}}\n",
        "title: t\nchecks: {a: {claim: c, severity: leak, sabotage: x, expect: [x], alone: 3}}\n",
        "title: t\nchecks: {A: {claim: c, severity: leak, sabotage: x, expect: [x]}}\n",
    ],
)
def test_schema_refuses_what_the_loader_refuses(file: Path, text: str) -> None:
    assert mistakes(file, text)
    assert not jsonschema.Draft202012Validator(schema()).is_valid(plain(yamlfile.parse(text, "a.yaml").tree))
