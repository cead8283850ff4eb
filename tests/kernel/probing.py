"""Probes that are run in the test's own process, or in a throwaway, instead of in a container."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

runner = importlib.import_module("probes.__main__")
for source in Path(runner.HERE).glob("[a-z]*.py"):
    runner.load(source.stem)  # now, because in a root of its own a test does not find them any more


def observe(probe: str, meanwhile: Callable[[], object] = lambda: None, **arguments: object) -> dict[str, Any]:
    """What a probe reports; `meanwhile` is what happens at its handshake, which is answered with its own question."""
    observed = runner.load(probe).observe(**arguments)
    if isinstance(observed, dict):
        return observed
    ready = next(observed)
    meanwhile()
    with pytest.raises(StopIteration) as end:
        observed.send(ready)
    return dict(end.value.value)
