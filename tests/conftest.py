"""What the project's own tests share: the two ways to be skipped, and Hypothesis's profiles."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

from harness.runtime import inspect
from harness.runtime.errors import BundleError

PATIENT = hypothesis.settings(
    # On a busy machine everything is slow, the drawing of examples as well.
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
)
hypothesis.settings.register_profile("dev", PATIENT)
hypothesis.settings.register_profile("ci", PATIENT, derandomize=True, max_examples=300)
hypothesis.settings.register_profile("thousand", PATIENT, max_examples=1000)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

# The runs that are tried out here are none that a job of ours has anything to say of.
for variable in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
    os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """Skip for a thing that this machine lacks: `missing("vagrant is not installed")`.

    With ISOPROOF_MUST_RUN=1 the test fails instead: where all is installed, a skip is a hole in the tests.
    """

    def skip_or_fail(reason: str) -> NoReturn:
        if os.environ.get("ISOPROOF_MUST_RUN") == "1":
            pytest.fail(f"ISOPROOF_MUST_RUN=1, but {reason}", pytrace=False)
        pytest.skip(reason)

    return skip_or_fail


@pytest.fixture(scope="session")
def needs_namespaces(missing: Callable[[str], NoReturn]) -> None:
    """For tests that make namespaces: as root, or as a user who may make a user namespace and mount in it.

    unshare(1) is asked to do just that, for nothing less says enough: Ubuntu lets everyone make a user
    namespace, but gives no capabilities in it.
    """
    privilege = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    try:
        attempt = subprocess.run(["unshare", *privilege, "--mount", "true"], capture_output=True, text=True)
    except FileNotFoundError:
        missing("unshare(1) is not installed")
    if attempt.returncode != 0:
        missing(f"no namespaces can be made here: {attempt.stderr.strip()}")


@pytest.fixture(scope="session")
def needs_openat2(missing: Callable[[str], NoReturn]) -> None:
    """Every kernel that we are for knows the call; an emulator of programs (qemu-user) may not."""
    try:
        os.close(inspect.open_directory(Path("/")))
    except BundleError as error:
        if "ENOSYS" not in str(error):
            raise
        missing("there is no openat2(2), which a kernel has and an emulator may not")


@pytest.fixture(scope="session")
def needs_root() -> None:
    """For tests that need real root. Another user is not a missing feature, so this always skips."""
    if os.geteuid() != 0:
        pytest.skip("not root")
