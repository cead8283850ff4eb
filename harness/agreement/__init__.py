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

UNSEEN = "not seen"  # begins what stands in the place of what was not seen
DEADLINE = 10.0  # seconds that a probe gets
CLAIMS: tuple[Claim, ...] = (*process.CLAIMS, *mounts.CLAIMS, *linux.CLAIMS, *resources.CLAIMS)

# Fields, or sections of them, of which nothing is claimed here, each with the reason.
UNJUDGED = {
    "ociVersion": "it is about the config, and asks for nothing",
    "root.path": "the host role chooses it, and there is nothing in it to be known by",
    "process.args[]": "they have the probes run: that one reports with the nonce of the run is the proof",
    "process.capabilities.effective[]": "execve(2) works it out from the other sets",
    "process.scheduler.priority": "of realtime, which no cgroup here has time for: RT_GROUP_SCHED",
    "process.scheduler.flags[]": "RESET_ON_FORK is gone in a probe, which is forked; the others are about realtime",
    "process.scheduler.runtime": "of realtime",
    "process.scheduler.deadline": "of realtime",
    "process.scheduler.period": "of realtime",
    "process.execCPUAffinity": "it is about an exec, and there is none yet",
    "process.apparmorProfile": "it takes a kernel with AppArmor; tests/unit/test_labels.py",
    "process.selinuxLabel": "it takes a kernel with SELinux; tests/unit/test_labels.py",
    "process.landlock": "only use tells what a domain denies: tests/kernel/test_landlock.py",
    "mounts[].uidMappings[].size": "what is bound belongs to root alone",
    "mounts[].gidMappings[].size": "what is bound belongs to root alone",
    "linux.namespaces[].path": "whatever is joined is claimed to be the launcher's",
    "linux.personality.flags[]": "there are none yet",
    "linux.netDevices": "the sandbox has no interface to lend: tests/kernel/test_netdevices.py",
    "linux.veth[].gateway": "a route is judged by where it leads: tests/kernel/test_network.py",
    "linux.veth[].hostName": "it is seen on the host: tests/kernel/test_network.py",
    "linux.veth[].hostAddress": "it is seen on the host: tests/kernel/test_network.py",
    "linux.resources.devices": "tests/property/test_devicefilter.py holds what is written to what the rules say",
    "linux.resources.memory.checkBeforeUpdate": "it is about updates",
    "linux.resources.memory.useHierarchy": "there is no other way any more",
    "linux.resources.blockIO.weight": "it takes the BFQ scheduler",
    "linux.resources.blockIO.weightDevice": "it takes the BFQ scheduler",
    "linux.resources.hugepageLimits": "it takes the controller hugetlb",
    "linux.resources.network": "it takes the controllers net_cls and net_prio",
    "linux.resources.rdma": "it takes the controller rdma",
    "linux.seccomp": "that there is a filter is claimed, what it lets through is not: tests/property/test_seccomp.py",
    "hooks": "one that fails has the start refused; that they were run is seen on the host: tests/kernel/test_hooks.py",
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
    return _whole(
        {**mounts.host_observations(config), **linux.host_observations(config), **resources.host_observations(config)}
    )


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
            values[claim.path] = f"{UNSEEN}: {told.get(error.args[0], {}).get('error', error)}"
        except (IndexError, TypeError, AttributeError, StopIteration) as error:  # hostile facts may be of any form
            values[claim.path] = f"{UNSEEN}: the facts are of another form: {error}"
    return values


def differences(left: Facts, right: Facts) -> Differences:
    """Return what is different in the fields that both sides have."""
    return [(path, left[path], right[path]) for path in left if path in right and left[path] != right[path]]
