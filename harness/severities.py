"""What a failure of each severity means; pytest's marks are made of it before anything else is imported."""

SEVERITIES = {
    "escape": "crosses the boundary, or removes a barrier that another check relies on",
    "leak": "tells about the host or a neighbour",
    "dos": "takes resources from others, or outlives its limit",
    "hygiene": "wrong, but not directly usable",
}
