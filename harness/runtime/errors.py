"""What can go wrong in the runtime.

    IsoproofError                   anything that has one clear line to say
    ├── BadInput                    the user's input is wrong; exit status 2
    │   ├── ConfigError             config.json: a wrong type, an unknown name, a field that is not supported
    │   └── BundleError             no such bundle, no config.json, no command in the root
    └── StartError                  the kernel refused a step of the start; exit status 125, 126 or 127

The tree goes on in `harness.errors`; this half stands here because the runtime imports nothing outside itself.
"""


class IsoproofError(Exception):
    """Anything that isoproof can explain in one line; one it stays where a name in it has line breaks."""

    def __str__(self) -> str:
        return "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode() for char in super().__str__()
        )


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
