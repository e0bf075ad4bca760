"""A user's YAML file: found by name or path, and all its faults told at once."""

import os
import re
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


def test_load_of_a_good_file_gives_the_model(tmp_path: Path) -> None:
    path = written(tmp_path, "network: n\nknobs:\n  a: {choices: [1, 192x256]}\n")
    assert yaml_files.load(path, File).knobs["a"].choices == [1, "192x256"]


def test_load_reports_all_faults_with_line_field_rule_and_value(tmp_path: Path) -> None:
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
    patterns = [
        r"space\.yaml:1: network: .*required",
        r"space\.yaml:1: threads: .*0, got 0$",
        r"space\.yaml:4: knobs\.a\.choises: .*'choices'.*: choices, effort$",
        r"space\.yaml:7: knobs\.a\.choices\.1: .*integer.*string, got \[2\]$",
        r"space\.yaml:8: knobs\.a\.effort: must be entry or expert, got 'hard'; use entry$",
        r"space\.yaml:10: knobs\.b\.choices: .*1.*got \[\]$",
        r"space\.yaml:11: extra: .*: network, threads, knobs$",
    ]
    assert all(re.match(*pair) for pair in zip(patterns, lines, strict=True)), lines


def test_load_reports_a_repeated_key_beside_other_faults(tmp_path: Path) -> None:
    lines = told(tmp_path, "network: n\nthreads: -1\nnetwork: m\nknobs: {}\n")
    first, second = lines
    assert re.match(r"space\.yaml:2: threads: .*0, got -1$", first)
    assert re.match(r"space\.yaml:3: network: .*line 1\b", second)


def test_load_reports_a_key_repeated_on_one_line(tmp_path: Path) -> None:
    lines = told(tmp_path, "network: n\nknobs: {a: {choices: [1]}, a: {choices: [2]}}\n")
    assert lines[0].startswith("space.yaml:2: knobs.a: ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("network: [\n", "valid YAML"),
        ("when: 2001-99-99\n", "valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "space.yaml:1: .*valid YAML"),
        ("", "space.yaml:1: .*mapping"),
        ("- 1\n", "space.yaml:1: .*mapping"),
        ("[" * 5000, "valid YAML"),
    ],
)
def test_load_refuses_a_file_that_is_no_mapping(tmp_path: Path, text: str, line: str) -> None:
    assert re.search(line, told(tmp_path, text)[0])


def test_load_refuses_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        yaml_files.read(path)


def test_load_refuses_a_recursive_file(tmp_path: Path) -> None:
    path = written(tmp_path, "network: n\nknobs: &k\n  a: *k\n")
    with pytest.raises(InputError):
        yaml_files.load(path, File)


def test_faults_found_later_have_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "knobs:\n  a:\n    choices:\n      - 1\n      - 2\n")
    assert yaml_files.read(path).line(("knobs", "a", "choices", 1)) == 5
    error = yaml_files.faults(
        path, [(("knobs", "a", "choices", 1), "too many"), ((), "no baseline")]
    )
    assert str(error) == f"{path}:1: no baseline\n{path}:5: knobs.a.choices.1: too many"


def test_find_accepts_a_shipped_name_and_a_path(tmp_path: Path) -> None:
    assert "local" in yaml_files.names("devices")
    assert yaml_files.find("devices", "local").name == "local.yaml"
    path = written(tmp_path, "network: n\n")
    assert yaml_files.find("devices", path) == yaml_files.find("devices", str(path)) == path


def test_find_of_an_unknown_name_lists_the_known_and_a_guess(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device 'locl'.*'local'.*: .*local"):
        yaml_files.find("devices", "locl")
    with pytest.raises(InputError, match="search space .*'nowhere/a.yaml'"):
        yaml_files.find("search_spaces", "nowhere/a.yaml")


def bomb(levels: int) -> str:
    """A few lines whose aliases, written out, are three to the power of `levels` values."""
    lines = (f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, levels))
    return "\n".join(["a0: &a0 [1, 1]", *lines])


@pytest.mark.parametrize("text", [bomb(60), "a: &a [*a]"])
def test_read_refuses_aliases_that_stand_for_very_many_values(text, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="100,000 values"):
        yaml_files.read(path)


def test_read_takes_aliases(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(bomb(3))
    assert yaml_files.read(path).data["a1"] == [[1, 1]] * 3


def test_read_lists_the_first_of_very_many_faults(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n" * 1000)
    with pytest.raises(InputError) as caught:
        yaml_files.read(path)
    lines = str(caught.value).splitlines()
    assert len(lines) < 50 and lines[-1] == f"and {999 - len(lines) + 1} more faults"


def test_read_refuses_a_file_too_large_and_a_pipe(tmp_path):
    large, pipe = tmp_path / "large.yaml", tmp_path / "pipe.yaml"
    large.write_text("a: 1\n")
    os.truncate(large, 2**33)
    os.mkfifo(pipe)
    for path, said in ((large, "MiB"), (pipe, "is no file")):
        with pytest.raises(InputError, match=said):
            yaml_files.read(path)
