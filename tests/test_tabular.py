"""Searches that are replayed against a table go as the table says, and always alike."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import RESOLUTION, WIDTH, area, by_width, space_of

from autoseg.core.records import Constraints, Cost
from autoseg.networks.space import Knob
from autoseg.train.recipe import Recipe

ROOT = Path(__file__).parents[1]
ASKED = Constraints(max_latency_ms=12.0, min_iou=0.9, statistic="p50")
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
        cost = Cost(
            params=1000, macs=round(1e6 * latency_ms), activation_bytes=round(1e5 * latency_ms)
        )
        entries[c.key] = Entry(c, cost, latency_ms, 1.0, {0: cells})
    known = tuple(entry.candidate for entry in entries.values())
    only = TabularSpace(space.name, space.network, space.knobs, {}, known)
    return Table("toy", only, replace(Recipe(), rungs=RUNGS), entries, 1, 100, "made by hand")


def replayed(**changed):
    from tabular.replay import ours, replay

    table = toy()
    given = {"workers": changed.get("workers", 1), "budget_s": changed.get("budget_s")}
    scheduler = ours(table, ASKED, seed=changed.get("seed", 0), **given)
    return table, replay(table, scheduler, ASKED, **given)


def test_replay_spends_the_time_of_the_table_and_keeps_its_best():
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


def test_replay_with_the_same_seed_is_equal_and_more_workers_end_sooner():
    (_, first), (_, again), (_, two) = replayed(), replayed(), replayed(workers=2)
    assert first.moments == again.moments and first.jobs == again.jobs
    assert two.moments[-1].clock_s < first.moments[-1].clock_s
    assert two.moments[-1].clock_s < two.moments[-1].train_s


def test_replay_ends_with_its_budget_in_simulated_time():
    _, seen = replayed(budget_s=120.0)
    assert 0 < seen.moments[-1].clock_s < 120


def test_trained_table_is_read_with_decays_under_their_rungs(tmp_path):
    from tabular.tables import HERE, trained

    from autoseg.networks.space import load_space

    candidate = load_space(HERE / "small_fast_scnn.yaml").baseline
    rows = ["key,knobs,seed,epoch,decayed,iou,iou_low,iou_high,train_s"]
    for epoch, decayed, iou in ((1, 0, 0.7), (3, 1, 0.75), (3, 0, 0.8), (5, 1, 0.82)):
        rows.append(f"{candidate.key},,0,{epoch},{decayed},{iou},{iou - 0.1},{iou + 0.1},{epoch}")
    path = tmp_path / "table-x.csv"
    path.write_text("\n".join(rows))
    with pytest.raises(SystemExit, match=r"table-x-latency.csv lacks 1 of 1"):
        trained("x", path)
    path.with_name("table-x-latency.csv").write_text(
        f"key,p50_ms,measure_s\n{candidate.key},0.5,2\n"
    )
    table = trained("x", path)
    entry = table.entries[candidate.key]
    assert table.recipe.rungs == (1, 3) and entry.latency_ms == 0.5
    assert entry.cell(1, decayed=True).iou == 0.75 and entry.cell(3, decayed=True).iou == 0.82
    assert table.train_s(candidate.key) == 4 and table.space.count("expert") == 1


HEAD = (
    "stage,model,resolution,channels,a,t,r,pp,retrained,params,macs_m,forward_mb,latency_s,iou\n"
)


def test_published_table_knows_networks_trained_twice(tmp_path):
    from tabular.tables import load

    path = tmp_path / "published.csv"
    path.write_text(
        HEAD + "1,256,256,3,1,6,3,0,False,1,1,1,0.06,0.5\n"
        "2,256,256,3,1,6,3,0,True,1,1,1,0.0639,0.9729\n"
        "5,13,256,3,1,6,3,0,True,,,,0.0700,0.9700\n"
        "4,4,512,3,0.125,6,3,1,True,1,1,1,0.0265,0.9711\n"
    )
    table = load(path)
    assert sorted(map(table.point, table.entries)) == [(26.5, 0.9711), (63.9, 0.9729)]
    assert all(table.train_s(key) > 0 for key in table.entries)
    assert len(table.twice) == 1


def test_replay_seed_draws_the_noise_of_a_training():
    from tabular.tables import LATE_NOISE, NOISE, TWICE

    table = toy()
    worlds = [table.drawn(seed) for seed in range(60)]

    def off(world, key, at):
        iou, was = (t.entries[key].cells[0][at].iou for t in (world, table))
        return math.log((1 - iou) / (1 - was))

    for at, sd in {(1, False): NOISE[1], (3, False): NOISE[3], (9, True): LATE_NOISE}.items():
        seen = [off(world, key, at) for world in worlds for key in table.entries]
        assert (sum(x * x for x in seen) / len(seen)) ** 0.5 == pytest.approx(sd, rel=0.1)
    early, late = (
        [off(w, key, at) for w in worlds for key in table.entries]
        for at in ((1, False), (9, True))
    )
    assert np.corrcoef(early, late)[0, 1] == pytest.approx(0.5, abs=0.1)
    assert table.drawn(3).entries == worlds[3].entries
    again = {
        key: replace(e, cells={0: e.cells[0], 1: {at: c.at(c.iou - 0.1) for at, c in first}})
        for key, e in list(table.entries.items())[:TWICE]
        for first in [list(e.cells[0].items())]
    }
    known = replace(table, entries={**table.entries, **again})
    apart = [math.log(1 + 0.1 / (1 - e.cells[0][9, True].iou)) for e in again.values()]
    rms = math.sqrt(sum(x * x for x in apart) / TWICE / 2)
    assert known.noise[9, True] == pytest.approx(rms)


def test_replay_all_samplers_train_what_fits_and_an_oracle_needs_least():
    from tabular.rivals import RIVALS, train_all

    table = toy()
    fits = [k for k, e in table.entries.items() if e.latency_ms <= ASKED.max_latency_ms]
    ways = {name: list(way(table, ASKED, 0)) for name, way in RIVALS.items() if name != "gp"}
    keys = {name: [key for key, _ in way] for name, way in ways.items()}
    assert sorted(keys.pop("grid")) == sorted(table.entries)
    assert keys.pop("oracle")[-1] in table.front_keys(ASKED)
    assert all(sorted(way) == sorted(fits) for way in keys.values())
    went = {name: train_all(table, iter(way), ASKED, enough=0.99) for name, way in ways.items()}
    best = train_all(table, RIVALS["oracle"](table, ASKED, 0), ASKED, enough=0.99)
    _, own = replayed()
    for other in (*went.values(), own):
        assert best.seconds_to(0.99) <= other.seconds_to(0.99) < math.inf


@pytest.mark.parametrize(
    "name", ["without latency first", "without early stopping", "without cost"]
)
def test_ablations_change_the_search(name):
    from tabular.ablations import VARIANTS

    table = toy()
    seen = VARIANTS[name](table, ASKED, 0, enough=0.99)
    assert seen.share > 0.5
    if name == "without latency first":
        assert any(table.entries[j.candidate.key].latency_ms > 12 for j in seen.jobs)
    if name == "without early stopping":
        begun = [j.candidate.key for j in seen.jobs if not j.from_epoch]
        assert [j.candidate.key for j in seen.jobs[: len(RUNGS)]] == begun[:1] * len(RUNGS)
        assert all(e.state != "stopped" for e in seen.evaluations.values())


def test_tables_write_searches_as_rows_a_page_and_a_plot(tmp_path):
    from search import Order, load_once, pair_of, search
    from search_report import write_report

    path = tmp_path / "published.csv"
    lines = [
        f"7,1,{size},3,{a},2,1,0,True,,,,{1e-6 * size**2 * a:.5f},{0.8 + size / 2560 + a / 50}\n"
        for size in (96, 128, 160, 192, 224, 256)
        for a in (0.125, 0.25, 1)
    ]
    path.write_text(HEAD + "".join(lines))
    rows = [
        search(Order(str(path), pair, sampler, 3, "abc"))
        for pair in ("loose", "binding")
        for sampler in ("autoseg", "oracle", "random", "grid", "tpe")
    ]
    table = load_once(str(path))
    assert table.feasible(pair_of(table, "loose")) > 0.8
    assert table.feasible(pair_of(table, "binding")) == pytest.approx(0.25, abs=0.06)
    assert all(float(row["share"]) >= 0.99 for row in rows)
    lines = write_report(tmp_path / "page", rows, [table])
    assert sum(line.startswith("| autoseg") for line in lines) == 2
    assert "18 candidates" in (tmp_path / "page.md").read_text()
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_replay_judges_feasibility_by_the_true_values():
    from promises import World, holds, interval, unconfirmed, walked, wilson

    table = toy()
    world = World.drawn(table, 1)
    seen = [world.seen.point(key)[1] - world.truth.point(key)[1] for key in table.entries]
    assert 0.003 < (sum(x * x for x in seen) / len(seen)) ** 0.5 < 0.008  # intervals of +- 0.01
    assert all(world.truth.point(key) == table.drawn(1).point(key) for key in table.entries)
    asked = Constraints(max_latency_ms=12.0, min_iou=0.8, statistic="p50")
    walk = walked(world, asked)
    states = [e.state for e in walk.evaluations.values()]
    assert "confirmed" in states
    kept = [e for e in walk.evaluations.values() if e.state == "confirmed"]
    assert all(e.p_feasible >= 0.9 for e in kept)
    assert all(holds(world.truth, e, asked) for e in kept)  # with this seed
    trained = [e for e in walk.evaluations.values() if e.scores]
    assert unconfirmed(world, trained, asked)
    assert wilson(0, 20) == pytest.approx((0.0, 0.161), abs=1e-3)
    assert wilson(5, 50) == pytest.approx((0.0435, 0.2136), abs=1e-3)
    # One search in ten breaks all of its five promises: ten doubts, not fifty.
    low, high = interval([5] + [0] * 9, [5] * 10)
    assert low == 0 and high >= 0.3
    assert interval([0] * 20, [5] * 20) == wilson(0, 20)
