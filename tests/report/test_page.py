"""The report's page: what it tells of a run, whatever a run holds and whatever names it has."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from staged import HOSTILE, Stage, staged

from autoseg.core.diagnostics import sheet_path
from autoseg.report.page import write_comparison, write_page
from autoseg.report.page.content import MAX_MODELS
from autoseg.report.spending import spending
from autoseg.run.ledger import read_events
from autoseg.run.result import Result
from autoseg.run.rows import latency

VOID = {"meta", "link", "img", "br", "rect", "circle", "line", "path"}


class Page(HTMLParser):
    """A page as it is read: its elements, its text, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.open, self.words = text, [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def all(self, tag: str, **attributes: str) -> list[dict]:
        found = [attrs for name, attrs in self.tags if name == tag]
        return [a for a in found if all(a.get(k) == v for k, v in attributes.items())]

    def points(self, wide: bool = True) -> list[dict]:
        """Those of the picture that one width shows."""
        classes = [(tag, a) for tag, a in self.tags if a.get("data-key")]
        half = len(classes) // 2
        return [a for _, a in (classes[:half] if wide else classes[half:])]

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def raw_data(self) -> str:
        start = '<script type="application/json" id="data">'
        return re.search(rf"{start}(.*?)</script>", self.text, re.S)[1]

    @property
    def data(self) -> dict:
        return json.loads(self.raw_data)


def page_of(tmp_path, stage: Stage | None = None, **changed) -> tuple[Page, Result]:
    result = Result.from_run(staged(tmp_path / "run", stage, **changed))
    write_page(result, tmp_path / "report.html")
    return Page((tmp_path / "report.html").read_text(encoding="utf-8")), result


def kinds(points: list[dict]) -> dict[str, int]:
    named = [p["class"].split()[1] for p in points]
    return {kind: named.count(kind) for kind in named}


def test_write_page_has_the_verdict_first_and_every_measured_candidate(tmp_path):
    page, result = page_of(tmp_path)
    assert result.headline in page.said
    assert page.said.index(result.headline) < page.said.index("Picks")
    measured = [e for e in result.evaluations if e.measurement]
    for wide in (True, False):
        points = page.points(wide)
        assert len({p["data-key"] for p in points}) == len(points) == len(measured) == 40
        assert kinds(points)["front"] == 5
        assert kinds(points)["rejected"] == 1
        assert sum("baseline" in p["class"] for p in points) == 1
        assert all(p["aria-label"] for p in points)
    assert set(page.data["one"]) == {e.candidate.key for e in measured}
    said = [page.said.index(result.reason(how)) for how in ("accurate", "balanced", "fastest")]
    assert said == sorted(said)
    (opened,) = [s for s in page.all("details", **{"class": "model"}) if "open" in s]
    assert opened["id"] == f"model-{result.pick().candidate.key}"


def test_write_page_has_all_records_of_each_front_model(tmp_path):
    page, result = page_of(tmp_path)
    sheets = page.all("img")
    assert len(sheets) == len(result.front) == 5
    assert all(base64.b64decode(i["src"].partition(",")[2])[:2] == b"\xff\xd8" for i in sheets)
    assert all(sheet["alt"] for sheet in sheets)
    sections = page.all("details", **{"class": "model"})
    assert [s["id"] for s in sections] == [f"model-{e.candidate.key}" for e in result.front]
    for said in (
        "Conv", "resize 0.400 ms", "640x480", "1,000", "Latency distribution", "parcel",
        "ondemand", "51.50 °C", "1,490 to 1,500 MHz",
        "autoseg optimize --name run --max-latency 10ms --min-iou 0.9 --data 'my data/it'\"'\"'s'",
        "--recipe augment=false",
    ):  # fmt: skip
        assert said in page.said, said


def test_write_page_names_what_was_not_recorded(tmp_path):
    page, _ = page_of(tmp_path, diagnostics=False)
    assert re.search("contact sheet, confusion .*, time by operator", page.said)
    assert page.all("img") == []
    whole, _ = page_of(tmp_path / "whole")
    assert not re.search("contact sheet, confusion .*, time by operator", whole.said)


def test_write_page_loads_nothing_from_elsewhere(tmp_path):
    page, _ = page_of(tmp_path)
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    sources = [a.get("src") or "" for _, a in page.tags]
    links = [a["href"] for _, a in page.tags if a.get("href")]
    assert all(source.startswith(("data:", "")) for source in sources)
    assert all(link.startswith(("#", "data:,")) for link in links)
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg|http-equiv", "", page.text)


def test_write_page_escapes_hostile_names(tmp_path):
    hostile = Stage(classes=("background", HOSTILE), model=HOSTILE, device=HOSTILE)
    page, result = page_of(tmp_path, hostile)
    safe, _ = page_of(tmp_path / "safe")
    assert page.text.count("<script") == safe.text.count("<script") == 2
    assert len(page.all("img")) == len(safe.all("img"))
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert " ".join(HOSTILE.split()) in page.said


def test_write_comparison_data_cannot_close_their_script_element(tmp_path):
    hostile, other = (
        Result.from_run(staged(tmp_path / f"run{n}", device=name))
        for n, name in enumerate((HOSTILE, "local"))
    )
    write_comparison(hostile, other, tmp_path / "two.html")
    page = Page((tmp_path / "two.html").read_text(encoding="utf-8"))
    assert not set("<>&\u2028") & set(page.raw_data)
    assert {each["run"] for each in page.data["one"].values()} == {f"run0 on {HOSTILE}"}


def test_write_page_writes_a_run_with_a_hostile_name_beside_itself(tmp_path):
    name = "my \"run\" 'n' <b>é"
    result = Result.from_run(staged(tmp_path / name))
    write_page(result, result.files / "report.html")
    page = Page((tmp_path / name / "report.html").read_text(encoding="utf-8"))
    assert name in page.said
    assert page.all("b", **{"class": "é"}) == []


def test_write_page_without_a_front_has_the_reason_and_marks_the_nearest(tmp_path):
    page, result = page_of(tmp_path, floor=0.999)
    told = result.explanation()
    assert told.summary in page.said
    assert all(way.gives in page.said for way in told.relax)
    near = {p["data-key"] for p in page.points() if "near" in p["class"].split()}
    assert near == {e.candidate.key for e in told.nearest} != set()
    assert "Picks" not in page.said


@pytest.mark.parametrize("trials", [1, 2, 9])
def test_write_page_shows_a_live_run(tmp_path, trials):
    folder = staged(tmp_path / "run", trials=trials, front=0, diagnostics=False, finished=False)
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    for events in (0, 1, 2, len(lines)):
        (folder / "ledger.jsonl").write_text("".join(f"{line}\n" for line in lines[:events]))
        write_page(Result.from_run(folder), tmp_path / "report.html")
        page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert "not finished" in page.said


def test_write_page_shows_the_largest_confusions_of_many_classes(tmp_path):
    page, _ = page_of(tmp_path, classes=tuple(f"class {n}" for n in range(150)), front=2)
    assert "largest confusions" in page.said
    assert page.said.count("class 149") < 40


@pytest.mark.parametrize(
    ("classes", "told"),
    [(("background", "parcel"), "of parcel, the foreground"), (tuple("abc"), "of 3 classes")],
)
def test_write_page_says_of_which_classes_the_iou_is(tmp_path, classes, told):
    page, _ = page_of(tmp_path, classes=classes, front=2)
    assert told in page.said


def test_write_page_of_300_trials_is_small(tmp_path):
    result = Result.from_run(staged(tmp_path / "run", trials=300, front=30, sheet_bytes=120_000))
    path = tmp_path / "report.html"
    write_page(result, path)
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.points()) == 300
    assert len(page.all("img")) == 30
    assert path.stat().st_size < 5e6


def test_write_comparison_shows_two_runs_side_by_side(tmp_path):
    one = Result.from_run(staged(tmp_path / "one"))
    other = Result.from_run(staged(tmp_path / "other", seed=1, front=3))
    write_comparison(one, other, tmp_path / "both.html")
    page = Page((tmp_path / "both.html").read_text(encoding="utf-8"))
    assert len(page.points()) == 80
    marks = [p["data-run"] for p in page.points() if p["class"].split()[1] == "front"]
    assert (marks.count("one"), marks.count("two")) == (5, 3)
    assert "hypervolume" in page.said and "not comparable" not in page.said
    assert one.headline in page.said and other.headline in page.said
    assert set(page.data) == {"one", "two"}


def test_write_comparison_names_what_does_not_compare(tmp_path):
    one = Result.from_run(staged(tmp_path / "one"))
    other = Result.from_run(
        staged(tmp_path / "other", data_digest="d2", ceiling="20ms", device=HOSTILE)
    )
    write_comparison(one, other, tmp_path / "both.html")
    page = Page((tmp_path / "both.html").read_text(encoding="utf-8"))
    assert re.search("IoU .*not comparable", page.said)
    assert re.search("hypervolumes .*not comparable", page.said)
    assert page.text.count("<script") == 2


def test_write_page_links_to_models_lead_to_their_sections(tmp_path):
    page, result = page_of(tmp_path, trials=60, front=MAX_MODELS + 5, diagnostics=False)
    sections = {s["id"] for s in page.all("details", **{"class": "model"})}
    linked = {a["href"].removeprefix("#") for _, a in page.tags if "#model-" in a.get("href", "")}
    assert linked == sections and len(sections) == MAX_MODELS
    assert {f"model-{e.candidate.key}" for e in result.picks().values()} <= sections
    page, _ = page_of(tmp_path / "miss", floor=0.999)
    sections = {s["id"] for s in page.all("details", **{"class": "model"})}
    linked = {a["href"].removeprefix("#") for _, a in page.tags if "#model-" in a.get("href", "")}
    assert linked == sections != set()


def test_write_page_links_pictures_only_where_the_report_lies_beside_them(tmp_path):
    page, result = page_of(tmp_path)
    other = next(key for key, known in page.data["one"].items() if not known["section"])
    first = result.front[0].candidate.key
    shutil.copy(sheet_path(result.files, first), sheet_path(result.files, other))
    write_page(result, result.files / "report.html")
    there = Page((result.files / "report.html").read_text(encoding="utf-8"))
    assert (result.files / there.data["one"][other]["beside"]).is_file()
    write_page(result, tmp_path / "report.html")
    elsewhere = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "beside" not in elsewhere.data["one"][other]


def test_write_page_of_a_resumed_run_is_live_and_has_a_second_search_phase(tmp_path):
    page, result = page_of(tmp_path)
    assert "not finished" not in page.said
    events = read_events(result.folder)
    names = [name for name, _ in spending(events, ()).phases]
    assert len(names) == len(set(names)) == 3
    more = [e for e in events if e["event"] in ("proposed", "measured")][-2:]
    now_s = events[-1]["spent_s"] + 9
    events += [{**e, "spent_s": now_s} for e in more]
    (result.folder / "ledger.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    write_page(Result.from_run(result.folder), tmp_path / "report.html")
    said = Page((tmp_path / "report.html").read_text(encoding="utf-8")).said
    assert "not finished" in said
    assert spending(events, ()).phases[-1] == (names[1], now_s)


@pytest.mark.parametrize("statistic", ["mean", "p50", "p90", "p95", "p99"])
def test_write_page_has_an_interval_of_every_statistic(tmp_path, statistic):
    folder = staged(tmp_path / "run")
    said = (folder / "run.yaml").read_text().replace("statistic: p90", f"statistic: {statistic}")
    (folder / "run.yaml").write_text(said)
    result = Result.from_run(folder)
    for evaluation in result.front:
        low, high = latency(evaluation.measurement, statistic).ci95
        assert low <= evaluation.measurement.latency_ms(statistic) <= high
    write_page(result, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    rows = dict(page.data["one"][result.front[0].candidate.key]["rows"])
    assert "(95 %: " in rows[f"latency {statistic}"]


def test_write_page_names_the_statistic_shown_where_runs_are_too_few(tmp_path):
    folder = staged(tmp_path / "run")
    said = (folder / "run.yaml").read_text().replace("statistic: p90", "statistic: p99")
    (folder / "run.yaml").write_text(said)
    key = Result.from_run(folder).front[0].candidate.key
    events = read_events(folder)
    for event in events:
        if event.get("key") == key and "measurement" in event:
            event["measurement"] |= {"p99_ms": None, "p95_ms": None}
    (folder / "ledger.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    result = Result.from_run(folder)
    write_page(result, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert re.search(r"latency p99 \(.*p90\) in ms", page.said)
    shown = {name: dict(told["rows"]) for name, told in page.data["one"].items()}
    assert [name for name, rows in shown.items() if "latency p90" in rows] == [key]
    assert sum("latency p99" in rows for rows in shown.values()) == len(shown) - 1
    assert [
        f"p90 {result.front[0].measurement.p90_ms:.2f} ms" in p["aria-label"]
        for p in page.points()
        if p["data-key"] == key
    ] == [True]


def test_write_page_escapes_a_name_in_no_encoding(tmp_path):
    page, _ = page_of(tmp_path, classes=("background", "parcel \udcff"))
    assert "parcel \\udcff" in page.said


def test_write_page_command_repeats_the_run_under_its_name(tmp_path):
    page, result = page_of(tmp_path)
    assert result.declaration.command("run") in page.said
