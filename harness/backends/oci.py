"""Any runtime with runc's command line, by the path of its executable: `oci:/path/to/binary`."""

from harness.backends import Backend, Options
from harness.backends._oci import Oci


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Named(options)


class Named(Oci):
    """It has no name of its own to be looked for by."""

    program = ""

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        return super().available() if self.program else "name its executable: --runtime oci:/path/to/binary"
