"""Text from anywhere stands in Markdown as it is, and what cannot harm is left readable."""

import pytest

from autoseg.core.text import markdown, markdown_code, markdown_name


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
def test_signs_are_switched_off(text, shown):
    assert markdown(text) == shown


def test_urls_mentions_issues_and_pictures_are_no_links_even_where_escapes_do_not_count():
    """As in `http\\://x.y`, which is a link all the same once the page is finished."""
    text = "HTTP://x.y ftp://x.y WWW.x.y a@b.cc @all #12 :tada:"
    gap = "\u200b"
    assert markdown(text) == (
        f"HTTP:{gap}//x.y ftp:{gap}//x.y WWW{gap}.x.y a@{gap}b.cc @{gap}all \\#{gap}12 :{gap}tada:"
    )


@pytest.mark.parametrize("start", ["- x", "+ x", "1. x", "12) x", "---", "===", ":--", "-"])
def test_no_text_begins_a_list_or_underlines_what_is_before_it(start):
    assert markdown(start).replace("\\", "") == start
    assert markdown(start).lstrip("0123456789").startswith("\\")


def test_figures_dates_and_letters_are_left_as_they_are():
    for text in ("2026-11-21T16:25:31+00:00, 1.2 ms", "-5.3", "+0.1", "größe 箱", "3 (of 4)"):
        assert markdown(text) == text


def test_a_name_is_never_empty_and_never_long():
    assert markdown_name(" \n") == "(no name)"
    assert markdown_name("x" * 5000) == "x" * 199 + "…"


def test_nothing_in_a_command_ends_its_block():
    assert markdown_code("x ```` y") == "`````sh\nx ```` y\n`````"
