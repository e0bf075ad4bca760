"""What is recorded of a model for people: read back as written, and shown only if it is sound."""

import json

import pytest

from autoseg.core.diagnostics import (
    Diagnostics,
    OperatorTime,
    read_diagnostics,
    sheet_path,
    write_diagnostics,
    write_sheet,
)

WHOLE = Diagnostics(
    onnx_digest="d" * 64,
    confusion=((3, 1), (2, 4)),
    operators=(OperatorTime(op="Conv", nodes=3, ms=1.25),),
)


@pytest.mark.parametrize("exhibit", [WHOLE, Diagnostics(onnx_digest="e" * 64, confusion=((1,),))])
def test_read_exhibit_returns_what_was_written(exhibit, tmp_path):
    write_diagnostics(tmp_path, "key", exhibit)
    assert read_diagnostics(tmp_path, "key") == exhibit
    assert read_diagnostics(tmp_path, "other") is None


def test_write_sheet_writes_one_where_there_is_one_and_logs_what_prevents_it(tmp_path, caplog):
    write_sheet(tmp_path, "key", None)
    assert not list(tmp_path.iterdir())
    write_sheet(tmp_path, "key", b"jpeg")
    assert sheet_path(tmp_path, "key").read_bytes() == b"jpeg" and not caplog.text
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diagnostics").write_text("a file where the folder should be")
    write_sheet(tmp_path / "other", "key", b"jpeg")
    assert "key: its contact sheet was not written" in caplog.text


SOUND = {"onnx_digest": "d", "confusion": [[1]]}


@pytest.mark.parametrize(
    "said",
    [
        b"", b"\xff\xfe{", b"null", b"[]", b"7", b"[" * 100_000,
        {}, {**SOUND, "more": 1}, {**SOUND, "onnx_digest": 7},
        {**SOUND, "confusion": [[1], [2]]}, {**SOUND, "confusion": "ab"},
        {**SOUND, "confusion": [[-1]]}, {**SOUND, "confusion": [[0.5]]},
        {**SOUND, "confusion": None}, {**SOUND, "operators": None},
        {**SOUND, "operators": [{"op": "<b>", "nodes": 1, "ms": float("nan")}]},
        {**SOUND, "operators": [{"op": "a", "nodes": 1, "ms": 10**400}]},
        {**SOUND, "operators": [{"op": ["a"], "nodes": 1, "ms": 1.0}]},
        b" " * 5_000_000,
    ],
)  # fmt: skip
def test_read_exhibit_of_a_damaged_or_foreign_file_is_none(said, tmp_path):
    write_diagnostics(tmp_path, "key", WHOLE)
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    (tmp_path / "diagnostics" / "key.json").write_bytes(data)
    assert read_diagnostics(tmp_path, "key") is None
