"""Printing for all commands: the result on stdout, the rest on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from autoseg.core.records import SCHEMA
from autoseg.core.text import terminal_safe


def print_json(facts: Mapping[str, Any]) -> None:
    """One JSON object, with the version of its schema first."""
    print(json.dumps({"schema": SCHEMA, **facts}, indent=1))


def print_lines(lines: Iterable[str]) -> None:
    """Text without control sequences."""
    for line in lines:
        print(terminal_safe(line))


def print_aside(text: str) -> None:
    """Warnings, faults and progress, on stderr, without control sequences."""
    print(terminal_safe(text), file=sys.stderr)


def print_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Figures by name, as JSON or as a table of two columns."""
    if as_json:
        print_json(facts)
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
