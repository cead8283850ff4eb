"""The label by which a security module knows the program: a profile of AppArmor's, a context of SELinux's.

A task asks for the label that execve(2) is to give it by writing into /proc/thread-self/attr. Runtimes have been
tricked into writing somewhere else, by configs and images that cover parts of /proc (CVE-2019-16884, CVE-2019-19921,
CVE-2025-52881), and the program then ran without a label. So this one writes into a procfs that it has made itself,
which is mounted nowhere and which nobody else can reach.
"""

from harness.runtime.config import Config
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.step import Call, Host, Packed, Saved, Step
from harness.runtime.syscalls import FSCONFIG, FSMOUNT, FSOPEN, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, O, open_how

# Which module a field is for, below a procfs the file of that module, and what is written around the label.
FIELDS = {
    "apparmorProfile": ("apparmor", "thread-self/attr/apparmor/exec", "exec {}"),
    "selinuxLabel": ("selinux", "thread-self/attr/exec", "{}"),
}


def check(config: Config, host: Host) -> None:
    """Raise StartError for a label whose security module does not watch this kernel, ConfigError for two labels."""
    wanted = _wanted(config)
    for field, label in wanted.items():
        module = FIELDS[field][0]
        if module not in host.security_modules:
            found = ", ".join(host.security_modules) or "no security modules"
            raise StartError(f"config.json: process.{field}: {label} is a label of {module}'s; this kernel has {found}")
    if len(wanted) > 1:
        raise ConfigError("config.json: process.selinuxLabel: AppArmor and SELinux do not watch one program together")


def ask(config: Config) -> list[Step]:
    """Ask for the label that execve(2) is to give the program."""
    return [_ask(field, label) for field, label in _wanted(config).items()]


def _ask(field: str, label: str) -> Step:
    module, path, form = FIELDS[field]
    text = form.format(label)
    context, procfs, file = Saved("context"), Saved("procfs"), Saved("file")
    how = open_how(O.WRONLY | O.CLOEXEC, RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS)
    meaning = "O_WRONLY|O_CLOEXEC, RESOLVE_NO_XDEV|RESOLVE_NO_MAGICLINKS"
    calls = (
        Call("fsopen", ("proc", FSOPEN.CLOEXEC), saves="context"),
        Call("fsconfig", (context, FSCONFIG.CMD_CREATE, None, None, 0)),
        Call("fsmount", (context, FSMOUNT.CLOEXEC, 0), saves="procfs"),
        Call("close", (context,)),
        Call("openat2", (procfs, path, Packed(how, meaning), len(how)), saves="file"),
        Call("write", (file, text, len(text.encode()))),
        Call("close", (file,)),
        Call("close", (procfs,)),
    )
    return Step(f"label:{module}", "in a procfs of its own, so that no decoy gets it: proc_pid_attr(5)", calls)


def _wanted(config: Config) -> dict[str, str]:
    """Return the labels that the config asks for; an empty one asks for none."""
    return {field: config["process"][field] for field in FIELDS if config["process"].get(field)}
