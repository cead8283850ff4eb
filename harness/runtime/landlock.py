"""What the program may do whatever permissions and capabilities say: `process.landlock`. landlock(7).

The runtime-spec has no such field yet; this one has the shape of what was proposed for it, less the best effort: a
right that this kernel cannot restrict is an error, for a restriction that is left out in silence is none.
"""

from harness.runtime.config import Config
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.landlock_numbers import (
    LANDLOCK_ACCESS_FS,
    LANDLOCK_ACCESS_NET,
    LANDLOCK_RULE,
    LANDLOCK_SCOPE,
    landlock_ruleset_attr,
)
from harness.runtime.step import Call, Host, Packed, Record, Saved, Step
from harness.runtime.syscalls import (
    AT_FDCWD,
    RESOLVE_NO_MAGICLINKS,
    O,
    open_how,
)

Right = LANDLOCK_ACCESS_FS | LANDLOCK_ACCESS_NET | LANDLOCK_SCOPE

# Each kind of right by the list that names those which are restricted, with the ABI since which the kernel knows them.
HANDLED: dict[str, tuple[type[Right], int]] = {
    "handledAccessFS": (LANDLOCK_ACCESS_FS, 1),
    "handledAccessNet": (LANDLOCK_ACCESS_NET, 4),
    "scoped": (LANDLOCK_SCOPE, 6),
}
LATER: dict[Right, int] = {LANDLOCK_ACCESS_FS.REFER: 2, LANDLOCK_ACCESS_FS.TRUNCATE: 3, LANDLOCK_ACCESS_FS.IOCTL_DEV: 5}
RULES = {"pathBeneath": "handledAccessFS", "netPort": "handledAccessNet"}
FIELD = "config.json: process.landlock"


def check(config: Config, host: Host) -> None:
    """Raise ConfigError where ruleset and rules do not fit together, StartError where this kernel lacks a right."""
    section = config["process"].get("landlock")
    if section is None:
        return
    ruleset = section.get("ruleset", {})
    if not any(ruleset.get(key) for key in HANDLED):
        raise ConfigError(f"{FIELD}.ruleset: restricts nothing; it needs one of {', '.join(HANDLED)}")
    for key, (kind, first) in HANDLED.items():
        for index, name in enumerate(ruleset.get(key, [])):
            needed = LATER.get(kind[name.upper()], first)
            if host.landlock < needed:
                raise StartError(
                    f"{FIELD}.ruleset.{key}[{index}]: {name} needs version {needed} of Landlock's ABI, this kernel has "
                    f"{host.landlock or 'no Landlock, or was booted without (lsm=)'}"
                )
    for kind_of_rule, key in RULES.items():
        for index, rule in enumerate(section.get("rules", {}).get(kind_of_rule, [])):
            place = f"{FIELD}.rules.{kind_of_rule}[{index}]"
            what = "paths" if kind_of_rule == "pathBeneath" else "port"
            if what not in rule or not rule.get("allowedAccess"):
                raise ConfigError(f"{place}: needs {what} and allowedAccess")
            for name in rule["allowedAccess"]:
                if name not in ruleset.get(key, []):
                    raise ConfigError(f"{place}.allowedAccess: {name} is not in ruleset.{key}, so it is allowed anyway")


def restrict(config: Config) -> list[Step]:
    """Give up all rights that the ruleset handles, but for those that its rules allow."""
    section = config["process"].get("landlock")
    if section is None:
        return []
    handled = {key: _rights(kind, section["ruleset"].get(key, [])) for key, (kind, _) in HANDLED.items()}
    attributes = landlock_ruleset_attr(*handled.values())
    meaning = ", ".join(str(rights) for rights in handled.values() if rights)
    ruleset = Saved("ruleset")
    calls = [Call("landlock_create_ruleset", (Packed(attributes, meaning), len(attributes), 0), saves="ruleset")]
    rules = section.get("rules", {})
    how = Packed(open_how(O.PATH | O.CLOEXEC, RESOLVE_NO_MAGICLINKS), "O_PATH|O_CLOEXEC, RESOLVE_NO_MAGICLINKS")
    for rule in rules.get("pathBeneath", []):
        allowed = _rights(LANDLOCK_ACCESS_FS, rule["allowedAccess"])
        for name in rule["paths"]:
            beneath = Record((("Q", allowed), ("i", Saved(name))))
            calls += [
                Call("openat2", (AT_FDCWD, name, how, len(how.value)), saves=name),
                Call("landlock_add_rule", (ruleset, LANDLOCK_RULE.PATH_BENEATH, beneath, 0)),
                Call("close", (Saved(name),)),
            ]
    for rule in rules.get("netPort", []):
        allowed_on_port = _rights(LANDLOCK_ACCESS_NET, rule["allowedAccess"])
        on_port = Record((("Q", allowed_on_port), ("Q", rule["port"])))
        calls.append(Call("landlock_add_rule", (ruleset, LANDLOCK_RULE.NET_PORT, on_port, 0)))
    calls += [Call("landlock_restrict_self", (ruleset, 0)), Call("close", (ruleset,))]
    return [Step("landlock", "what no rule allows is denied from here on, to root too: landlock(7)", tuple(calls))]


def _rights(kind: type[Right], names: list[str]) -> Right:
    rights = kind(0)
    for name in names:
        rights |= kind[name.upper()]
    return rights
