"""The first section: how long each runtime takes from the request to the first instruction inside, and to the end."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.bench import contenders, leavings, orphans, others, own
from harness.bench.contenders import Contender, Place
from harness.bench.docker import Docker
from harness.bench.progress import Tell
from harness.bench.series import Contender as Told
from harness.bench.series import Section, Settings
from harness.bench.turns import Turns
from harness.errors import IsoproofError

NAME = "runtimes"
OURS = "builtin"
Maker = Callable[[Place], Contender]
# Our own runtime in all its ways, and what its command cannot do without.
OWN: tuple[Maker, ...] = (
    own.Builtin,
    own.Pooled,
    own.Forked,
    own.isoproof_run,
    own.isoproof_first_run,
    own.python,
)
CONTENDERS: tuple[Maker, ...] = (
    own.Floor,
    *OWN,
    own.PosixSpawn,
    others.unshare,
    others.bubblewrap,
    others.crun,
    others.crun_without_cgroups,
    others.runc,
    others.runsc,
    others.nspawn,
    others.lxc,
    others.podman,
    Docker,
)


@dataclass(frozen=True, slots=True)
class Contest:
    """All who were to take part, and the turns of those who can."""

    told: dict[str, Told]
    turns: Turns

    def section(self) -> Section:
        """Return what has been found."""
        starts = "How long does a start take, from the request to the first instruction inside and until all is gone?"
        return Section("Runtimes", starts, self.turns.series())


@contextlib.contextmanager
def contest(
    settings: Settings,
    tell: Tell,
    makers: Sequence[Maker] = CONTENDERS,
    title: str = NAME,
) -> Iterator[Contest]:
    """Have the contenders ready, and remove everything in the end.

    Our own runtime is the one that somebody else may time. The title is what is told meanwhile.
    """
    with leavings.undone() as stack:
        stack.enter_context(orphans.adopted())
        place = stack.enter_context(contenders.place())
        told: dict[str, Told] = {}
        present: dict[str, Contender] = {}
        for make in makers:
            contender = make(place)
            tell(f"{title}: making {contender.name} ready")
            absent = made_ready(contender, stack)
            version = "" if absent else contender.version()
            told[contender.name] = Told(contender.what, version, "" if absent else contender.command, absent)
            if not absent:
                present[contender.name] = contender
        starts = {name: contender.start for name, contender in present.items()}
        yield Contest(told, Turns(title, starts, settings, tell, OURS if OURS in present else None))


def made_ready(contender: Contender, stack: contextlib.ExitStack) -> str | None:
    """Have a contender ready until the stack is undone; return why that cannot be, or None."""
    try:
        if not (absent := contender.absent()):
            stack.enter_context(contender.ready())
    except (IsoproofError, OSError) as error:
        return str(error)
    return absent
