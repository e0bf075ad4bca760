"""Searches that are replayed against a table go as the table says, and always alike."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from worlds import RESOLUTION, WIDTH, area, by_width, space_of

from autoseg.recipe import Recipe
from autoseg.records import Constraints, Cost
from autoseg.space import Knob

ROOT = Path(__file__).parents[1]
ASKED = Constraints(12.0, 0.9, "p50")
RUNGS = (1, 3, 9)


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def toy():
    """18 candidates; their IoU rises with every rung, and an epoch takes an area's seconds."""
    from tabular.tables import Cell, Entry, Table, TabularSpace

    space = space_of(RESOLUTION, WIDTH, Knob("t", (4, 2), 4, "expert"))
    entries = {}
    for c in space.candidates("expert"):
        latency_ms = area(c) * (0.5 + c["a"]) * (0.9 + 0.05 * c["t"])
        cells, before = {}, 0
        for rung in RUNGS:
            for decayed in (False, True):
                iou = 1 - by_width(c) * (1 + (2 if decayed else 3) / rung)
                epochs = 1 if decayed else rung - before
                cells[rung, decayed] = Cell(iou, (iou - 0.01, iou + 0.01), epochs * latency_ms)
            before = rung
        cost = Cost(1000, round(1e6 * latency_ms), round(1e5 * latency_ms))
        entries[c.key] = Entry(c, cost, latency_ms, 1.0, {0: cells})
    known = tuple(entry.candidate for entry in entries.values())
    only = TabularSpace(space.name, space.network, space.knobs, {}, known)
    return Table("toy", only, replace(Recipe(), rungs=RUNGS), entries, 1, 100, "made by hand")


def replayed(**changed):
    from tabular.replay import ours, replay

    table = toy()
    given = {"workers": changed.get("workers", 1), "budget_s": changed.get("budget_s")}
    engine = ours(table, ASKED, seed=changed.get("seed", 0), **given)
    return table, replay(table, engine, ASKED, **given)


def test_a_replay_spends_what_the_table_says_and_never_loses_what_it_has():
    table, seen = replayed()
    paid = sum(
        table.train_s(job.candidate.key, job.to_epoch)
        - (table.train_s(job.candidate.key, job.from_epoch) if job.from_epoch else 0.0)
        for job in seen.jobs
    )
    assert seen.moments[-1].train_s == pytest.approx(paid) and paid < table.total_s
    worth = [m.hypervolume for m in seen.moments]
    assert worth == sorted(worth) and worth[-1] <= seen.full
    assert seen.share > 0.9 and seen.seconds_to(0.5) <= seen.seconds_to(0.9) < math.inf
    late = {k for k, e in seen.evaluations.items() if e.state == "too_slow"}
    slow = {k for k, e in table.entries.items() if e.latency_ms > ASKED.max_latency_ms}
    assert late and late <= slow and not late & {job.candidate.key for job in seen.jobs}
    assert seen.real_s < 5


def test_the_same_seed_is_the_same_search_and_more_workers_are_done_sooner():
    (_, first), (_, again), (_, two) = replayed(), replayed(), replayed(workers=2)
    assert first.moments == again.moments and first.jobs == again.jobs
    assert two.moments[-1].clock_s < first.moments[-1].clock_s
    assert two.moments[-1].clock_s < two.moments[-1].train_s


def test_a_budget_ends_a_replay_in_simulated_time():
    _, seen = replayed(budget_s=120.0)
    assert 0 < seen.moments[-1].clock_s < 120


def test_a_table_of_trainings_is_read_with_its_decays_under_their_rungs(tmp_path):
    from tabular.tables import HERE, trained

    from autoseg.space import load_space

    candidate = load_space(HERE / "small_fast_scnn.yaml").baseline
    rows = ["key,knobs,seed,epoch,decayed,iou,iou_low,iou_high,train_s"]
    for epoch, decayed, iou in ((1, 0, 0.7), (3, 1, 0.75), (3, 0, 0.8), (5, 1, 0.82)):
        rows.append(f"{candidate.key},,0,{epoch},{decayed},{iou},{iou - 0.1},{iou + 0.1},{epoch}")
    path = tmp_path / "table-x.csv"
    path.write_text("\n".join(rows))
    table = trained("x", path)
    entry = table.entries[candidate.key]
    assert table.recipe.rungs == (1, 3) and table.latencies == "invented from activation bytes"
    assert entry.cell(1, decayed=True).iou == 0.75 and entry.cell(3, decayed=True).iou == 0.82
    assert table.train_s(candidate.key) == 4 and table.space.count("expert") == 1
    path.with_name("table-x-latency.csv").write_text(
        f"key,p50_ms,measure_s\n{candidate.key},0.5,2\n"
    )
    assert trained("x", path).entries[candidate.key].latency_ms == 0.5


def test_the_published_table_counts_each_network_once(tmp_path):
    from tabular.tables import load

    path = tmp_path / "published.csv"
    path.write_text(
        "stage,model,resolution,channels,a,t,r,pp,retrained,params,macs_m,forward_mb,latency_s,iou\n"
        "1,256,256,3,1,6,3,0,False,1,1,1,0.06,0.5\n"
        "2,256,256,3,1,6,3,0,True,1,1,1,0.0639,0.9729\n"
        "5,13,256,3,1,6,3,0,True,,,,0.0700,0.9700\n"
        "4,4,512,3,0.125,6,3,1,True,1,1,1,0.0265,0.9711\n"
    )
    table = load(path)
    assert sorted(map(table.point, table.entries)) == [(26.5, 0.9711), (63.9, 0.9729)]
    assert all(table.train_s(key) > 0 for key in table.entries)
