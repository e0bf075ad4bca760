"""What a run's Optuna study shows as a whole: its note, and its figures."""

from __future__ import annotations

from autoseg.report.note import note
from autoseg.result import Result
from autoseg.search.study import View


def view_of(result: Result) -> View:
    """The view of a run, live or finished. plotly takes a third of a second to import."""
    from autoseg.report.figures import figures

    return View(note(result), figures(result))
