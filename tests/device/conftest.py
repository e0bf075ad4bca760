"""Tiny ONNX files, written in onnx's own text format."""

from pathlib import Path

import onnx.parser
import pytest

HEAD = '<ir_version: 9, opset_import: ["": 18]>'
# The class of a pixel is the largest of its three channels: what a prediction can be checked by.
SEGMENTS = """seg (uint8[1,24,32,3] frame) => (uint8[1,24,32] classes) {
    wide = Cast <to: int = 6> (frame)
    index = ArgMax <axis: int = 3, keepdims: int = 0> (wide)
    classes = Cast <to: int = 2> (index)
}"""
DYNAMIC = """other (float[N,3,height,width] x) => (float[N,3,height,width] y) {
    y = Relu (x)
}"""
BROKEN = """broken (float[1,3] x, float[1,K] z) => (float[1,3] y) {
    y = Add (x, z)
}"""


def write(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(HEAD + text), path)
    return path


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    """uint8 NHWC frame in, uint8 class map out."""
    return write(tmp_path / "segments.onnx", SEGMENTS)


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    """Somebody else's: float NCHW, sizes left open."""
    return write(tmp_path / "dynamic.onnx", DYNAMIC)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Loads, and fails when it is fed the default sizes."""
    return write(tmp_path / "broken.onnx", BROKEN)
