"""Makes untrusted text safe to show: on a terminal, on one line, in Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

# Control characters, those that turn the direction of writing, and lone surrogates.
_CONTROL = re.compile(
    "[^\x20-\x7e\xa0-\u200d\u2010-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\U0010ffff]"
)
MAX_NAME = 200
MAX_LINE = 2000
# Text that GitHub and remark turn into a link, a mention or a picture even where it is escaped in
# Markdown; a zero-width space in it prevents that.
_LIVELY = re.compile(
    r"(?<=:)(?=//|[a-z+_-][\w+-]*:)|(?<=www)(?=\.)|(?<=@)|(?<=#)(?=\d)", re.IGNORECASE
)
# Markup anywhere in a line; `<`, `>` and `&` become entities, which every Markdown supports.
_SIGNS = re.compile(r"([\\`*_{}\[\]#!|~$])")
# Markup at the start of a line only: a list, a ruler, an underline.
_STARTS = re.compile(r"^(\d*)(?=\d[.)](?:\s|$)|[-+:](?:\s|$)|[-=:]+$)(\d?)")


def one_form(name: str) -> str:
    """A name in Unicode's composed form (NFC): macOS unpacks archives with decomposed names (NFD),
    which look the same and compare different (Unicode Standard Annex 15).
    """
    return unicodedata.normalize("NFC", name)


def without_control(text: str) -> str:
    """Text without characters that control a terminal."""
    return _CONTROL.sub(" ", text)


def terminal_safe(text: str) -> str:
    """As `without_control`, for several lines."""
    return "\n".join(without_control(line) for line in text.split("\n"))


def bounded(what: Any, max_chars: int = 200) -> str:
    """Text of another machine for display: bounded, without control characters."""
    if isinstance(what, bytes | bytearray):
        what = what[: 4 * max_chars].decode(errors="replace")
    text = " ".join(without_control(str(what)[: 4 * max_chars]).split())
    return text if len(text) <= max_chars else text[: max_chars - 3] + "..."


def one_line(text: str) -> str:
    """A message on one line, cut after `MAX_LINE` characters: file names may hold line breaks and
    undecodable bytes, and the words of a file may be long.
    """
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"


def markdown(text: object) -> str:
    """One line of text, escaped: nothing in it becomes markup, a link or a table cell."""
    escaped = _LIVELY.sub("\u200b", _flat(str(text)))
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        escaped = escaped.replace(sign, entity)
    return _STARTS.sub(r"\1\2\\", _SIGNS.sub(r"\\\1", escaped))


def markdown_name(text: object) -> str:
    """As `markdown`, for a name: never empty, and cut after `MAX_NAME` characters."""
    name = _flat(str(text)[: MAX_NAME + 1])
    return markdown(name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…") or "(no name)"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_code(text: str) -> str:
    """A command as a block of code; nothing in it can end the block."""
    ticks = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}sh\n{text}\n{fence}"


def _flat(text: str) -> str:
    """Without line ends, control characters, and changes of the writing direction."""
    kept = (" " if unicodedata.category(c)[0] == "C" else c for c in text)
    return " ".join("".join(kept).split())
