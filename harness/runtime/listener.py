"""Who answers the calls that a filter only reports: a program of the host's, to which the listener is handed over.

Its socket is `linux.seccomp.listenerPath`. It gets the listener of seccomp_unotify(2) as a descriptor, with what the
runtime-spec calls the container process state (config-linux). When nobody has the listener open any more, calls that
would have been reported fail with ENOSYS.
"""

from harness.runtime.config import Config
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.rendezvous import meet
from harness.runtime.state import state
from harness.runtime.step import Call, Host, Meeting, Saved, Step
from harness.runtime.syscalls import explain_errno

NOTIFY = "SCMP_ACT_NOTIFY"
KILLABLE = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
MEETING = "seccomp"
DESCRIPTOR = Saved("listener")
CALLS = ("sendmsg", "read", "close")  # what hands it over, when the filter is in force already
PATIENCE = 10.0  # seconds that the program has to take it


def wanted(section: Config) -> bool:
    """Return whether a profile reports calls.

    Raises ConfigError where it does and nobody is named to answer, or somebody would have nothing to do.
    """
    notifies = NOTIFY in (section.get("defaultAction"), *(entry.get("action") for entry in section.get("syscalls", [])))
    field = "config.json: linux.seccomp"
    if notifies and not section.get("listenerPath"):
        raise ConfigError(f"{field}.listenerPath: missing; {NOTIFY} needs the socket of a program that answers")
    if "listenerMetadata" in section and not section.get("listenerPath"):
        raise ConfigError(f"{field}.listenerMetadata: says nothing to anybody without listenerPath")
    if not notifies and KILLABLE in section.get("flags", []):
        raise ConfigError(f"{field}.flags: {KILLABLE} needs a rule with {NOTIFY}")
    return notifies


def hand_over() -> list[Step]:
    """Give the listener to the launcher, and keep none: whoever has it decides about the container."""
    step = meet(MEETING, "whoever has the listener decides about the container: seccomp_unotify(2)", DESCRIPTOR)
    close = Step(
        "listener", "none stays inside, not even with a PID 1 of ours: close(2)", (Call("close", (DESCRIPTOR,)),)
    )
    return [step, close]


def to_its_program(config: Config, host: Host) -> Meeting:
    """Return what the launcher does with the listener: it goes to the program that the config names."""

    def send(pid: int, descriptors: list[int]) -> None:
        import json  # only here, for few starts need it and all would wait for it
        import socket

        section = config["linux"]["seccomp"]
        told = state(config, host, "creating") | {"pid": pid}
        message = {"ociVersion": told["ociVersion"], "fds": ["seccompFd"], "pid": pid, "state": told}
        if "listenerMetadata" in section:
            message["metadata"] = section["listenerMetadata"]
        path = section["listenerPath"]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(path)
                text = json.dumps(message).encode()
                sent = socket.send_fds(connection, [text], descriptors)
                if sent < len(text):  # a program that has all may have gone
                    connection.sendall(text[sent:])
        except OSError as error:
            number = error.errno or 0
            said = explain_errno(number) if number else str(error)
            raise StartError(
                f"seccomp: connect {path}: {said}; linux.seccomp.listenerPath is the socket of a program that answers "
                "the calls which the profile reports",
                "meet:seccomp",
                number,
            ) from error

    return send
