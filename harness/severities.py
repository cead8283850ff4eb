"""What a failure of each severity means; who only needs the names imports nothing else for them."""

from typing import Literal

Severity = Literal["escape", "leak", "dos", "hygiene"]

SEVERITIES = {
    "escape": "crosses the boundary, or removes a barrier that another check relies on",
    "leak": "tells about the host or a neighbour",
    "dos": "takes resources from others, or outlives its limit",
    "hygiene": "wrong, but not directly usable",
}


def rank(severity: str) -> int:
    """The place of a severity among all, the worst first."""
    return [*SEVERITIES].index(severity)
