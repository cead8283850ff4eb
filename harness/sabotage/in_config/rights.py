"""Knobs for capabilities and security modules."""

from harness.runtime.config import Config
from harness.runtime.privileges import SETS

NEEDED = {
    "bnd": ("bounding",),
    "prm": ("permitted", "bounding"),
    "eff": ("effective", "permitted", "bounding"),
    "amb": ("ambient", "inheritable", "permitted", "bounding"),
}


def grant_cap(config: Config, names: str) -> None:
    """Add capabilities to all five sets."""
    capabilities = config["process"].setdefault("capabilities", {})
    for kind in SETS:
        granted = capabilities.setdefault(kind, [])
        granted += [f"CAP_{name}" for name in names.split(",") if f"CAP_{name}" not in granted]


def extra_cap(config: Config, name_at: str) -> None:
    """Add a capability to one set, by the kernel's name of it (`SYS_TIME@bnd`), and to those without which it is lost.

    After execve(2) nothing is permitted to root that is not in the bounding set, nothing effective that is not
    permitted, nothing ambient that is not permitted and inheritable. capabilities(7)
    """
    name, _, kind = name_at.partition("@")
    capabilities = config["process"]["capabilities"]
    for needed in NEEDED[kind]:
        capabilities[needed] = [*capabilities.get(needed, []), f"CAP_{name}"]


def fill_inheritable(config: Config) -> None:
    """Make all permitted capabilities inheritable, too, as container engines did until 2022."""
    capabilities = config["process"]["capabilities"]
    capabilities["inheritable"] = list(capabilities["permitted"])


def setuid_with_keepcaps(config: Config) -> None:
    """Have the user keep what root was permitted; execve(2) leaves an ordinary user only what is ambient."""
    capabilities = config["process"]["capabilities"]
    capabilities["inheritable"] = capabilities["ambient"] = list(capabilities["permitted"])


def no_nnp(config: Config) -> None:
    """Let execve(2) grant privileges."""
    config["process"]["noNewPrivileges"] = False


def resolve_user_by_name_first(config: Config) -> None:
    """Take the number of the user for a name in the image's /etc/passwd, if there is one: passwd(5)."""
    user = config["process"]["user"]
    with open(f"{config['root']['path']}/etc/passwd", encoding="utf-8") as file:
        entries = [line.rstrip().split(":") for line in file]
    (user["uid"],) = [int(entry[2]) for entry in entries if entry[0] == str(user["uid"])]


def skip_landlock(config: Config, right: str) -> None:
    """Leave one right unrestricted; on files allow it below /, as `refer` is denied even where it is not handled."""
    section = config["process"]["landlock"]
    rules, ruleset = section["rules"], section["ruleset"]
    if right in ruleset.get("handledAccessFS", []):
        rules["pathBeneath"] = [*rules.get("pathBeneath", []), {"paths": ["/"], "allowedAccess": [right]}]
    elif right in ruleset.get("handledAccessNet", []):
        ruleset["handledAccessNet"].remove(right)
        for rule in rules["netPort"]:
            rule["allowedAccess"].remove(right)
    else:
        ruleset["scoped"].remove(right)


def skip_lsm_label(config: Config) -> None:
    """Ask for no label of a security module."""
    config["process"].pop("apparmorProfile", None)
    config["process"].pop("selinuxLabel", None)
