"""The tables of latencies say what was measured, and the predictor's benchmark reads them so."""

from pathlib import Path

import pytest

import autoseg
from autoseg.networks import build
from autoseg.networks.cost import cost
from autoseg.networks.space import load_space

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_measured_row_is_read_as_it_was_written(tmp_path):
    from common import write_csv
    from latency_predictor import read
    from tabular.measure_table import Bench, read_rows

    space = load_space("fast_scnn")
    candidate = space.candidate(resolution=96, a=0.125, t=2, r=1, pp=0)
    row = Bench(space, autoseg.FakeDevice(latency=2.5)).measured(candidate)
    write_csv(tmp_path / "table.csv", [row])
    ((counted, size, p50_ms),) = read(tmp_path / "table.csv")
    net = build("fast_scnn", channels=3, classes=1, a=0.125, t=2, r=1, pp=0, round_to=8)
    assert counted == cost(net, (96, 96)) and size == (96, 96) and p50_ms == 2.5
    (figures,) = read_rows(tmp_path / "table.csv")
    assert figures["key"] == candidate.key and figures["knobs"] == str(candidate)


def test_disturbed_rows_are_measured_again():
    from tabular.measure_table import disturbed

    calm = {"p50_ms": "1.0", "p50_low_ms": "0.98", "p50_high_ms": "1.02", "flags": ""}
    busy = "other programs keep 1.0 cores busy (python 1.0)"
    assert not disturbed(calm) and not disturbed({**calm, "flags": busy})
    assert disturbed({**calm, "flags": f"9 of 9 blocks disturbed; {busy}"})
    assert disturbed({**calm, "flags": "reference 20 % slower than when calm"})
    assert disturbed({**calm, "p50_high_ms": "1.2"})


def test_line_of_macs_fits_the_logarithms():
    from latency_predictor import macs_alone

    known = [
        (autoseg.core.records.Cost(params=1, macs=10**n, activation_bytes=1), (64, 64), 2.0**n)
        for n in range(1, 5)
    ]
    found = macs_alone(known[:3], known[2:])
    assert found["mean error"] < 1e-6 and found["rank correlation"] == pytest.approx(1.0)
