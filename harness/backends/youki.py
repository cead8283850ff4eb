"""youki, a runtime in Rust; tested against a stand-in that records its command line, for no Debian package has it."""

from harness.backends import Backend, Options
from harness.backends._oci import Oci


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Oci(options, "youki", "no Debian package has it, see github.com/youki-dev/youki. Not tried by us yet")
