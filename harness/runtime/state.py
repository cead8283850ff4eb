"""What the runtime-spec calls the state of a container: what programs of the host's are told about one."""

from harness.runtime.config import Config
from harness.runtime.step import Host


def state(config: Config, host: Host, status: str) -> dict[str, object]:
    """Return the state of a container (runtime-spec, runtime.md), but for its process id, which nobody knows yet."""
    found = {
        "ociVersion": config.get("ociVersion", "1.0.2"),
        "id": host.name,
        "status": status,
        "bundle": host.bundle,
    }
    if "annotations" in config:
        found["annotations"] = config["annotations"]
    return found
