"""Sources that a check or a step names, and where they are to be read: manual pages, CVEs, addresses."""

import re

PAGE = re.compile(r"([A-Za-z_][\w.+-]*)\(([1-9])(\w*)\)", re.ASCII)  # pivot_root(2), PR_SET_DUMPABLE(2const)
CVE = re.compile(r"CVE-\d+-\d+", re.ASCII)
ADDRESS = re.compile(r"https://[\w./#%?=&~+-]+", re.ASCII)


def address(source: str) -> str:
    """Return where a source is to be read, "" if it has no address of its own."""
    if page := PAGE.fullmatch(source):
        name, section, kind = page.groups()
        return f"https://man7.org/linux/man-pages/man{section}/{name}.{section}{kind}.html"
    if CVE.fullmatch(source):
        return f"https://www.cve.org/CVERecord?id={source}"
    return source if ADDRESS.fullmatch(source) else ""
