"""What a container is: the story, top to bottom.

A process like any other, born into namespaces of its own, that makes itself a world before it becomes the program. Each
line below is one step; the order is the whole art, so each says why it stands where it stands. The steps themselves are
in the modules named for their subject. `plan` is pure: it asks the kernel nothing and does nothing.
"""

from collections.abc import Mapping
from functools import partial

from harness.runtime import (
    attributes,
    cgroup,
    devices,
    executable,
    hooks,
    idmap,
    labels,
    landlock,
    mounts,
    mountsources,
    namespaces,
    netdevices,
    network,
    privileges,
    rendezvous,
    seccomp,
    supervise,
    sysctl,
    terminal,
)
from harness.runtime.config import Config
from harness.runtime.errors import written_out
from harness.runtime.step import Host, Plan, Step


def plan(config: Config, host: Host) -> Plan:
    """Compile a config that has been read (`config.read`) to the plan of its start on this host.

    Raises ConfigError where fields that are right by themselves do not fit together, StartError where this host lacks
    what the config asks for.
    """
    mounts.check(config, host)
    idmap.check(config)
    namespaces.check(config, host)
    terminal.check(config)
    network.check(config, host)
    netdevices.check(config, host)
    between = [
        *attributes.reset_priority(config, host),
        *privileges.set_oom_score_from_outside(config, host),
        *idmap.write_maps(config, host),
        *network.lay_cables(config),
        *netdevices.lend(config, host),
    ]
    landlock.check(config, host)
    labels.check(config, host)
    steps = [
        privileges.die_with_launcher(),  # before the first wait, which might be for nobody
        *([rendezvous.wait()] if between else []),  # before the rest: without id maps the child may do nothing
        attributes.reset_memory(config),  # before the change of ids, which may take its own files in /proc away from it
        *cgroup.join(config, host),  # as early as can be, so that the start itself is already counted and limited
        *namespaces.enter_cgroup_namespace(config),  # after the join, or its root would be the launcher's cgroup
        privileges.new_session(),  # before anything of the container runs in the launcher's session
        privileges.reset_signals(),
        attributes.reset_scheduling(),  # after the join, so that the CPUs are all those of the container's cpuset
        *attributes.set_memory_policy(config),  # likewise, so that the nodes are those of its cpuset
        attributes.set_personality(config),  # like all that is inherited: before anything can make use of it
        *privileges.set_oom_score(config, host),  # while /proc is still the host's, hence surely a real one
        *namespaces.set_time_offsets(config),  # likewise
        *idmap.become_root(config),  # not before the files of the host's, which the new ids may not open any more
        *sysctl.write(config, host),  # likewise; the namespaces that own the parameters are there already
        *labels.ask(config),  # while a full /proc is in sight, without which a user namespace may make none of its own
        *namespaces.set_names(config),
        *network.raise_loopback(config),
        *network.connect(config),
        *netdevices.set_up(config, host),
        mounts.open_root(config, host),  # while the host's tree is in sight, and its peer groups still mean something
        *mountsources.open_sources(config, host),
        *devices.open_nodes(config),
        *devices.open_null(config),  # likewise, for masks: no null device of the image's is to be trusted
        mounts.stop_propagation(),  # before the first mount is attached, or the host would get it too
        *mounts.switch_root(hooks.early(config)),  # from here on no path and no symlink leads to the host
        privileges.clear_umask(),  # before the first directory or device node is made
        *mounts.attach(config, host),  # in the order of the config, as the runtime-spec demands
        *devices.make(config),  # on the /dev that has just been mounted
        *terminal.make(config),  # likewise, and while the descriptor of that /dev is there
        *hooks.before_pivot(config, host),  # when the container's world is made and before the host's is gone from it
        *(mounts.leave_host() if hooks.early(config) else []),  # before anything is masked that they may want to see
        *devices.enter(config),  # after all mounts, for none may cover it; the masks are made of the null device there
        *mounts.protect(config),  # after /proc and /sys are there, before anybody can use them
        *mounts.lock_root(config),  # last of the mounts, because places for them had to be made in the root
        *privileges.set_rlimits(config),  # while hard limits may still be raised
        *attributes.set_io_priority(config),  # this late, so that the start itself does not run at it
        *attributes.set_scheduler(config),  # likewise, while CAP_SYS_NICE is still there
        *privileges.drop_bounding(config, host),  # while CAP_SETPCAP is still there
        attributes.join_session_keyring(config),  # before the config's own filter, which may well deny it
        *landlock.restrict(config),  # while CAP_SYS_ADMIN is there to do without no_new_privs; only the program is left
        *seccomp.install_with_privilege(config, host),  # likewise
        privileges.become_user(config, host),
        privileges.set_capabilities(config),  # after the change of ids, which clears them
        *privileges.forbid_new_privileges(config),
        privileges.still_die_with_launcher(),  # after the change of ids, which has cleared it
        privileges.close_descriptors(),  # after everything that needed one, before the working directory is entered
        privileges.enter_directory(config),  # with the rights of the user
        executable.refuse_links(config),  # relative to that directory, while the config's filter may not deny it yet
        *hooks.hide(config),  # likewise; hooks have its rights by now, and could trace it
        *seccomp.install_unprivileged(config, host),  # so late that the profile need allow nothing but what is left
        *hooks.before_program(config, host),  # when they can do nothing that the program could not
        privileges.execute(config),
    ]
    return Plan(
        before=(*cgroup.make(config, host), *mountsources.open_idmapped(config, host)),
        enter=tuple(namespaces.enter(config, host)),
        flags=namespaces.clone_flags(config),
        into=cgroup.born_into(config, host),
        between=tuple(between),
        steps=tuple(steps),
        after=tuple(hooks.after_start(config, host)),
        relay=not terminal.wanted(config),  # or two would read the input: what is in front of the terminal does, too
        shim=partial(supervise.shim, terminal.wanted(config)) if supervise.shim_wanted(config) else None,
    )


Times = Mapping[str, float]
"""How many microseconds a step takes, under its name, and the clone under CLONE."""

CLONE = "clone"


def parts(plan: Plan) -> list[tuple[str, tuple[Step, ...]]]:
    """Return the steps of a plan by who makes them and when, each part with that as its title."""
    into = f", into the cgroup {plan.into}" if plan.into else ""
    shim = "; the first process stays behind to reap, the program is its child" if plan.shim else ""
    return [
        ("on the host, before there is a child", plan.before),
        *([("in a go-between, which then clones the child and ends", plan.enter)] if plan.enter else []),
        (f"clone3({plan.flags}){into}; on the host, while the child waits", plan.between),
        (f"in the child{shim}", plan.steps),
        *([("on the host, while the program runs", plan.after)] if plan.after else []),
    ]


def explain(plan: Plan, times: Times | None = None) -> str:
    """Return the plan as text: every step with its reason, its time where that is known, and its system calls.

    What a config names may be somebody hostile's, so each line stays one.
    """
    known = times or {}
    lines = []
    for title, steps in parts(plan):
        lines.append(f"# {title}{_took(CLONE, known) if title.startswith('clone3') else ''}")
        for step in steps:
            lines += [f"{step.name}{_took(step.name, known)}: {step.why}"]
            lines += [f"    (while a process waits, clone3({step.holder}) -> {{holder}})"] if step.holder else []
            lines += [*(f"    {call}" for call in step.calls)]
            lines += [f"    {' '.join(step.program)}"] if step.program else []
            lines += [f"    {' '.join(step.hook.arguments or (step.hook.path,))}"] if step.hook else []
    return "\n".join(map(written_out, lines))


def _took(name: str, times: Times) -> str:
    return f" ({times[name]:.1f} us)" if name in times else ""
