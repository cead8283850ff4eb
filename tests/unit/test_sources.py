"""Where sources are to be read."""

import pytest

from harness.sources import address


@pytest.mark.parametrize(
    ("source", "leads_to"),
    [
        ("pivot_root(2)", "https://man7.org/linux/man-pages/man2/pivot_root.2.html"),
        ("PR_SET_DUMPABLE(2const)", "https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html"),
        ("systemd.exec(5)", "https://man7.org/linux/man-pages/man5/systemd.exec.5.html"),
        ("CVE-2019-5736", "https://www.cve.org/CVERecord?id=CVE-2019-5736"),
        ("https://a.example/b#c", "https://a.example/b#c"),
        ('runtime-spec config.md "Mounts"', ""),
        ("pivot_root(2) and more", ""),
        ("CVE-2019-5736&more", ""),
        ("javascript:alert(1)", ""),
        ("https://a.example/'onclick='", ""),
    ],
)
def test_a_source_has_its_address(source: str, leads_to: str) -> None:
    assert address(source) == leads_to
