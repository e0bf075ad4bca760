"""`autoseg report`: pages, Markdown and figures of a run, and of two beside each other."""

import re
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from staged import HOSTILE, staged

from autoseg.core.text import markdown
from autoseg.run.result import Result

FIGURES = ("front", "learning", "budget", "hypervolume", "knobs")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return staged(tmp_path_factory.mktemp("runs") / "it's a run")


def test_report_writes_page_and_figures_into_the_run_folder(run, autoseg_command):
    called = autoseg_command("report", str(run))
    assert (called.code, called.stderr) == (0, "")
    assert called.stdout == f"{run / 'report.html'}\n"
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    for name in FIGURES:
        pixels = np.asarray(Image.open(run / "figures" / f"{name}.png").convert("L"))
        assert pixels.std() > 5, name
        assert "<svg" in (run / "figures" / f"{name}.svg").read_text()


def test_report_to_another_place_writes_one_file(run, autoseg_command, tmp_path):
    path = tmp_path / "new folder" / "page.html"
    assert autoseg_command("report", str(run), "-o", str(path)).code == 0
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_report_markdown_has_all_facts_and_escapes_names(autoseg_command, tmp_path):
    folder = staged(tmp_path / "run", classes=("background", HOSTILE), device=HOSTILE)
    path = tmp_path / "out" / "report.md"
    called = autoseg_command("report", str(folder), "--format", "md", "-o", str(path))
    assert called.code == 0
    text = path.read_text()
    assert re.match(r"# 5 ", text)
    assert "- **fastest**: " in text
    # In its block, the command is shown as it is.
    lines = re.sub("```sh\n.*?\n```", "", text, flags=re.DOTALL).splitlines()
    assert not any("<" in line for line in lines)
    assert markdown(HOSTILE) in text
    for before, line in zip(lines, lines[1:], strict=False):
        if before.startswith("| ") and line.startswith("| "):
            assert _cells(line) == _cells(before), line
    keys = [e.candidate.key for e in Result.from_run(folder).front]
    sheets = [f"figures/{key}.jpg" for key in keys]
    assert linked_from(path) == {*sheets, *(f"figures/{name}.png" for name in FIGURES)}
    assert len(keys) == text.count("| truth ↓ taken for → | background |") == 5


def linked_from(path):
    """The pictures of a report, which must be there."""
    links = {part.partition(")")[0] for part in path.read_text().split("](")[1:]}
    assert all(Image.open(path.parent / unquote(link)).width > 100 for link in links)
    return links


def test_report_markdown_shows_the_ten_largest_confusions_of_many_classes(
    autoseg_command, tmp_path
):
    many = tuple(f"class {n}" for n in range(30))
    folder = staged(tmp_path / "run", trials=6, front=1, classes=many)
    (folder / "diagnostics" / f"{Result.from_run(folder).front[0].candidate.key}.jpg").unlink()
    assert autoseg_command("report", str(folder), "--format", "md").code == 0
    told = (folder / "report.md").read_text().partition("| truth | taken for | % |")[2]
    assert told.partition("\n\n")[0].count("\n| class ") == 10
    assert not any(link.endswith("jpg") for link in linked_from(folder / "report.md"))


def _cells(line: str) -> int:
    return line.replace("\\|", "").count("|")


@pytest.mark.parametrize("format", ["html", "md"])
def test_report_compare_shows_two_runs(run, autoseg_command, tmp_path, format):
    other = staged(tmp_path / "an other $x$", seed=1, front=3, floor=0.93)
    called = autoseg_command("report", str(run), "--compare", str(other), "--format", format)
    assert called.code == 0
    path = run / f"report-vs-an other _x_.{format}"
    assert called.stdout == f"{path}\n"
    assert re.search("hypervolumes .*not compare", path.read_text())
    figure = run / "figures" / "front-vs-an other _x_.png"
    pixels = np.asarray(Image.open(figure).convert("RGB")).astype(int)
    for color in ((0x0B, 0x6E, 0x99), (0xB8, 0x60, 0x1A)):
        assert (abs(pixels - color).max(axis=2) < 12).sum() > 100
    drawn = figure.with_suffix(".svg").read_text()
    assert "it's a run (5)" in drawn and "an other $x$ (" in drawn
    if format == "md":
        assert linked_from(path) == {"figures/front-vs-an%20other%20_x_.png"}


def test_report_compare_accepts_an_empty_run(run, autoseg_command, tmp_path):
    other = staged(tmp_path / "other", trials=2, front=0, exhibits=False)
    (other / "ledger.jsonl").write_text("")
    path = tmp_path / "both.md"
    ways = ("--compare", str(run), "--format", "md", "-o", str(path))
    called = autoseg_command("report", str(other), *ways)
    assert (called.code, called.stderr) == (0, "")
    assert linked_from(path) == {"figures/front-both.png"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "pdf"), "--format .*html, md, got 'pdf'"),
        (("--device", "moon"), "'moon'"),
        (("--compare", "nowhere"), "nowhere"),
        (("--device", "a", "--device", "b", "--device", "c"), "--device.*got 3"),
        (("-o", "/proc/none/page.html"), "/proc/none/page.html"),
        (("-o", "/"), "-o .*got .*'/'"),
    ],
)
def test_report_refuses_wrong_options_with_option_and_value(run, autoseg_command, options, said):
    called = autoseg_command("report", str(run), *options)
    assert called.code == 2
    assert re.search(said, called.stderr)
    assert called.stdout == ""


def test_report_of_a_run_named_in_no_encoding_is_written(autoseg_command, tmp_path):
    folder = staged(tmp_path / "run \udcff", trials=6, front=2)
    called = autoseg_command("report", str(folder), "--format", "md")
    assert (called.code, called.stderr) == (0, "")
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "autoseg optimize --name" in text and "run \\udcff" in text
