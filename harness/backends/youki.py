"""youki, a runtime in Rust; tested against a stand-in that records its command line, for no Debian package has it."""

from harness.backends import Backend, Options
from harness.backends._oci import Oci


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Youki(options)


class Youki(Oci):
    """It is told what any other is."""

    program = "youki"

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        missing = super().available()
        return missing and f"{missing}; see github.com/youki-dev/youki. Not tried by us yet"
