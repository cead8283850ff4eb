"""The result list itself, for machines; every other report can be rendered again from it.

`harness/isolation.schema.json` and `harness/matrix.schema.json` say what stands in the two files, as JSON Schemas made
from the classes themselves; `python -m harness.report.json` renews them. The last part of their `$id` is the version of
the format, as it stands in the files.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from harness import matrix as matrices
from harness import results as lists
from harness.matrix import Matrix
from harness.results import Results, to_json

FILE = "isolation.json"
MATRIX = "matrix.json"
HARNESS = Path(__file__).parents[1]
SCHEMAS: dict[str, tuple[type[msgspec.Struct], str, int]] = {  # class, and where it says the version of its format
    "isolation.schema.json": (Results, "format", lists.FORMAT),
    "matrix.schema.json": (Matrix, "matrix", matrices.FORMAT),
}


def render(results: Results) -> str:
    return to_json(results)


def render_matrix(matrix: Matrix) -> str:
    return matrices.to_json(matrix)


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of that name, with what the classes say of themselves as descriptions."""
    kind, key, version = SCHEMAS[name]
    (reference,), components = msgspec.json.schema_components([kind])
    for described in components.values():
        described["description"] = " ".join(described["description"].split())
    components[kind.__name__]["required"].append(key)  # without it a file could be of any version
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:isoproof:{name.partition('.')[0]}:{version}",
        "title": f"{name.partition('.')[0]}.json of isoproof, format {version}",
        **reference,
        "$defs": components,
    }


def schema_text(name: str) -> str:
    """The schema as it stands in its file."""
    return json.dumps(schema(name), indent=2) + "\n"


if __name__ == "__main__":
    for each in SCHEMAS:
        (HARNESS / each).write_text(schema_text(each))
