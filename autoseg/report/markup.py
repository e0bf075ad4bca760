"""Text from anywhere as Markdown that shows it as it is: for cards, reports and notes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

MOST_NAME = 200
# What is made a link, a mention or a picture in the text of the finished page, however it was
# escaped in Markdown, unless a space of no width stands in it: GitHub does, and remark.
_LIVELY = re.compile(
    r"(?<=:)(?=//|[a-z+_-][\w+-]*:)|(?<=www)(?=\.)|(?<=@)|(?<=#)(?=\d)", re.IGNORECASE
)
# What is a sign anywhere; `<`, `>` and `&` become entities, which every Markdown knows.
_SIGNS = re.compile(r"([\\`*_{}\[\]#!|~$])")
# What is a sign at the start of a line only: a list, a ruler, an underline.
_STARTS = re.compile(r"^(\d*)(?=\d[.)](?:\s|$)|[-+:](?:\s|$)|[-=:]+$)(\d?)")


def plain(text: object) -> str:
    """Text of one line that no name in it can turn into markup, a link or another table cell."""
    shown = _LIVELY.sub("\u200b", _flat(str(text)))
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        shown = shown.replace(sign, entity)
    return _STARTS.sub(r"\1\2\\", _SIGNS.sub(r"\\\1", shown))


def plain_name(text: object) -> str:
    """As `plain`, of a name: never empty, and cut where it is longer than any name should be."""
    name = _flat(str(text)[: MOST_NAME + 1])
    return plain(name if len(name) <= MOST_NAME else name[: MOST_NAME - 1] + "…") or "(no name)"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of Markdown as a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    """A command as a block of code; nothing in it can end the block."""
    ticks = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}sh\n{text}\n{fence}"


def _flat(text: str) -> str:
    """Without line ends, control characters, and what turns the direction of writing."""
    kept = (" " if unicodedata.category(c)[0] == "C" else c for c in text)
    return " ".join("".join(kept).split())
