"""What every page is made by: the templates of `page/`, their style and script, and the policy that allows no others.

jinja2 is imported where a page is made: it takes 50 ms, which who makes none need not wait for.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from harness import environment
from harness.results import printable

FOLDER = Path(__file__).parent / "page"
LONGEST_TEXT = 2000  # of one text in a page; the result list has up to eight times as much


def rendered(template: str, more_style: str = "", **context: Any) -> str:
    """A template of `page/`. Every text in it is made harmless and escaped, unless it is `as_it_is`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: harmless(value) if type(value) is str else value,
    )
    pages.filters["machine"] = lambda run: environment.one_line(run.environment)
    pages.filters["time"] = lambda started: started.replace("T", " ").replace("+00:00", " UTC")
    inline = {"style": piece("page.css") + more_style, "script": piece("page.js")}
    return pages.get_template(template).render(
        **{name: as_it_is(text) for name, text in inline.items()},
        hashes={name: _hash(text) for name, text in inline.items()},
        **context,
    )


def piece(name: str) -> str:
    """A file of `page/`, which is in UTF-8 whatever the locale is."""
    return (FOLDER / name).read_text(encoding="utf-8")


def as_it_is(text: str) -> str:
    """A text of our own that a template takes for markup."""
    from markupsafe import Markup

    return Markup(text)


def harmless(text: str) -> str:
    """The text without what acts on a terminal or turns the direction of writing, and not longer than a page bears."""
    cut = text[:LONGEST_TEXT]
    safe = cut if cut.isprintable() else printable(cut)
    return safe if len(text) <= LONGEST_TEXT else f"{safe}… ({len(text) - LONGEST_TEXT} more characters)"


def _hash(text: str) -> str:
    """The hash of an inline style or script, as a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
