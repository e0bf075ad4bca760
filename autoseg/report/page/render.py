"""Templates to HTML: all text is escaped, and the policy allows the script by its hash."""

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
from autoseg.core.records import STATE_LABELS
from autoseg.report.page import formatting

_ROOM = Path(__file__).parent
# Inside a script element; JSON parsers read these escapes as the same characters.
_UNSAFE = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def render(template: str, **context: Any) -> str:
    """Render a template with the page's style and script."""
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
        formatting=formatting,
        state_labels=STATE_LABELS,
    )
    environment.filters["embedded"] = embedded
    return environment


def _policy(script: str) -> str:
    """The content security policy: no network, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def embedded(data: Any) -> Markup:
    """JSON whose text cannot close its script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character, escape in _UNSAFE.items():
        text = text.replace(character, escape)
    return Markup(text)
