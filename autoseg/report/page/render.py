"""Templates to HTML: everything is escaped, the script is named by its hash."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from autoseg import __version__
from autoseg.report.page import words
from autoseg.report.spending import FATES

_ROOM = Path(__file__).parent
# Within a script element; JSON reads the escapes as the same characters.
_UNSAFE = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def render(template: str, **context: Any) -> str:
    """A template with the page's style, script and words."""
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_ROOM), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    script = (_ROOM / "script.js").read_text(encoding="utf-8")
    environment.globals.update(
        version=__version__,
        style=Markup((_ROOM / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=_policy(script),
        words=words,
        fates=FATES,
    )
    environment.filters["embedded"] = embedded
    return environment


def _policy(script: str) -> str:
    """Nothing from elsewhere, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def embedded(data: Any) -> Markup:
    """JSON that no text in it can lead out of its script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return Markup(text)
