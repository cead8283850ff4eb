"""What the rest of a random config depends on: its namespaces, and which ids there are inside."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from harness.runtime.config import Config
from harness.runtime.fields import CAPABILITIES, NAMESPACES
from harness.runtime.spec import NAMESPACES as USUAL
from harness.shapes import FIRST_ID, IDS
from harness.strategies.values import Strategy

LAST_ID = 2**32 - 2
TTY = 5  # the group of terminals, which the devpts of the default config names


@dataclass(frozen=True)
class World:
    """The namespaces of a config, its own ones and those of the launcher's that it joins by path, and its id maps.

    An extent is the first id inside, the first id outside, and how many; without a user namespace there are none.
    """

    own: frozenset[str]
    joined: frozenset[str]
    extents: tuple[tuple[int, int, int], ...]

    @property
    def mapped(self) -> bool:
        """Whether root inside is nobody outside, and so may do nothing that takes a right over the machine."""
        return "user" in self.own

    def ids(self) -> Strategy:
        """Return the ids that there are inside, root the simplest."""
        if not self.mapped:
            return st.integers(0, LAST_ID)
        return st.integers(0, sum(size for _first, _outside, size in self.extents) - 1).map(self._mapped)

    def _mapped(self, number: int) -> int:
        """Return an id by its number among those that are mapped: so it shrinks as one does where none are."""
        for first, _outside, size in self.extents:
            if number < size:
                return first + number
            number -= size
        raise ValueError(number)

    def mappings(self) -> list[Config]:
        """Return the id maps as a config has them, those of users and of groups alike."""
        return [dict(zip(("containerID", "hostID", "size"), extent, strict=True)) for extent in self.extents]

    def namespaces(self) -> list[Config]:
        """Return the namespaces as a config has them, the usual ones in their usual order."""
        files = {"network": "net"}
        own = sorted(self.own, key=[*USUAL, *NAMESPACES].index)
        joined = [{"type": name, "path": f"/proc/self/ns/{files.get(name, name)}"} for name in sorted(self.joined)]
        return [{"type": name} for name in own] + joined


Rule = Callable[[World], Strategy]


@st.composite
def _worlds(draw: st.DrawFn) -> World:
    """Draw namespaces: of the usual ones most, each of the others seldom; some of those left out are joined instead.

    Each is a choice by itself, so that it shrinks by itself.
    """
    how = {name: draw(HOW) for name in USUAL if name != "mount"}
    more = {name for name in NAMESPACES if name not in USUAL and draw(WHETHER)}
    own = {"mount", *(name for name, said in how.items() if said == "own"), *more}
    joined = {name for name, said in how.items() if said == "joined"}
    extents = draw(EXTENTS) if "user" in own else ()
    return World(frozenset(own), frozenset(joined), extents)


@st.composite
def _extents(draw: st.DrawFn) -> tuple[tuple[int, int, int], ...]:
    """Draw maps of ids that do not overlap, the first with root and the group of terminals; outside they are nobody's.

    Root has to be mapped where a namespace is to take orders from it, as those of sysctl(8).
    """
    found = []
    inside, outside = 0, FIRST_ID
    for size, gap, other in draw(SIZES):
        found.append((inside, outside, size))
        inside, outside = inside + size + gap, outside + size + other
    return tuple(found)


HOW = st.sampled_from(["own", "own", "own", "own", "left out", "joined"])
WHETHER = st.sampled_from([False, False, True])
GAPS = st.integers(0, 1000)
SIZES = st.lists(st.tuples(st.integers(TTY + 1, IDS), GAPS, GAPS), min_size=1, max_size=3)
EXTENTS = _extents()
WORLDS = _worlds()


@functools.cache
def held() -> tuple[str, ...]:
    """Return the capabilities of whoever runs this: outside a user namespace nobody can be given others."""
    mask = int(Path("/proc/self/status").read_text().partition("CapPrm:")[2].split()[0], 16)
    return tuple(name for number, name in enumerate(CAPABILITIES) if mask >> number & 1)
