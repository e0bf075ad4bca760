"""What the docs show runs: their commands and Python blocks; their links and tables are true."""

import dataclasses
import glob
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import autoseg
from autoseg import cli
from autoseg.core.records import Evaluation, Score
from autoseg.run.infeasible import Explanation
from autoseg.train.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNS = ("demo", "parcels", "mine")  # the names that the docs give to finished runs
SPACE = """\
network: fast_scnn
knobs:
  resolution: {choices: [96, 64], baseline: 96, effort: entry}
  a: {choices: [0.25, 0.125], baseline: 0.25, effort: intermediate}
  t: {choices: [2], baseline: 2, effort: intermediate}
  r: {choices: [1], baseline: 1, effort: expert}
  pp: {choices: [0], baseline: 0, effort: expert}
"""
FLIP = {"__class_fullname__": "HorizontalFlip", "p": 0.5}
AUGMENTATION = {
    "transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": [FLIP]}
}  # fmt: skip
SHORT = {"budget": "20s", "workers": 2}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, as Markdown has it."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        yield Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])


BLOCKS = [block for page in PAGES for block in blocks(page)]


def commands(block: Block) -> Iterator[str]:
    if block.language in ("sh", "console"):
        for line in block.text.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ").strip()
            if command.startswith("autoseg "):
                yield command.removeprefix("autoseg ")


def tiered(place: str, what: Any, *, expensive: bool) -> Any:
    return pytest.param(what, id=place, marks=[pytest.mark.slow] if expensive else [])


def json_sections() -> Iterator[Any]:
    """Each section of the JSON page that shows one command and the fields of what it prints."""
    for section in (ROOT / "docs" / "json.md").read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        if found := re.search(r"^```sh\nautoseg (.*)\n```$", text, re.M):
            told = re.findall(r"^\| `(\w+)` \|", text, re.M)
            yield pytest.param(found[1], told, id=title)


JSON_SECTIONS = [*json_sections()]
RUN_THERE = [section.values[0] for section in JSON_SECTIONS]
SEARCHES = [
    tiered(f"{block} {command}", command, expensive=True)
    for block in BLOCKS
    for command in commands(block)
    if command.startswith("optimize")
]
OTHERS = [
    tiered(f"{block}", others, expensive=False)
    for block in BLOCKS
    if (others := [c for c in commands(block) if not c.startswith("optimize")])
    if not set(others) <= set(RUN_THERE)
]
PYTHON = [
    tiered(str(block), block, expensive="optimize(" in block.text)
    for block in BLOCKS
    if block.language == "python"
]


@pytest.fixture(scope="module")
def place(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it: pictures, and the finished run by the names in the docs."""
    place = tmp_path_factory.mktemp("docs")  # the commands write into it
    make_pictures(place / "pictures")
    (place / "tiny.yaml").write_text(SPACE)
    (place / "mine.json").write_text(json.dumps(AUGMENTATION))
    for block in BLOCKS:
        if block.language == "yaml" and (named := re.match(r"# (\S+\.yaml)\n", block.text)):
            (place / named[1]).write_text(block.text)
    for name in RUNS:
        shutil.copytree(finished.folder, place / "results" / name)
    return place


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder, as the working directory."""
    monkeypatch.chdir(place)
    return place


def make_pictures(folder: Path) -> None:
    """Bright boxes on dark ground, and an index of splits and groups."""
    rng = np.random.default_rng(0)
    lines = ["stem,split,package"]
    for number in range(32):
        split = ("train", "val", "test")[max(0, number // 8 - 1)]
        mask = np.zeros((72, 96), np.uint8)
        top, left = rng.integers(5, 25, 2)
        mask[top : top + 40, left : left + 50] = 1
        picture = rng.integers(0, 60, (*mask.shape, 3)) + 150 * mask[..., None]
        lines.append(f"{number:04d},{split},{number // 2}")
        for kind, array in (("images", picture.astype(np.uint8)), ("masks", mask)):
            path = folder / kind / split / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def run(command: str) -> int:
    """The exit code of a command line, with file patterns expanded as a shell does."""
    arguments = [
        found
        for word in shlex.split(command)
        for found in (sorted(glob.glob(word)) if "*" in word else [word])
    ]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(sys, "argv", ["autoseg", *arguments])
        cli.main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize("block", OTHERS)
def test_docs_shell_blocks_run_in_order(block: list[str], here: Path) -> None:
    assert [run(command) for command in block] == [0] * len(block)


@pytest.mark.parametrize("command", SEARCHES)
def test_docs_optimize_commands_run(
    command: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumes = "--resume" in command
    monkeypatch.chdir(copy_of(here, tmp_path / "copy", with_runs=resumes))
    budget, workers = SHORT.values()
    if "--more" in command:
        short = re.sub(r"--more \S+", f"--more {budget}", command)
    else:
        short = f"{command} --budget {budget}"
    code = run(f"{short} --workers {workers}")
    if "--dry-run" in command:
        assert code == 0 and not list(Path("results").glob("*/front.json"))
        return
    # A few seconds may be too short for any front: then it must say so, with files in place.
    assert code in (0, 3)
    assert len(list(Path("results").glob("*/front.json"))) == (len(RUNS) if resumes else 1)


@pytest.mark.parametrize("block", PYTHON)
def test_docs_python_blocks_run(
    block: Block, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Inside this process the modules of the same names may have taken their places.
    if "optimize(" in block.text:
        monkeypatch.chdir(copy_of(here, tmp_path / "copy", with_runs=False))
        optimize = importlib.import_module("autoseg.api.optimize").optimize
        monkeypatch.setattr(autoseg, "optimize", lambda **given: optimize(**{**given, **SHORT}))
    names: dict[str, Any] = {"autoseg": autoseg, "__name__": "docs"}
    exec(compile(block.text, str(block), "exec"), names)
    for name in [n for n in names if n.startswith("test_")]:
        names[name](tmp_path)


def copy_of(folder: Path, to: Path, *, with_runs: bool) -> Path:
    for name in ("pictures", *(["results"] if with_runs else [])):
        shutil.copytree(folder / name, to / name)
    for path in [*folder.glob("*.yaml"), folder / "mine.json"]:
        shutil.copy(path, to)
    return to


@pytest.mark.parametrize(("command", "told"), JSON_SECTIONS)
def test_docs_list_all_json_fields(
    command: str,
    told: list[str],
    here: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(copy_of(here, tmp_path / "copy", with_runs=True))
    assert run(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [*printed] == ["schema", *told] and printed["schema"] == 1


def test_docs_list_all_fields_of_an_evaluation_and_an_explanation() -> None:
    text = (ROOT / "docs" / "json.md").read_text()
    parts = {
        title: re.findall(
            r"^\| `(\w+)` \|", text.split(f"\n## {title}\n")[1].split("\n## ")[0], re.M
        )
        for title in ("An evaluation", "A miss")
    }
    assert parts["An evaluation"] == [f.name for f in dataclasses.fields(Evaluation)]
    assert parts["A miss"] == [*Explanation(binds="time", summary="").to_json()]
    for field in dataclasses.fields(Score):
        assert f"`{field.name}`" in text, field.name


def test_docs_list_all_files_of_a_run_folder(here: Path) -> None:
    text = (ROOT / "docs" / "concepts.md").read_text()
    section = text.split("## A run's folder")[1]
    told = set(re.findall(r"[\w.]+", re.sub("[<>]", "", section.split("The ledger")[0])))
    files = [p.name for p in (here / "results" / "demo").rglob("*") if p.is_file()]
    there = {re.sub("^[0-9a-f]{12}", "key", name) for name in files}
    assert {name for name in there if Path(name).suffix not in (".pt", ".onnx")} <= told
    events = (here / "results" / "demo" / "ledger.jsonl").read_text().splitlines()
    for kind in {json.loads(event)["event"] for event in events}:
        assert re.search(rf"^\|.*`{kind}`.*\|", section, re.M), kind


def test_docs_name_every_command_line_option() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    for name, command in sub_commands(typer.main.get_command(cli.app)):
        section = re.split(rf"^## {name}$", text, flags=re.M)[1].split("\n## ")[0]
        for option in (o for p in command.params for o in p.opts if o.startswith("--")):
            assert f"`{option}" in section or option == "--help", f"{name} {option}"
        told = set(re.findall(r"^\| `(--[\w-]+)", section, re.M))
        assert told <= {o for p in command.params for o in p.opts}, name


def sub_commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from sub_commands(command, f"{name} ")
        else:
            yield before + name, command


def test_docs_recipe_table_has_every_default() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \| ", text, re.M))
    for field in dataclasses.fields(Recipe):
        default = told[field.name]
        value = default if isinstance(field.default, str) else json.loads(default)
        assert (tuple(value) if isinstance(value, list) else value) == field.default, field.name


def test_make_has_the_targets_of_the_quick_start() -> None:
    readme = (ROOT / "README.md").read_text()
    quick = readme.split("## Quick start")[1].split("```sh\n")[1].split("```")[0]
    assert quick.splitlines() == ["make optimize", "make test"]
    if shutil.which("make") is None:
        pytest.skip("make is not here")
    for command in quick.splitlines():
        plan = subprocess.run(["make", "-n", command.split()[1]], cwd=ROOT, capture_output=True)
        assert plan.returncode == 0, plan.stderr


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower().strip()).replace(" ", "-")


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name
)
def test_docs_relative_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in [slug(heading) for heading in headings], link
