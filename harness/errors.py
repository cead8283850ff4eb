"""What can go wrong, as a tree.

IsoproofError                   anything that has one clear line to say
├── BadInput                    the user's input is wrong; exit status 2
│   ├── ConfigError             config.json (harness.runtime.errors)
│   ├── BundleError             the bundle (harness.runtime.errors)
│   └── ScenarioError           a scenario file: `path:line:column: sentence`
├── StartError                  the kernel refused a step of the start (harness.runtime.errors)
└── HarnessError                the harness itself cannot do its work: no outer sandbox, no kit, no such runtime
"""

from harness.runtime.errors import BadInput, BundleError, ConfigError, IsoproofError, StartError

__all__ = ["BadInput", "BundleError", "ConfigError", "HarnessError", "IsoproofError", "ScenarioError", "StartError"]


class ScenarioError(BadInput):
    """A scenario file that cannot be used; each mistake is a line that begins with `path:line:column:`."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class HarnessError(IsoproofError):
    """The harness cannot do its own work here; the message says what to do."""
