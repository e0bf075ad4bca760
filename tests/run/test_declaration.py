"""The fields of the declaration are the one list of options: everything else agrees with them."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
import typer

import autoseg
from autoseg import cli
from autoseg.run.declaration import OPTIONS, Declaration, default_text, flag

ROOT = Path(__file__).parents[2]
# Not declared: which run is meant, what is done with it, and how its progress is reported.
OF_THE_CALL = {"name", "resume", "more", "results", "accept_new_host_key", "dry_run"}
OF_PYTHON, OF_THE_COMMAND = {"on_event", "on_start"}, {"json", "help"}


def command():
    return typer.main.get_command(cli.app).commands["optimize"]


def rows() -> dict[str, tuple[str, str]]:
    """The options of optimize in the docs: metavar and default by name, without markup."""
    page = (ROOT / "docs" / "command-line.md").read_text()
    table = page.split("\n## optimize\n")[1].split("\n## ")[0].split("\n### ")[0]
    found = re.findall(r"^\| `--([\w-]+) ?([^`]*)` \| .* \|(.*?)\|$", table, re.M)
    cells = {name: (metavar, default.replace("`", "").strip()) for name, metavar, default in found}
    return {name.replace("-", "_"): cell for name, cell in cells.items()}


def test_optimize_takes_every_declared_option_and_no_other():
    parameters = inspect.signature(autoseg.optimize).parameters
    assert set(parameters) == set(OPTIONS) | OF_THE_CALL | OF_PYTHON
    for name in OPTIONS:  # None: not given
        assert parameters[name].default is None, name
        assert parameters[name].annotation.endswith("None"), name


def test_command_line_has_every_declared_option_with_its_help_and_default():
    parameters = {p.opts[0]: p for p in command().params}
    given = set(OPTIONS) | OF_THE_CALL | (OF_THE_COMMAND - {"help"})
    assert set(parameters) - {"--help"} == {flag(name) for name in given}
    for name, option in OPTIONS.items():
        parameter = parameters[flag(name)]
        assert parameter.help.startswith(option.help), name
        shown = re.findall(r"\[default: (.*)\]$", parameter.help)
        assert "".join(shown) == default_text(name), name


def test_docs_table_has_every_option_with_its_default():
    told = rows()
    assert set(told) == set(OPTIONS) | OF_THE_CALL | {"json"}
    for name, option in OPTIONS.items():
        assert told[name] == (option.metavar, default_text(name)), name


def test_python_page_names_every_option():
    page = (ROOT / "docs" / "python.md").read_text()
    listed = page.split("All arguments are keywords:")[1].split("What is left out")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(OPTIONS) | OF_THE_CALL


def test_run_yaml_holds_every_option_and_gives_it_back():
    declared = Declaration(min_iou=0.5, device=["a", "b"], recipe={"batch": 4}, budget="1h")
    raw = declared.to_yaml()
    assert set(raw) == set(OPTIONS) == {f.name for f in dataclasses.fields(Declaration)}
    assert Declaration.from_yaml({**raw, "versions": {}}) == declared


def test_command_gives_back_the_declaration(monkeypatch):
    declared = Declaration(min_iou=0.5, device=["a", "b"], recipe={"batch": 4}, budget="1h")
    words = declared.command("mine").split()
    context = command().make_context("optimize", words[2:])
    given = {name: context.params[name] for name in OPTIONS}
    assert given["device"] == ["a", "b"] and given["recipe"] == ["batch=4"]
    same = {n: v for n, v in given.items() if v is not None and n not in ("device", "recipe")}
    assert same.items() <= declared.to_yaml().items()


@pytest.mark.parametrize("name", OPTIONS)
def test_only_changeable_options_may_differ_when_a_run_is_continued(name):
    values = {"max_latency": "2ms", "min_iou": 0.5, "statistic": "p99", "effort": "entry",
              "budget": "2h", "trials": 7, "sampler": "tpe", "workers": 9, "seed": 5,
              "storage": "s3://bucket/runs", "recipe": {"batch": 4}, "latency": "frame",
              "frame": "64x48", "pool": "ray", "gpus": 2, "gpus_per_trial": 0.5}  # fmt: skip
    before = Declaration(workers=1)
    changed = dataclasses.replace(before, **{name: values.get(name, "other")})
    if OPTIONS[name].changeable:
        changed.require_continues(before)
    else:
        with pytest.raises(autoseg.InputError, match=f"{name}=.*--resume cannot change it"):
            changed.require_continues(before)
