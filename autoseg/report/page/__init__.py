"""The report: one self-contained HTML page of a run, or of two of them side by side.

It loads nothing from the network: pictures, style, script and data are inside, and its content
security policy forbids the rest. Without JavaScript it shows the same, without interaction.
"""

from __future__ import annotations

from pathlib import Path

from autoseg.core.files import write_atomically
from autoseg.report.page.comparison import compare
from autoseg.report.page.content import run_report
from autoseg.report.page.render import render
from autoseg.run.result import Result


def write_page(result: Result, path: Path) -> None:
    """Write a run's report, live or finished. Raises OSError where it cannot be written."""
    write_atomically(path, render("page.html", report=run_report(result, path.parent)))


def write_comparison(one: Result, other: Result, path: Path) -> None:
    """Write a page with two runs, or one run on two devices, side by side; raises OSError."""
    write_atomically(path, render("compare.html", comparison=compare(one, other)))
