"""Text from anywhere stands in Markdown as it is, and what cannot harm is left readable."""

import pytest

from autoseg.core.text import markdown, markdown_code, markdown_name, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>|`x`*_[l](u)", r"&lt;b&gt;\|\`x\`\*\_\[l\](u)"),
        ("![x](<u>) &lt; {{x}} $y$", r"\!\[x\](&lt;u&gt;) &amp;lt; \{\{x\}\} \$y\$"),
        ("a|b\n# c", r"a\|b \# c"),
        ("gnp\u202e.exe \x1b[31m\ud800", r"gnp .exe \[31m"),
        ("", ""),
    ],
)
def test_plain_escapes_markup_characters(text, shown):
    assert markdown(text) == shown


def test_plain_breaks_urls_mentions_issues_and_pictures():
    """As in `http\\://x.y`, which is a link all the same once the page is finished."""
    text = "HTTP://x.y ftp://x.y WWW.x.y a@b.cc @all #12 :tada:"
    gap = "\u200b"
    assert markdown(text) == (
        f"HTTP:{gap}//x.y ftp:{gap}//x.y WWW{gap}.x.y a@{gap}b.cc @{gap}all \\#{gap}12 :{gap}tada:"
    )


@pytest.mark.parametrize("start", ["- x", "+ x", "1. x", "12) x", "---", "===", ":--", "-"])
def test_plain_begins_no_list_and_no_underline(start):
    assert markdown(start).replace("\\", "") == start
    assert markdown(start).lstrip("0123456789").startswith("\\")


def test_plain_keeps_figures_dates_and_letters():
    for text in ("2026-11-21T16:25:31+00:00, 1.2 ms", "-5.3", "+0.1", "größe 箱", "3 (of 4)"):
        assert markdown(text) == text


def test_plain_name_is_never_empty_and_never_long():
    assert markdown_name(" \n") == "(no name)"
    assert markdown_name("x" * 5000) == "x" * 199 + "…"


def test_code_cannot_be_closed_by_a_command():
    assert markdown_code("x ```` y") == "`````sh\nx ```` y\n`````"


def test_one_line_cuts_what_is_very_long():
    assert one_line("short") == "short"
    assert len(one_line("x" * 10**6)) == len(one_line("x" * 10**4)) < 10**4
    assert one_line("x" * 10**6).endswith("x…")
