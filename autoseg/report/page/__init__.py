"""The report: one self-contained HTML page of a run, or of two of them side by side.

It loads nothing from the network: pictures, style, script and data are inside, and its content
security policy forbids the rest. Without JavaScript it shows the same, without interaction.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from autoseg import __version__
from autoseg.core.files import write_atomically
from autoseg.core.records import STATE_LABELS
from autoseg.report.importance import LIMITS, MEASURES
from autoseg.report.page import formatting
from autoseg.report.page.comparison import compare
from autoseg.report.page.content import run_report
from autoseg.run.result import Result

_ROOM = Path(__file__).parent


def write_page(result: Result, path: Path) -> None:
    """Write a run's report, live or finished. Raises OSError where it cannot be written."""
    write_atomically(path, _render("page.html", report=run_report(result, path.parent)))


def write_comparison(one: Result, other: Result, path: Path) -> None:
    """Write a page with two runs, or one run on two devices, side by side; raises OSError."""
    write_atomically(path, _render("compare.html", comparison=compare(one, other)))


def _render(template: str, **context: Any) -> str:
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    """The templates: all text is escaped, and the policy allows the script by its hash."""
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
        measures=MEASURES,
        limits=LIMITS,
        state_labels=STATE_LABELS,
    )
    # Of `tojson`, which escapes what could close a script element.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def _policy(script: str) -> str:
    """The content security policy: no network, and no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
