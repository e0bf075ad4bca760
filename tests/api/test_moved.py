"""A run, its data and the other files that it names may be moved, and it goes on."""

import re
import shutil
from pathlib import Path

import albumentations
import pytest
import yaml
from conftest import SPACE, write_pictures

import autoseg

RESUME = {"resume": True, "name": "run", "dry_run": True}
FILES = {
    "data": "pictures", "remap": "merge.yaml", "space": "own.yaml", "augment": "flips.json",
    "device": "slow.yaml",
}  # fmt: skip


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A project: a run in results/run, begun with relative paths, and the files that it names."""
    root = tmp_path_factory.mktemp("begun") / "project"
    write_pictures(root / "pictures", {"train": 4, "val": 4, "test": 2})
    (root / "merge.yaml").write_text("nothing: background\nbox: rest\n")
    (root / "own.yaml").write_text(SPACE)
    (root / "slow.yaml").write_text("kind: local")
    flips = albumentations.Compose([albumentations.VerticalFlip()])
    albumentations.save(flips, root / "flips.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        autoseg.optimize(**FILES, trials=1, max_latency="0.001ms", name="run", workers=1)
    return root


@pytest.fixture
def project(begun, tmp_path, monkeypatch) -> Path:
    """That project in another place than it was begun in, and a working directory elsewhere."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    root = Path(shutil.copytree(begun, tmp_path / "project"))
    declared = root / "results" / "run" / "run.yaml"  # as if it had been begun there
    declared.write_text(declared.read_text().replace(str(begun), str(root)))
    return root


def said(folder: Path) -> dict:
    return yaml.safe_load((folder / "run.yaml").read_text())


def test_optimize_resumed_finds_relative_paths_from_any_working_directory(project):
    run = project / "results" / "run"
    before = (run / "run.yaml").read_text()
    autoseg.optimize(**RESUME, results=project / "results")
    assert said(run)["data"] == "pictures"
    assert (run / "run.yaml").read_text() == before


def test_optimize_resumed_finds_all_files_of_a_project_that_was_moved_as_a_whole(project):
    moved = project.rename(project.with_name("moved"))
    autoseg.optimize(**RESUME, results=moved / "results")
    told = said(moved / "results" / "run")
    assert {name: told[name] for name in FILES} == {
        name: str(moved / file) for name, file in FILES.items()
    }
    # From now on they are found from a run that leaves the project.
    (moved / "results" / "run").rename(project.parent / "here" / "run")
    autoseg.optimize(**RESUME, results=".")


@pytest.mark.parametrize("option", FILES)
def test_optimize_resumed_names_what_is_missing_and_takes_its_new_place(option, project):
    results, file = project / "results", project / FILES[option]
    (project.parent / "new").mkdir()
    moved = file.rename(project.parent / "new" / file.name)
    with pytest.raises(autoseg.InputError) as caught:
        autoseg.optimize(**RESUME, results=results)
    assert str(file) in str(caught.value)
    assert f"--{option} NEWPLACE" in str(caught.value)
    autoseg.optimize(**RESUME, results=results, **{option: Path("../new") / file.name})
    assert said(results / "run")[option] == str(moved)
    autoseg.optimize(**RESUME, results=results)  # the run keeps it


def test_optimize_resumed_takes_moved_data_of_a_moved_run_by_command(project, autoseg_command):
    (project / "pictures").rename("elsewhere")
    (project / "results").rename("other")
    words = ["optimize", "--resume", "--name", "run", "--results", "other"]
    missing = autoseg_command(*words)
    assert missing.code == 2 and "--data NEWPLACE" in missing.stderr
    assert len(missing.stderr.splitlines()) == 1
    for file in ("merge.yaml", "own.yaml", "flips.json", "slow.yaml"):
        (project / file).rename(file)  # found in the working directory, as they were given
    called = autoseg_command(*words, "--data", "elsewhere")
    assert called.code == 3, called.stderr
    for verb in ("front", "report"):
        assert autoseg_command(verb, "other/run").code in (0, 3)


def test_optimize_resumed_refuses_other_data_in_the_new_place(project):
    other = write_pictures(project.parent / "other", {"train": 5, "val": 4, "test": 2})
    with pytest.raises(autoseg.InputError) as caught:
        autoseg.optimize(**RESUME, results=project / "results", data=other)
    message = str(caught.value)
    assert re.search("data in .*other .*5 train.*4 train.* changed since the run began", message)
    assert "\n" not in message and said(project / "results" / "run")["data"] == "pictures"


def test_optimize_resumed_refuses_another_space_in_the_new_place(project):
    (project / "other").mkdir()
    other = project / "other" / "own.yaml"
    other.write_text(SPACE.replace("[96, 64]", "[128, 96]"))
    with pytest.raises(autoseg.InputError, match="the space changed since the run began"):
        autoseg.optimize(**RESUME, results=project / "results", space=other)


def test_optimize_resumed_refuses_a_run_with_another_resize(project, monkeypatch):
    monkeypatch.setattr("autoseg.api.assemble.RESIZE_VERSION", 1)
    with pytest.raises(autoseg.InputError, match="the resize of pictures changed since the run"):
        autoseg.optimize(**RESUME, results=project / "results")


def test_optimize_keeps_the_order_of_runs_when_one_of_them_is_told_a_new_place(project):
    results = project / "results"
    shutil.copytree(results / "run", results / "newer")
    (results / "newer" / "run.yaml").touch()
    moved = (project / "pictures").rename(project / "elsewhere")
    autoseg.optimize(**RESUME, results=results, data=moved)
    with pytest.raises(autoseg.InputError, match="'newer'"):
        autoseg.optimize(resume=True, results=results)


def test_remeasure_takes_the_new_place_of_the_data(project, autoseg_command):
    run, moved = project / "results" / "run", (project / "pictures").rename("elsewhere")
    (project / "flips.json").unlink()  # nothing is trained
    board = autoseg.FakeDevice(latency=5.0, name="board")
    with pytest.raises(autoseg.InputError, match="--data NEWPLACE"):
        autoseg.remeasure(run, device=board)
    assert autoseg.remeasure(run, device=board, data=moved).device == "board"
    Path("c.yaml").write_text("kind: local")
    called = autoseg_command("remeasure", str(run), "--device", "c.yaml")
    assert called.code == 3, called.stderr
