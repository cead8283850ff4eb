"""chroot(8): another root, and everything else the host's."""

import posixpath
from collections.abc import Sequence

from harness.backends import Backend, Config, Options, _asked, _command
from harness.backends._byhand import ByHand

REMOVAL = 10.0  # seconds that unmounting may take


def make(options: Options) -> Backend:
    """Return the backend; the script calls chroot(8) as it is installed."""
    options.only(executable=False)
    return Chroot(options)


class Chroot(ByHand):
    """What is mounted for it is mounted on the host, and unmounted afterwards."""

    program = "chroot"
    package = "coreutils"
    root = "chroot(2) needs root; see unshare"

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config goes beyond the default one and has no command; names are the host's."""
        usual = _asked.usual()
        names = [name for name in ("hostname", "domainname") if config.get(name, usual.get(name)) != usual.get(name)]
        return names + [name for name in super().unsupported(config) if name not in names]

    def asked(self, config: Config) -> Config:
        """Return what of a config is translated: nothing that would rename the host or go about in its network."""
        kept = {key: value for key, value in config.items() if key not in ("hostname", "domainname")}
        return kept | {"linux": {**config["linux"], "namespaces": []}}

    def around(self, config: Config) -> Sequence[str]:
        """Return nothing: the script runs on the host."""
        return ()

    def remove(self, config: Config, root: str) -> None:
        """Unmount what the script has mounted, the last first, and the root from itself."""
        for mount in reversed(config["mounts"]):
            _command.quietly(["umount", "--lazy", posixpath.join(root, mount["destination"].lstrip("/"))], REMOVAL)
        _command.quietly(["umount", "--lazy", root], REMOVAL)
