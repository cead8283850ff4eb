"""What the tests of engines share: containers that are really run by one, in an outer sandbox."""

import os
import time
from typing import Any

from harness import outer, shapes
from harness.backends._command import LATE
from harness.language import Container
from harness.launches import config
from tests.kernel.sandboxed import leftovers

Answer = dict[str, Any]
NAMES = {"hostname": {"probe": "identity", "args": {}, "deadline": 10.0}}
BUSY = {"burn": {"probe": "burn", "args": {"seconds": 50}, "deadline": 60.0}}
ABSENT = {"destination": "/tmp", "type": "bind", "source": "/nowhere", "options": ["bind"]}
SETTLED = 5.0  # seconds that a daemon may take to end what it had for a container


def ask(sandbox: outer.Outer, runtime: str, deadline: float = 30.0, inside: Answer = NAMES, **patch: Any) -> Answer:
    """Have a container run, under probes, with a part of its config replaced."""
    init = {"init": {"probe": "init", "args": {}, "deadline": 10.0}}
    wanted = config(Container(hostname="an-engine", oci=patch or None))
    return sandbox.run({"runtime": runtime, "config": wanted, "inside": init | inside}, deadline)


def check_runs(sandbox: outer.Outer, runtime: str, program: str) -> None:
    """A container runs and is told of; one is refused; one that does not end is ended; and nothing of them is left."""
    answer = ask(sandbox, runtime)
    assert answer["start"]["ran"], answer["start"]
    assert (answer["start"]["status"], answer["start"]["refused"]) == (0, False)
    assert program in map(os.path.basename, answer["start"]["command"])
    assert answer["inside"]["hostname"]["facts"]["hostname"] == "an-engine"
    before = leftovers(sandbox)

    refused = ask(sandbox, runtime, mounts=[*shapes.config([Container()], 0, 0)["mounts"], ABSENT])
    assert refused["start"]["refused"], refused["start"]
    assert "/nowhere" in refused["start"]["message"]

    begun = time.monotonic()
    late = ask(sandbox, runtime, deadline=4.0, inside=BUSY)
    assert time.monotonic() - begun < 4.0 + outer.GRACE
    assert late["start"]["status"] == LATE, late["start"]
    assert late["container"]["survivors"] == 0

    end = time.monotonic() + SETTLED
    while (after := leftovers(sandbox)) != before and time.monotonic() < end:
        time.sleep(0.1)
    assert after == before
