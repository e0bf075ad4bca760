"""A user's YAML file: found by name or path, and all its faults told at once."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from autoseg.core import yaml_files
from autoseg.core.errors import InputError


class Knob(BaseModel):
    model_config = ConfigDict(extra="forbid")
    choices: list[int | str] = Field(min_length=1)
    effort: str = "entry"

    @field_validator("effort")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("entry", "expert"):
            raise ValueError(f"must be entry or expert, got {value!r}; use entry")
        return value


class File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    network: str
    threads: int = Field(1, gt=0)
    knobs: dict[str, Knob]


def written(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


def told(path: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        yaml_files.load(written(path, text), File)
    return [line.removeprefix(f"{path}/") for line in str(caught.value).splitlines()]


def test_a_good_file_is_the_model(tmp_path: Path) -> None:
    path = written(tmp_path, "network: n\nknobs:\n  a: {choices: [1, 192x256]}\n")
    assert yaml_files.load(path, File).knobs["a"].choices == [1, "192x256"]


def test_all_faults_come_at_once_with_line_field_rule_and_value(tmp_path: Path) -> None:
    lines = told(
        tmp_path,
        "threads: 0\n"
        "knobs:\n"
        "  a:\n"
        "    choises: [1]\n"
        "    choices:\n"
        "      - 1\n"
        "      - [2]\n"
        "    effort: hard\n"
        "  b:\n"
        "    choices: []\n"
        "extra: 1\n",
    )
    assert lines == [
        "space.yaml:1: network: is required; add it",
        "space.yaml:1: threads: must be greater than 0, got 0",
        "space.yaml:4: knobs.a.choises: unknown field, did you mean 'choices'?; "
        "known: choices, effort",
        "space.yaml:7: knobs.a.choices.1: must be a valid integer, got [2] "
        "or must be a valid string, got [2]",
        "space.yaml:8: knobs.a.effort: must be entry or expert, got 'hard'; use entry",
        "space.yaml:10: knobs.b.choices: List should have at least 1 item after validation, "
        "not 0, got []",
        "space.yaml:11: extra: unknown field; known: network, threads, knobs",
    ]


def test_a_repeated_key_is_a_fault_beside_the_others(tmp_path: Path) -> None:
    lines = told(tmp_path, "network: n\nthreads: -1\nnetwork: m\nknobs: {}\n")
    assert lines == [
        "space.yaml:2: threads: must be greater than 0, got -1",
        "space.yaml:3: network: a key may stand once, it is already on line 1; remove one",
    ]


def test_a_key_repeated_on_one_line_is_a_fault(tmp_path: Path) -> None:
    lines = told(tmp_path, "network: n\nknobs: {a: {choices: [1]}, a: {choices: [2]}}\n")
    assert "space.yaml:2: knobs.a: a key may stand once" in lines[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("network: [\n", "must be valid YAML"),
        ("when: 2001-99-99\n", "must be valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "space.yaml:1: must be valid YAML"),
        ("", "space.yaml:1: must be a mapping"),
        ("- 1\n", "space.yaml:1: must be a mapping"),
        ("[" * 5000, "must be valid YAML"),
    ],
)
def test_what_is_not_such_a_file_is_said(tmp_path: Path, text: str, line: str) -> None:
    assert line in told(tmp_path, text)[0]


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        yaml_files.read(path)


def test_a_file_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "network: n\nknobs: &k\n  a: *k\n")
    with pytest.raises(InputError):
        yaml_files.load(path, File)


def test_faults_found_later_carry_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "knobs:\n  a:\n    choices:\n      - 1\n      - 2\n")
    assert yaml_files.read(path).line(("knobs", "a", "choices", 1)) == 5
    error = yaml_files.faults(
        path, [(("knobs", "a", "choices", 1), "too many"), ((), "no baseline")]
    )
    assert str(error) == f"{path}:1: no baseline\n{path}:5: knobs.a.choices.1: too many"


def test_a_shipped_name_and_a_path_are_found(tmp_path: Path) -> None:
    assert "local" in yaml_files.names("devices")
    assert yaml_files.find("devices", "local").name == "local.yaml"
    path = written(tmp_path, "network: n\n")
    assert yaml_files.find("devices", path) == yaml_files.find("devices", str(path)) == path


def test_an_unknown_name_lists_the_known_and_guesses(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="unknown device 'locl', did you mean 'local'.; known: .*local"
    ):
        yaml_files.find("devices", "locl")
    with pytest.raises(InputError, match="no search space file at 'nowhere/a.yaml'"):
        yaml_files.find("search_spaces", "nowhere/a.yaml")
