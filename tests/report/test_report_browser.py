"""The report in a real browser: points, pictures, sorting, keys, phones, darkness, silence."""

import time

import pytest
from staged import HOSTILE, staged

from autoseg.report.page import write_comparison, write_page
from autoseg.run.result import Result

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
SHOWN = "svg.front:visible"


def opened(page, tmp_path, **changed) -> Result:
    result = Result.from_run(staged(tmp_path / "run", **changed))
    write_page(result, tmp_path / "report.html")
    page.goto((tmp_path / "report.html").as_uri())
    return result


def silent(page) -> None:
    assert page.errors == []
    assert page.requests_out == []


def wide(page) -> int:
    """Pixels that the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_page_click_on_a_point_shows_its_figures_and_pictures(browser_page, tmp_path):
    result = opened(browser_page, tmp_path)
    measured = [e for e in result.evaluations if e.measurement]
    assert browser_page.locator(f"{SHOWN} .point").count() == len(measured)
    for evaluation in result.front[:2]:
        key = evaluation.candidate.key
        point = browser_page.locator(f'{SHOWN} .point[data-key="{key}"]')
        point.locator(".shape").click()
        panel = browser_page.locator("#details")
        assert key in panel.inner_text()
        assert f"{evaluation.iou:.4f}" in panel.inner_text()
        picture = panel.locator("img")
        assert picture.evaluate("i => i.complete && i.naturalWidth") > 100
        assert "chosen" in point.get_attribute("class")
    browser_page.locator("#details a").click()
    browser_page.locator(f"#model-{key}[open]").wait_for()
    silent(browser_page)


def test_page_hover_names_the_knobs(browser_page, tmp_path):
    result = opened(browser_page, tmp_path)
    key = result.front[0].candidate.key
    browser_page.locator(f'{SHOWN} .point[data-key="{key}"] .shape').hover()
    assert str(result.front[0].candidate) in browser_page.locator("#tip").inner_text()
    browser_page.mouse.move(2, 2)
    assert not browser_page.locator("#tip").is_visible()


def test_page_keyboard_visits_all_points(browser_page, tmp_path):
    result = opened(browser_page, tmp_path, trials=12)
    browser_page.locator(f"{SHOWN} a.point").first.focus()
    seen = set()
    for _ in range(12):
        seen.add(browser_page.evaluate("document.activeElement.dataset.key"))
        browser_page.keyboard.press("ArrowRight")
    assert seen == {e.candidate.key for e in result.evaluations}
    browser_page.keyboard.press("Enter")
    assert browser_page.locator("#details dl").is_visible()


def test_page_table_sorts_by_figures_both_ways(browser_page, tmp_path):
    opened(browser_page, tmp_path)
    browser_page.locator("summary", has_text="other").click()
    table = browser_page.locator("#table-rest")
    head = table.locator("thead th", has_text="latency")
    for way in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == way
        cells = table.locator("tbody tr td:nth-child(2)")
        figures = cells.evaluate_all("all => all.map(cell => Number(cell.dataset.by))")
        assert len(figures) > 20
        assert figures == sorted(figures, reverse=way == "descending")
    # What was never scored comes last, whichever way.
    ious = table.locator("thead th", has_text="IoU val").locator("button")
    for _ in range(2):
        ious.click()
        said = table.locator("tbody tr td:nth-child(3)").evaluate_all(
            "all => all.map(cell => cell.dataset.by)"
        )
        assert "" in said and said.index("") == len(said) - said.count("")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_on_a_phone_needs_no_horizontal_scrolling(browser_page, tmp_path, scheme):
    browser_page.emulate_media(color_scheme=scheme)
    browser_page.set_viewport_size(PHONE)
    result = opened(browser_page, tmp_path, classes=("background", "a" * 90), device="b" * 90)
    for section in browser_page.locator("details").all():
        section.evaluate("each => { each.open = true; }")
    assert wide(browser_page) <= 0
    assert browser_page.locator(f"{SHOWN} .point").count() == 40
    point = browser_page.locator(f'{SHOWN} .point[data-key="{result.front[1].candidate.key}"]')
    point.locator(".shape").click()
    assert browser_page.locator("#details img").is_visible()
    back = browser_page.evaluate("getComputedStyle(document.body).backgroundColor")
    bright = sum(map(int, back.removeprefix("rgb(").removesuffix(")").split(","))) > 380
    assert bright == (scheme == "light")
    silent(browser_page)


def test_page_without_script_shows_all(browser, tmp_path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    result = opened(page, tmp_path)
    assert page.locator(f"{SHOWN} .point").count() == 40
    point = page.locator(f'{SHOWN} a.point[data-key="{result.front[1].candidate.key}"]')
    point.locator(".shape").click()
    assert page.url.endswith(f"#model-{result.front[1].candidate.key}")
    context.close()


def test_page_with_hostile_names_runs_no_script(browser_page, tmp_path):
    said = []
    browser_page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    hostile = {"classes": ("background", HOSTILE), "device": HOSTILE, "model": HOSTILE}
    opened(browser_page, tmp_path, **hostile)
    for point in browser_page.locator(f"{SHOWN} a.point .shape").all()[:3]:
        point.click()
    assert said == []
    assert browser_page.locator("img[src='x']").count() == 0
    silent(browser_page)


def test_page_of_two_runs_opens_side_by_side(browser_page, tmp_path):
    one = Result.from_run(staged(tmp_path / "one"))
    other = Result.from_run(staged(tmp_path / "other", seed=1, front=3, ceiling="20ms"))
    write_comparison(one, other, tmp_path / "both.html")
    for size in ({"width": 1280, "height": 800}, PHONE):
        browser_page.set_viewport_size(size)
        browser_page.goto((tmp_path / "both.html").as_uri())
        assert browser_page.locator(f"{SHOWN} .point").count() == 80
        assert wide(browser_page) <= 0
    browser_page.locator(f"{SHOWN} .point.two.front .shape").first.click()
    assert browser_page.locator("#details h3").inner_text().startswith("other: ")
    silent(browser_page)


def test_page_of_300_trials_opens_within_two_seconds(browser_page, tmp_path):
    result = Result.from_run(staged(tmp_path / "run", trials=300, front=25, sheet_bytes=110_000))
    path = tmp_path / "report.html"
    write_page(result, path)
    browser_page.goto("about:blank")
    started = time.monotonic()
    browser_page.goto(path.as_uri())
    browser_page.locator(f"{SHOWN} .point").last.wait_for(state="attached")
    took_s = time.monotonic() - started
    print(f"300 trials, {path.stat().st_size / 2**20:.2f} MB: open after {took_s:.2f} s")
    assert browser_page.locator(f"{SHOWN} .point").count() == 300
    assert took_s < 2
    silent(browser_page)
