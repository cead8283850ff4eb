"""What can go wrong in the runtime.

    IsoproofError                   anything that has one clear line to say
    ├── BadInput                    the user's input is wrong; exit status 2
    │   ├── ConfigError             config.json: a wrong type, an unknown name, a field that is not supported
    │   └── BundleError             no such bundle, no config.json, no command in the root
    └── StartError                  the kernel refused a step of the start; exit status 125, 126 or 127

The tree goes on in `harness.errors`; this half stands here because the runtime imports nothing outside itself.
"""

import sys

LONGEST = 4000  # characters of a line: a path may have as many


def written_out(text: str) -> str:
    """Return a text with whatever would move the cursor, or hide, written out: `\\n`, `\\x1b`, `\\u202e`.

    So is `##[`, with which GitHub begins a command wherever in a log it stands. All else that makes a text of somebody
    hostile fit to be shown begins with this.
    """
    safe = text
    if not safe.isprintable():
        safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe.replace("##[", "#\\x23[")


def on_one_line(text: str) -> str:
    """Return a text likewise, and cut where it is longer than any line that somebody reads."""
    return written_out(text[:LONGEST]) + ("…" if len(text) > LONGEST else "")


class IsoproofError(Exception):
    """Anything that isoproof can explain in one line; several things take a line each.

    What was wrong is often a name or a value that somebody hostile has chosen, so each line stays one.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(on_one_line(line) for line in lines))


class BadInput(IsoproofError):
    """What the user gave cannot be used; the message says where and why."""


class ConfigError(BadInput):
    """A config.json that is not one, or that asks for what this runtime does not do."""


class BundleError(BadInput):
    """A bundle that is not there or not whole."""


class StartError(IsoproofError):
    """A step of the start failed.

    `step` is its name in the plan, `number` the errno, `status` the exit status that container tools give for it: 125
    for the runtime's own failures, 126 for a command that cannot be executed, 127 for one that is not there.
    """

    def __init__(self, message: str, step: str = "", number: int = 0, status: int = 125) -> None:
        super().__init__(message)
        self.step = step
        self.number = number
        self.status = status


def require_linux() -> None:
    """Raise BadInput on another system, where most of our modules cannot even be loaded."""
    if sys.platform != "linux":
        raise BadInput(
            f"this is {sys.platform}: containers are made of Linux; run isoproof in a virtual machine that has it, "
            "by Vagrant or Lima for instance: its source has a Vagrantfile"
        )
