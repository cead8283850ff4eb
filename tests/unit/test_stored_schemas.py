"""The published schemas of the result list and of the matrix: they say what the reader says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from harness import matrix
from harness.errors import BadInput
from harness.results import Proof, Reach, from_json, to_json
from harness.schemas import HERE, STORED
from tests.unit.test_results import a_failure, a_result, some_results, some_timing

ROOT = Path(__file__).parents[2]


def validator(name: str) -> jsonschema.Draft202012Validator:
    described = json.loads((HERE / name).read_text())
    jsonschema.Draft202012Validator.check_schema(described)
    return jsonschema.Draft202012Validator(described)


def a_document() -> Any:
    failing = a_result(outcome="fail", failures=[a_failure()], proofs=[Proof("skip-ns=uts", "proven", "", 1.5)])
    results = some_results(failing, a_result("uts-b", answers=[("a", "1")], shape="userns", command="runc run"))
    results.timing = some_timing()
    results.reaches = [Reach("skip-ns=uts", ["uts-a"], red=["uts-a"])]
    return json.loads(to_json(results))


def test_what_a_run_writes_is_as_the_schema_says() -> None:
    validator("isolation.schema.json").validate(a_document())
    stored = matrix.to_json(matrix.of(from_json(json.dumps(a_document()))))
    validator("matrix.schema.json").validate(json.loads(stored))


def test_the_stored_matrix_is_as_the_schema_says() -> None:
    document = json.loads((ROOT / "reports" / "reference" / "matrix.json").read_text())
    for rows in document["areas"].values():  # all of them take some seconds
        for name in list(rows)[3:]:
            del rows[name]
    validator("matrix.schema.json").validate(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": "1"},
        {"milliseconds": -1},
        {"results": [{}]},
        {"more": 1},
        {"runtimes": [{"name": "runc"}]},
        {"catalogue": {"uts": {}}},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(changes: dict[str, Any]) -> None:
    document = {**a_document(), **changes}
    with pytest.raises(BadInput):
        from_json(json.dumps(document))
    assert not validator("isolation.schema.json").is_valid(document)


@pytest.mark.parametrize(
    "changes", [{"severity": "dire"}, {"line": 0}, {"outcome": "fine"}, {"milliseconds": -1.0}, {"proofs": [1]}]
)
def test_the_schema_refuses_a_result_that_the_reader_refuses(changes: dict[str, Any]) -> None:
    document = a_document()
    document["results"][0] |= changes
    with pytest.raises(BadInput):
        from_json(json.dumps(document))
    assert not validator("isolation.schema.json").is_valid(document)


@pytest.mark.parametrize("name", STORED)
def test_a_schema_names_the_version_and_demands_it(name: str) -> None:
    kind, key, version = STORED[name]
    described = json.loads((HERE / name).read_text())
    assert described["$id"].endswith(f":{version}")
    assert key in described["$defs"][kind.__name__]["required"]
    for field in msgspec.structs.fields(kind):
        assert field.encode_name in described["$defs"][kind.__name__]["properties"]
