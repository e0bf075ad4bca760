"""The dashboard, and a live run's report, in a real Chromium; and with the worst of names."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import BrowserPage
from studies import MARKUP, NAME, shown_in

from autoseg.core.diagnostics import sheet_path
from autoseg.report.dashboard.server import Dashboard
from autoseg.run.result import Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Plotly's traces of a figure: the name of each, or what a hover says beside it, and its points.
TRACES = """id => document.getElementById(id)?.data?.map(trace => [
    trace.name || /<extra>(.*)<.extra>/.exec(trace.hovertemplate)?.[1] || "",
    (trace.x || []).filter(x => x !== null).length])"""
# Where on the page a trace's point is drawn.
PLACE = """([id, trace, point]) => {
    const figure = document.getElementById(id), box = figure.getBoundingClientRect();
    const {xaxis, yaxis} = figure._fullLayout, {x, y} = figure.data[trace];
    return [box.left + xaxis._offset + xaxis.d2p(x[point]),
            box.top + yaxis._offset + yaxis.d2p(y[point])];
}"""
PARETO, FRONT, CURVES = (
    "graph-pareto-front", "user-defined-plot:front", "user-defined-plot:learning-curves",
)  # fmt: skip


def traces(page: BrowserPage, figure: str) -> dict[str, int]:
    page.wait_for_function(f"id => ({TRACES})(id)?.length > 0", arg=figure)
    return dict(page.evaluate(TRACES, figure))


def clean(page: BrowserPage) -> bool:
    assert page.errors == []
    assert page.requests_out == []
    return True


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return shown_in(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def served(made: Result) -> Iterator[str]:
    with Dashboard(made.folder, port=0) as dashboard:
        threading.Thread(target=dashboard.serve_forever, daemon=True).start()
        yield dashboard.address
        dashboard.shutdown()


def test_dashboard_shows_infeasible_trials_and_the_front_of_the_run(
    browser_page: BrowserPage, served: str, made: Result
) -> None:
    browser_page.goto(served)
    drawn = traces(browser_page, PARETO)
    # Two rejected, and one that was never confirmed.
    assert drawn["Infeasible Trial"] == 3
    assert drawn["Feasible Trial"] == 1
    assert drawn["Best Trial"] == len(made.front) == 3
    assert traces(browser_page, FRONT)["on the front (3)"] == 3
    assert traces(browser_page, "graph-timeline")["Infeasible"] == 3
    best = browser_page.locator("text=Best Trials").locator("xpath=..")
    assert [f"Trial {n}" in best.inner_text() for n in (0, 1, 2, 5, 6)] == [True] * 3 + [False] * 2
    clean(browser_page)


def test_dashboard_click_on_a_point_shows_its_pictures(
    browser_page: BrowserPage, served: str
) -> None:
    browser_page.goto(served)
    names = list(traces(browser_page, PARETO))
    x, y = browser_page.evaluate(PLACE, [PARETO, names.index("Best Trial"), 0])
    browser_page.mouse.click(x, y)
    picture = browser_page.locator("img[src^='/artifacts/']").first
    picture.wait_for()
    browser_page.wait_for_function(
        "image => image.naturalWidth === 320", arg=picture.element_handle()
    )
    clean(browser_page)


def test_dashboard_shows_user_names_as_text(browser_page: BrowserPage, served: str) -> None:
    browser_page.goto(served.partition("/studies")[0])
    browser_page.get_by_text(NAME).first.wait_for()
    browser_page.goto(f"{served}/note")
    browser_page.get_by_text(re.compile(r"3 models .*10 ms .*IoU 0\.9")).first.wait_for()
    (first, second) = MARKUP.splitlines()
    shown = f"{first} {second}".replace("://", ":\u200b//")
    browser_page.get_by_text(shown).first.wait_for()
    assert browser_page.locator("table").first.locator("tr").count() == 1 + 3
    browser_page.get_by_text(re.compile("PED-ANOVA")).first.wait_for()
    assert browser_page.locator("img[src*='evil'], a[href*='evil']").count() == 0
    browser_page.goto(f"{served}/trials?numbers=5")
    browser_page.get_by_text("<img src=http://evil.test").first.wait_for()
    assert browser_page.locator("img[src*='evil'], a[href*='evil']").count() == 0
    clean(browser_page)


def test_dashboard_shows_a_live_run_and_a_finished_run(
    browser_page: BrowserPage, tiny: Any, processes: Any, tmp_path: Path
) -> None:
    recipe = {**tiny.given["recipe"], "rungs": [3, 6, 12, 24]}
    arguments = tiny.arguments(trials=4, recipe=recipe, results=tmp_path, name="live")
    folder = tmp_path / "live"
    with started(*arguments) as run:
        processes.wait_for(lambda: scored(folder), 300)
        paused(run, folder)  # so that it is live for as long as the browser looks
        with started("dashboard", str(folder), "--port", "0") as dashboard:
            address = dashboard.stdout.readline().strip()
            browser_page.goto(address)
            browser_page.get_by_text("live (id=1)").wait_for()
            assert run.poll() is None
            assert traces(browser_page, "graph-timeline")["Running"] > 0
            browser_page.goto(f"{address}/trials")
            browser_page.locator("img[src^='/artifacts/']").first.wait_for()
            with started("report", str(folder), "-o", str(tmp_path / "now.html")) as report:
                assert report.wait(60) == 0
            reported(browser_page, tmp_path / "now.html", Result.from_run(folder))
            assert "running: " in browser_page.locator("body").inner_text()
            os.kill(run.pid, signal.SIGCONT)
            run.wait(400)
            reported(browser_page, folder / "report.html", Result.from_run(folder))
            after(browser_page, address, Result.from_run(folder))
            dashboard.send_signal(signal.SIGINT)
            assert dashboard.wait(60) == 0
            assert "Traceback" not in dashboard.stderr.read()
    clean(browser_page)


def reported(page: BrowserPage, path: Path, result: Result) -> None:
    """The report draws all that was measured, and a click on what is named shows its pictures."""
    page.goto(path.as_uri())
    measured = [e for e in result.evaluations if e.measurement]
    assert page.locator("svg.front:visible .point").count() == len(measured)
    told = result.explanation()
    key = next(
        e.candidate.key
        for e in (*result.front, *(told.nearest if told else ()))
        if sheet_path(result.files, e.candidate.key).exists()
    )
    page.locator(f'svg.front:visible .point[data-key="{key}"] .shape').click()
    assert key in page.locator("#details").inner_text()
    assert page.locator("#details img").evaluate("i => i.complete && i.naturalWidth") > 100


def after(page: BrowserPage, address: str, result: Result) -> None:
    page.goto(address)
    front = len(result.front)
    drawn = traces(page, FRONT)
    assert drawn.get(f"on the front ({front})", 0) == front
    rejected = sum(e.state == "rejected" for e in result.evaluations)
    assert drawn.get(f"rejected ({rejected})", 0) == rejected
    assert traces(page, PARETO).get("Best Trial", 0) == front
    points = sum(s.source == "torch" for e in result.evaluations for s in e.scores)
    assert sum(traces(page, CURVES).values()) == points


def scored(folder: Path) -> bool:
    """Whether a score is in the ledger, and its trial has its sheet."""
    ledger, sheets = folder / "ledger.jsonl", folder / "artifacts-study"
    told = ledger.read_text().splitlines() if ledger.exists() else []
    return any('"event": "scored"' in line for line in told) and any(sheets.glob("*[!p]"))


def paused(run: subprocess.Popen[str], folder: Path) -> None:
    """Stop a run between two transactions."""
    while True:
        os.kill(run.pid, signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(folder / "study.db", timeout=0.2)) as database:
                database.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError:
            os.kill(run.pid, signal.SIGCONT)


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, which is ended when nobody waits for it any more."""
    process = subprocess.Popen(
        [sys.executable, "-m", "autoseg.cli", *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
            process.wait()
