"""What is recorded of a model for people: read back as written, and shown only if it is sound."""

import json

import pytest

from autoseg.core.diagnostics import (
    Diagnostics,
    OperatorTime,
    read_diagnostics,
    write_diagnostics,
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
