"""Spaces: what each effort opens, what a candidate carries, and what a faulty file is told."""

import re
import sys
from pathlib import Path

import pytest

from autoseg import networks
from autoseg.core.errors import InputError
from autoseg.networks.space import EFFORTS, Knob, SearchSpace, load_space

GOOD = """\
network: fast_scnn
knobs:
  resolution: {choices: [256, 192x256, 128], baseline: 256, effort: entry}
  a: {choices: [1.0, 0.5], baseline: 1, effort: intermediate}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def told(folder: Path, text: str) -> list[str]:
    path = written(folder, text)
    with pytest.raises(InputError) as caught:
        load_space(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


@pytest.fixture(scope="module")
def shipped_space() -> SearchSpace:
    return load_space("fast_scnn")


def test_load_space_of_fast_scnn_has_the_choices_of_the_thesis(shipped_space):
    assert [shipped_space.count(effort) for effort in EFFORTS] == [7, 7 * 5 * 3, 7 * 5 * 3 * 3 * 4]
    assert dict(shipped_space.baseline.choices) == {
        "resolution": 512, "a": 1, "t": 6, "r": 3, "pp": 1, "channels": 3,
    }  # fmt: skip
    assert all(knob.ordered for knob in shipped_space.knobs)


@pytest.mark.parametrize("effort", EFFORTS)
def test_candidates_are_distinct_and_complete(shipped_space, effort):
    every = list(shipped_space.candidates(effort))
    assert len({candidate.key for candidate in every}) == shipped_space.count(effort)
    assert shipped_space.baseline in every
    assert all(len(candidate.choices) == 6 for candidate in every)


def test_candidates_keep_locked_knobs_at_their_baseline(shipped_space):
    for candidate in shipped_space.candidates("entry"):
        assert candidate == shipped_space.candidate(resolution=candidate["resolution"])


def test_candidates_are_lazy():
    many = tuple(Knob(f"k{i}", tuple(range(9)), 0, "expert") for i in range(40))
    space = SearchSpace("wide", "fast_scnn", many)
    assert space.count("expert") == 9**40
    assert next(space.candidates("expert")) == space.baseline


def test_candidates_of_the_shipped_space_build(shipped_space):
    smallest = dict(list(shipped_space.candidates("expert"))[-1].choices)
    knobs = {name: v for name, v in smallest.items() if name not in ("resolution", "channels")}
    networks.build(shipped_space.network, channels=smallest["channels"], classes=1, **knobs)


def test_candidate_key_does_not_depend_on_number_format(tmp_path):
    space = load_space(written(tmp_path, GOOD))
    assert space.name == "mine"
    assert space.candidate(a=1.0).key == space.candidate(a=1).key == space.baseline.key
    assert space.candidate(resolution="256x256") == space.candidate(resolution="256")
    assert space.candidate(resolution="192x256").input_hw == (192, 256)
    assert not space.knobs[0].ordered


def test_load_space_without_channels_is_rgb(tmp_path):
    assert load_space(written(tmp_path, GOOD)).baseline["channels"] == 3


def test_load_space_keeps_the_recipe(tmp_path):
    space = load_space(written(tmp_path, GOOD + "recipe: {batch: 8}\n"))
    assert space.recipe == {"batch": 8}


def test_load_space_checks_a_users_builder_by_its_signature(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text("def tiny(channels, classes, width, *, depth=1): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    head = GOOD.splitlines()[2]
    text = f"network: my_nets:tiny\nknobs:\n{head}\n"
    width = "  width: {choices: [8, 16], baseline: 8, effort: entry}\n"
    assert load_space(written(tmp_path, text + width)).count("entry") == 6
    (missing,) = told(tmp_path, text)
    assert missing.startswith("2: knobs.width: my_nets:tiny ")
    (unknown,) = told(tmp_path, text + width + width.replace("width", "dept"))
    assert re.match("5: knobs.dept: my_nets:tiny .*'depth'.* width, depth$", unknown)
    sys.modules.pop("my_nets")


def test_load_space_reports_all_faults_with_their_lines(tmp_path):
    lines = told(
        tmp_path,
        """\
network: fast_scnn
knobs:
  resolution:
    choices: [100, 32, 128, 128, big]
    baseline: 256
    effort: entry
  a: {choices: [1, 0.5], baseline: 0.75, effort: intermedate}
  tt: {choices: [1], baseline: 1, effort: expert}
  pp: {choices: [yes, no], baseline: yes, effort: expert}
  channels: {choices: [2], baseline: 3, effort: expert}
  r: {choices: [], effort: expert}
extra: 1
""",
    )
    for start, rule in [
        (
            "4: knobs.resolution.choices.0: ",
            r"\b32\b.*\b64, got 100\b.*\b96\b",
        ),
        ("4: knobs.resolution.choices.1: ", r"got 32\b.*\b64\b"),
        ("4: knobs.resolution.choices.3: ", "128 .*twice"),
        ("4: knobs.resolution.choices.4: ", "got 'big'"),
        ("5: knobs.resolution.baseline: ", "choices 128, 128, got 256"),
        ("7: knobs.a.baseline: ", "choices 1, 0.5, got 0.75"),
        ("7: knobs.a.effort: ", "'entry', 'intermediate' or 'expert'"),
        ("8: knobs.tt: ", "'t'.* a, t, r, pp"),
        ("9: knobs.pp.choices.0: ", "got True.* 1 or 0"),
        ("9: knobs.pp.baseline: ", "got True.* 1 or 0"),
        ("10: knobs.channels.choices.0: ", r"1 \(luminance\) or 3 \(RGB\), got 2"),
        ("11: knobs.r.choices: ", "at least 1"),
        ("11: knobs.r.baseline: ", "required"),
        ("12: extra: ", ""),
    ]:
        assert any(line.startswith(start) and re.search(rule, line) for line in lines), (
            start,
            lines,
        )


def test_load_space_refuses_a_file_without_resolution_or_with_an_unknown_network(tmp_path):
    lines = told(tmp_path, "network: fast_scn\nknobs: {}\n")
    assert any(line.startswith("2: knobs.resolution: ") for line in lines)
    assert any("'fast_scn'" in line for line in lines)


@pytest.mark.parametrize("text", ["", "[]", "7", "network: fast_scnn\nknobs: 3\n", "a: b: c"])
def test_load_space_refuses_a_file_that_is_no_space(tmp_path, text):
    assert told(tmp_path, text)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"widht": 1}, "'widht'"),
        ({"a": 0.3}, r"^a .*1, 0\.75, 0\.5, 0\.25, 0\.125, got 0\.3"),
        ({"resolution": 100}, r"^resolution .*\b32\b"),
        ({"pp": True}, "^pp .*number or text, got True"),
    ],
)
def test_candidate_outside_the_space_is_refused(shipped_space, choices, message):
    with pytest.raises(InputError) as caught:
        shipped_space.candidate(**choices)
    assert re.search(message, str(caught.value))


def test_count_of_an_unknown_effort_lists_the_known(shipped_space):
    with pytest.raises(InputError, match="entry, intermediate, expert, got 'export'.*'expert'"):
        shipped_space.count("export")
