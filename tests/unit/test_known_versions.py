"""What is known of some versions of a runtime: how they are written, which they are, and what becomes of the others."""

from pathlib import Path

import pytest

from harness.errors import ScenarioError
from harness.language import Versions
from harness.scenario import load_known

ENTRIES = """
fails:
  uts-always: {reason: never mended}
  uts-before: {reason: mended in 1.2, versions: "<1.2"}
  uts-between: {reason: came and went, versions: ">=1.1, <1.3"}
skips:
  uts-since: {reason: given up in 1.2, versions: ">=1.2"}
differs:
  domainname: {reason: mended in 1.2, versions: "<1.2"}
  "mounts.*": {reason: never mended}
"""


@pytest.mark.parametrize(
    ("versions", "version", "included"),
    [
        ("<1.2", "1.1.5+ds1", True),
        ("<1.2", "1.2", False),
        ("<1.2", "1.2.0", False),
        ("<1.2.1", "1.2", True),
        ("<1.10", "1.9", True),
        ("<=1.2", "1.2.0", True),
        ("<=1.2", "1.2.1", False),
        (">1.2", "1.2.0", False),
        (">1.2", "1.2.0.1", True),
        (">= 1.1 , < 1.3", "1.2-rc.1", True),
        (">=1.1,<1.3", "1.3", False),
        ("=1.1.5", "1.1.5~rc1", True),
        ("=1.1", "1.1.5", False),
        ("<20240101", "release-20231009.0", True),
        (">=252", "252.39-1~deb12u1", True),
        ("<1.2", "v1.1", True),
        ("<1.2", "", False),
        (">=0", "from a checkout", False),
    ],
)
def test_a_version_is_compared_number_by_number(versions: str, version: str, included: bool) -> None:
    assert Versions.parse(versions).include(version) == included


@pytest.mark.parametrize(
    ("version", "fails", "skips"),
    [
        ("1.0", ["uts-always", "uts-before"], []),
        ("1.1.5", ["uts-always", "uts-before", "uts-between"], []),
        ("1.2", ["uts-always", "uts-between"], ["uts-since"]),
        ("1.3", ["uts-always"], ["uts-since"]),
        ("", ["uts-always"], []),
    ],
)
def test_an_entry_for_other_versions_is_as_if_it_were_not_there(
    file: Path, version: str, fails: list[str], skips: list[str]
) -> None:
    file.write_text(ENTRIES.lstrip())
    known = load_known(file).of(version)
    assert (list(known.fails), list(known.skips)) == (fails, skips)
    assert bool(known.difference("domainname")) == (version in ("1.0", "1.1.5"))
    assert known.difference("mounts.*.ro")
    assert not known.difference("hostname")


@pytest.mark.parametrize(
    "written", ["1.2", "'<'", "'<1.2,'", "'<1.2 <1.3'", "'~1.2'", "'<1.2-rc1'", "'<1..2'", "'<v1.2'", "'=='"]
)
def test_what_are_no_versions_is_told_with_its_place(file: Path, written: str) -> None:
    file.write_text(f"fails:\n  uts-a:\n    reason: a\n    versions: {written}\n")
    with pytest.raises(ScenarioError) as raised:
        load_known(file)
    text = written.strip("'")
    assert (
        str(raised.value) == f"a.yaml:4:15: 'versions' expects versions such as '<1.2' or '>=1.1, <1.2', not {text!r}"
    )
