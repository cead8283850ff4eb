"""The result list itself, for machines; every other report can be rendered again from it."""

from harness.results import Results, to_json

FILE = "isolation.json"


def render(results: Results) -> str:
    return to_json(results)
