"""The JSON Schemas that lie beside this module, made from the classes that read the files.

`python -m harness.schemas` renews them: of the scenario language for editors, and of stored results for those who read
them by a program. The last part of the `$id` of those is the version of the format, as it stands in the files.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from harness import language, matrix, results

HERE = Path(__file__).parent
STORED: dict[str, tuple[type[msgspec.Struct], str, int]] = {  # class, and where it says the version of its format
    "isolation.schema.json": (results.Results, "format", results.FORMAT),
    "matrix.schema.json": (matrix.Matrix, "matrix", matrix.FORMAT),
}


def texts() -> dict[str, str]:
    """What stands in each file, by its name."""
    schemas = {
        "scenario.schema.json": language.schema(),
        "known.schema.json": language.schema(language.Known),
        **{name: stored(name) for name in STORED},
    }
    return {name: json.dumps(schema, indent=2) + "\n" for name, schema in schemas.items()}


def stored(name: str) -> dict[str, Any]:
    """The schema of stored results or of a stored matrix, with what the classes say of themselves as descriptions."""
    kind, key, version = STORED[name]
    (reference,), components = msgspec.json.schema_components([kind])
    for described in components.values():
        described["description"] = " ".join(described["description"].split())
    components[kind.__name__]["required"].append(key)  # without it a file could be of any version
    subject = name.partition(".")[0]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:isoproof:{subject}:{version}",
        "title": f"{subject}.json of isoproof, format {version}",
        **reference,
        "$defs": components,
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (HERE / name).write_text(text)
