"""The files of a run, from its ledger: front, plot, bundles and report."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from autoseg.api.bundle import bundle_model
from autoseg.run.result import Result
from autoseg.run.rows import write_front

log = logging.getLogger(__name__)


def write_files(folder: Path, classes: tuple[str, ...], device: str | None = None) -> Result:
    """front.csv, front.json, pareto.png and bundles of a run, from its ledger.

    Those of a `device` that it was remeasured on lie in a folder of their own.
    """
    from autoseg.report.plots import pareto_png  # loads matplotlib

    result = Result.from_run(folder, device)
    place = result.files
    write_front(place, result.front, result.constraints, result.baseline)
    pareto_png(
        place / "pareto.png", result.evaluations, result.constraints, baseline=result.baseline
    )
    names = [f"{rank}-{e.candidate.key}" for rank, e in enumerate(result.front, start=1)]
    for name, evaluation in zip(names, result.front, strict=True):
        # Even if it exists: a bundle of an interrupted session has no test score yet.
        bundle_model(result, evaluation, place / "bundles" / name, classes)
    for old in (place / "bundles").iterdir():
        # Of an earlier session, dominated or ranked otherwise since; a user's own files stay.
        if old.is_dir() and old.name not in names:
            shutil.rmtree(old)
    return result


def write_report(result: Result) -> None:
    """report.html beside those files; after the last event, since it shows the run's progress."""
    try:
        from autoseg.report.page import write_page  # loads Jinja

        write_page(result, result.files / "report.html")
    except Exception as error:  # reporting only: no fault in it may cost a run its files
        log.warning("the report of %s could not be written: %s", result.folder.name, error)
