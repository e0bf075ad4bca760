"""What a data folder says of its licence, and nothing that lies outside of it."""

import pytest

from autoseg.data.licence import licence_of


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("LICENSE", "\n  MIT License\n\nCopyright", "MIT License (LICENSE)"),
        ("LICENCE.txt", "# CC BY 4.0\n", "CC BY 4.0 (LICENCE.txt)"),
        ("README.md", "---\ntitle: x\nlicense: cc-by-nc-4.0\n---\n", "cc-by-nc-4.0 (README.md)"),
        ("README.md", "The license: ask me", None),
        ("LICENSE", "", None),
        ("LICENSE", "a\x1b[31mb", "a\\x1b[31mb (LICENSE)"),
        ("LICENSE", "x" * 10_000, f"{'x' * 100} (LICENSE)"),
    ],
)
def test_licence_of_reads_the_first_line_or_the_head_of_the_readme(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    assert licence_of(tmp_path) == said


def test_licence_of_follows_no_link_out_of_the_folder(tmp_path):
    (tmp_path / "secret").write_text("root:x:0")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "LICENSE").symlink_to(tmp_path / "secret")
    assert licence_of(tmp_path / "data") is None


def test_licence_of_generated_parcels_names_autoseg(tmp_path):
    assert licence_of(None) == licence_of("parcels")
    assert "autoseg" in str(licence_of(None)) and licence_of(tmp_path / "none") is None
