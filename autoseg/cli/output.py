"""What several commands print on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Figures by name, as JSON or as a table of two columns."""
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        print_table(["figure", "value"], [[name, _shown(value)] for name, value in facts.items()])


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """A table as wide as the terminal."""
    from rich.console import Console

    from autoseg.report.console import table_lines

    for line in table_lines(head, rows, width=Console().width):
        print(line)


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return " ".join(_shown(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
