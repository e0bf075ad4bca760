"""Spaces: what each effort opens, what a candidate carries, and what a faulty file is told."""

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


def test_the_shipped_space_opens_the_thesis_choices(shipped_space):
    assert [shipped_space.count(effort) for effort in EFFORTS] == [7, 7 * 5 * 3, 7 * 5 * 3 * 3 * 4]
    assert dict(shipped_space.baseline.choices) == {
        "resolution": 512, "a": 1, "t": 6, "r": 3, "pp": 1, "channels": 3,
    }  # fmt: skip
    assert all(knob.ordered for knob in shipped_space.knobs)


@pytest.mark.parametrize("effort", EFFORTS)
def test_candidates_are_all_different_and_whole(shipped_space, effort):
    every = list(shipped_space.candidates(effort))
    assert len({candidate.key for candidate in every}) == shipped_space.count(effort)
    assert shipped_space.baseline in every
    assert all(len(candidate.choices) == 6 for candidate in every)


def test_locked_knobs_keep_their_baseline(shipped_space):
    for candidate in shipped_space.candidates("entry"):
        assert candidate == shipped_space.candidate(resolution=candidate["resolution"])


def test_candidates_are_lazy():
    many = tuple(Knob(f"k{i}", tuple(range(9)), 0, "expert") for i in range(40))
    space = SearchSpace("wide", "fast_scnn", many)
    assert space.count("expert") == 9**40
    assert next(space.candidates("expert")) == space.baseline


def test_the_shipped_candidates_build(shipped_space):
    smallest = dict(list(shipped_space.candidates("expert"))[-1].choices)
    knobs = {name: v for name, v in smallest.items() if name not in ("resolution", "channels")}
    networks.build(shipped_space.network, channels=smallest["channels"], classes=1, **knobs)


def test_one_value_has_one_key_however_it_is_written(tmp_path):
    space = load_space(written(tmp_path, GOOD))
    assert space.name == "mine"
    assert space.candidate(a=1.0).key == space.candidate(a=1).key == space.baseline.key
    assert space.candidate(resolution="256x256") == space.candidate(resolution="256")
    assert space.candidate(resolution="192x256").input_hw == (192, 256)
    assert not space.knobs[0].ordered


def test_a_space_without_channels_is_rgb(tmp_path):
    assert load_space(written(tmp_path, GOOD)).baseline["channels"] == 3


def test_load_space_takes_the_stride_of_a_users_builder(tmp_path, monkeypatch):
    (tmp_path / "fine_nets.py").write_text("STRIDE = 8\ndef tiny(channels, classes): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        "network: fine_nets:tiny\n"
        "knobs:\n  resolution: {choices: [40, 16x24, 20], baseline: 40, effort: entry}\n"
    )
    (line,) = told(tmp_path, text)
    assert line.startswith("3: knobs.resolution.choices.2: ")
    assert "multiple of 8 and at least 16, got 20; the nearest is 16" in line
    assert load_space(written(tmp_path, text.replace(", 20", ""))).count("entry") == 2


def test_the_recipe_is_passed_through(tmp_path):
    space = load_space(written(tmp_path, GOOD + "recipe: {batch: 8}\n"))
    assert space.recipe == {"batch": 8}


def test_a_users_own_builder_is_checked_by_its_signature(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text("def tiny(channels, classes, width, *, depth=1): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    head = GOOD.splitlines()[2]
    text = f"network: my_nets:tiny\nknobs:\n{head}\n"
    width = "  width: {choices: [8, 16], baseline: 8, effort: entry}\n"
    assert load_space(written(tmp_path, text + width)).count("entry") == 6
    assert told(tmp_path, text) == [
        "2: knobs.width: my_nets:tiny cannot be built without it; add it"
    ]
    assert told(tmp_path, text + width + width.replace("width", "dept")) == [
        "5: knobs.dept: my_nets:tiny takes no such knob, did you mean 'depth'?; "
        "it takes width, depth"
    ]
    sys.modules.pop("my_nets")


def test_all_faults_come_at_once_with_their_lines(tmp_path):
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
            "multiple of 32 and at least 64, got 100; the nearest is 96",
        ),
        ("4: knobs.resolution.choices.1: ", "got 32; the nearest is 64"),
        ("4: knobs.resolution.choices.3: ", "128 stands twice"),
        ("4: knobs.resolution.choices.4: ", "got 'big'"),
        ("5: knobs.resolution.baseline: ", "one of the choices 100, 32, 128, 128, got 256"),
        ("7: knobs.a.baseline: ", "one of the choices 1, 0.5, got 0.75"),
        ("7: knobs.a.effort: ", "'entry', 'intermediate' or 'expert'"),
        ("8: knobs.tt: ", "takes no such knob, did you mean 't'?; it takes a, t, r, pp"),
        ("9: knobs.pp.choices.0: ", "got True; write 1 or 0"),
        ("9: knobs.pp.baseline: ", "got True; write 1 or 0"),
        ("10: knobs.channels.choices.0: ", "1 (luminance) or 3 (RGB), got 2"),
        ("11: knobs.r.choices: ", "at least 1"),
        ("11: knobs.r.baseline: ", "required"),
        ("12: extra: ", "unknown field"),
    ]:
        assert any(line.startswith(start) and rule in line for line in lines), (start, lines)


def test_a_file_without_resolution_or_with_an_unknown_network_is_refused(tmp_path):
    lines = told(tmp_path, "network: fast_scn\nknobs: {}\n")
    assert any(line.startswith("2: knobs.resolution: is required") for line in lines)
    assert any("no network is called 'fast_scn'" in line for line in lines)


@pytest.mark.parametrize("text", ["", "[]", "7", "network: fast_scnn\nknobs: 3\n", "a: b: c"])
def test_a_file_that_is_no_space_is_refused(tmp_path, text):
    assert told(tmp_path, text)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"widht": 1}, "no knob 'widht'"),
        ({"a": 0.3}, "a must be one of 1, 0.75, 0.5, 0.25, 0.125, got 0.3"),
        (
            {"resolution": 100},
            "resolution must be one of 512, 256, 224",
        ),
        ({"pp": True}, "pp must be a number or text, got True"),
    ],
)
def test_a_candidate_outside_the_space_is_refused(shipped_space, choices, message):
    with pytest.raises(InputError) as caught:
        shipped_space.candidate(**choices)
    assert message in str(caught.value)


def test_an_unknown_effort_names_the_known_ones(shipped_space):
    with pytest.raises(
        InputError, match="entry, intermediate, expert, got 'export', did you mean 'expert'"
    ):
        shipped_space.count("export")
