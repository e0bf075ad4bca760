"""Tiny ONNX files, written in onnx's own text format; and a board over SSH."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import onnx.parser
import pytest
from device.sshd import Sshd, make_key

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


@pytest.fixture(autouse=True)
def own_claim(monkeypatch: pytest.MonkeyPatch) -> str:
    """Other programs may be timing on this machine while the tests run: a name of our own."""
    name = f"autoseg-test-{uuid.uuid4().hex}"
    monkeypatch.setattr("autoseg.device.board.CLAIM_NAME", name)
    return name


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


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home here: no keys, no config, no agent, nothing of the real one."""
    import autoseg.device.ssh.config_files

    autoseg.device.ssh.config_files.warn_once.cache_clear()
    home = tmp_path / "client"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(autoseg.device.ssh.config_files, "SYSTEM_FOLDER", tmp_path / "etc")
    return home


@pytest.fixture
def sshd(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A board whose host key is known and which lets `sshd.key` in.

    Its speed is not doubted, as it shares this machine with whatever else runs here.
    """
    monkeypatch.setattr("autoseg.device.aa_comparison.MAX_DIFFERENCE", 100.0)
    board = Sshd(tmp_path / "board", make_key(tmp_path / "key")).up()
    board.trusted_by(home)
    yield board
    board.retire()
