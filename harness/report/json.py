"""The result list itself, for machines; every other report can be rendered again from it."""

from harness import matrix as matrices
from harness.matrix import Matrix
from harness.results import Results, to_json

FILE = "isolation.json"
MATRIX = "matrix.json"


def render(results: Results) -> str:
    return to_json(results)


def render_matrix(matrix: Matrix) -> str:
    return matrices.to_json(matrix)
