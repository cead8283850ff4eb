"""What a config asks for, and what is seen of it inside: the same fields in the same form, to be compared.

For every field of the table there is a claim, in the module of its subject, or a reason why there is none (`UNJUDGED`).
`request` is what the host role is asked for, `asked` says what must be seen, and `seen` reads what was. Two runtimes
can be compared by what is `seen` of one config on each. Pure: nothing is run, and nothing is asked of the machine.
"""

from typing import Any

from harness.agreement import linux, mounts, process, resources
from harness.agreement.claim import NOTHING, Claim, Facts
from harness.runtime.config import Config

Differences = list[tuple[str, Any, Any]]

DEADLINE = 10.0  # seconds that a probe gets
CLAIMS: tuple[Claim, ...] = (*process.CLAIMS, *mounts.CLAIMS, *linux.CLAIMS, *resources.CLAIMS)

# Fields, or sections of them, of which nothing is claimed here, each with the reason.
UNJUDGED = {
    "ociVersion": "it is about the config, and asks for nothing",
    "root.path": "the host role chooses it, and what is in it is the probes' kit alone",
    "process.args[]": "that a probe reports with the nonce of the run is the proof",
}


def observations(config: Config) -> dict[str, Facts]:
    """Return the observations that are to be made inside, by their names, as the host role takes them."""
    return _whole(
        {
            **process.observations(config),
            **mounts.observations(config),
            **linux.observations(config),
            **resources.observations(config),
        }
    )


def host_observations(config: Config) -> dict[str, Facts]:
    """Return those that are to be made on the host, before the start and meanwhile."""
    return _whole({**linux.host_observations(config), **resources.host_observations(config)})


def _whole(wanted: Facts) -> dict[str, Facts]:
    return {name: {"probe": name, "args": {}, "deadline": DEADLINE} | entry for name, entry in wanted.items()}


def request(runtime: str, config: Config) -> Facts:
    """Return the request to the host role for a run in which all is seen that a config asks for."""
    inside, host = observations(config), host_observations(config)
    return {"runtime": runtime, "config": config, "inside": inside, "host": host}


def asked(config: Config) -> Facts:
    """Return what must be seen inside, by the paths of the fields."""
    values = {claim.path: claim.asked(config) for claim in CLAIMS}
    return {path: value for path, value in values.items() if value is not NOTHING}


def seen(answer: Facts, config: Config) -> Facts:
    """Return what was seen inside, by the paths of the fields, from an answer of the host role to `request`.

    In the place of what was not seen stands why: the words of the probe that should have seen it.
    """
    told = {**answer["inside"], **{f"host.{name}": found for name, found in answer["host"].items()}}
    facts = {name: found["facts"] for name, found in told.items() if "facts" in found}
    values: Facts = {}
    for claim in CLAIMS:
        try:
            values[claim.path] = claim.seen(facts, config)
        except KeyError as error:
            values[claim.path] = f"not seen: {told.get(error.args[0], {}).get('error', error)}"
        except (IndexError, TypeError, AttributeError, StopIteration) as error:  # hostile facts may be of any form
            values[claim.path] = f"not seen: the facts are of another form: {error}"
    return values


def differences(left: Facts, right: Facts) -> Differences:
    """Return what is different in the fields that both sides have."""
    return [(path, left[path], right[path]) for path in left if path in right and left[path] != right[path]]
