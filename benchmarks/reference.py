"""Turn a finished run into a reference table: results/reference/NAME.md, .csv and .png.

    python benchmarks/reference.py results/RUN NAME TITLE --command "autoseg optimize ..."
        [--beside baseline.csv]

All that is needed to repeat it stands with it: machine, versions, seed and command.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import yaml
from common import REFERENCE, read_csv, table

from autoseg.device import resolve
from autoseg.report.console import result_lines
from autoseg.run.result import Result


def main() -> None:
    arguments = parse()
    result = Result.from_run(arguments.run)
    said = yaml.safe_load((arguments.run / "run.yaml").read_text())
    REFERENCE.mkdir(parents=True, exist_ok=True)
    lines = [f"# {arguments.title}", "", *facts(said, result, arguments.command), ""]
    lines += ["```text", *shown(result), "```", ""]
    if arguments.beside:
        lines += [
            "Beside it, the thesis' baseline net by the same recipe:",
            "",
            *table(read_csv(arguments.beside)),
            "",
        ]
    lines += [
        "Before any training, the run said:",
        "",
        *(f"- {line}" for line in result.verdict),
        "",
    ]
    (REFERENCE / f"{arguments.name}.md").write_text("\n".join(lines))
    result.to_pandas().to_csv(REFERENCE / f"{arguments.name}.csv", index=False)
    shutil.copy(arguments.run / "pareto.png", REFERENCE / f"{arguments.name}.png")


def facts(said: dict[str, Any], result: Result, command: str) -> list[str]:
    """Machine, versions, seed and command, and how the candidates ended."""
    states: dict[str, int] = {}
    for evaluation in result.evaluations:
        states[evaluation.state] = states.get(evaluation.state, 0) + 1
    ended = ", ".join(
        f"{count} {state.replace('_', ' ')}" for state, count in sorted(states.items())
    )
    machine, versions, board = said["machine"], said["versions"], said["measured_on"]
    cores = f"{machine['cpus']} cores, {machine['processor']} ({machine['platform']})"
    return [
        f"- command: `{command}`",
        f"- machine: {resolve('local').describe().model}, {cores}",
        f"- measured on: {board['name']} ({board['model']}), {board['runtime']}, "
        + f"{board['threads']} thread(s)",
        "- versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()),
        f"- seed {said['seed']}, {said['workers']} workers, {result.spent_s:.0f} s in all; "
        + "pictures: "
        + ", ".join(f"{count} {split}" for split, count in said["pictures"].items()),
        f"- {len(result.evaluations)} candidates: {ended}",
    ]


def shown(result: Result) -> list[str]:
    """The result as the command prints it, without the path of the folder."""
    return [line.rstrip() for line in result_lines(result) if not line.startswith("files:")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("title")
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--command", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
