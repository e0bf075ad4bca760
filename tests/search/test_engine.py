"""Whole searches over made-up candidates end, keep to the budget, and lose nobody who matters."""

from dataclasses import replace

import pytest
from worlds import (
    RESOLUTION,
    WIDE,
    WIDTH,
    World,
    area,
    by_key,
    by_width,
    engine_of,
    known,
    scored,
    space_of,
)

from autoseg.recipe import Recipe
from autoseg.records import Candidate, Job
from autoseg.seams import Done, Screen
from autoseg.search.pricing import Pricing
from autoseg.space import Knob, SearchSpace


def quarter(candidate: Candidate) -> float:
    """Latencies of 1 to 4 ms: all fit."""
    return area(candidate) / 4


def world(space: SearchSpace = WIDE, /, **changed) -> World:
    mine = {k: changed.pop(k) for k in ("epoch_s", "fails", "spent_s") if k in changed}
    latency, error = changed.pop("latency_ms", quarter), changed.pop("error", by_width)
    return World(engine_of(space, **changed), latency, error, **mine)


def test_a_space_of_one_is_searched_through():
    alone = world(space_of(Knob("resolution", (64,), 64, "entry")))
    alone.run()
    assert alone.states() == {"confirmed": 1}


def test_sizes_that_are_no_squares_are_searched():
    sizes = Knob("resolution", (128, "96x128", 64), 128, "entry")
    mixed = world(space_of(sizes, WIDTH), trials=8)
    mixed.run()
    assert len(mixed.seen) == 8 and mixed.states()["confirmed"] >= 1


def test_an_effort_that_opens_a_few_tries_all_of_them_and_ends():
    few = world(effort="entry", error=lambda c: by_width(c) / 2)
    few.run()
    assert len(few.seen) == 3 and set(few.states()) <= {"confirmed", "scored", "stopped"}
    assert few.states()["confirmed"] >= 1


@pytest.mark.parametrize("trials", [1, 5, 40])
def test_as_many_candidates_as_trials_are_proposed(trials):
    asked = world(trials=trials)
    asked.run()
    assert min(trials, 28) <= len(asked.seen) <= trials
    assert asked.states()["confirmed"] >= 1


def test_the_survey_has_the_baseline_first_and_no_one_twice():
    chosen = engine_of(WIDE).survey()
    assert chosen[0] == WIDE.baseline and len(set(chosen)) == len(chosen) == 28
    assert WIDE.candidate(resolution=64, a=0.125, t=1) == chosen[1]


@pytest.mark.parametrize("epoch_s", [0.2, 5.0])
def test_a_budget_is_kept(epoch_s):
    timed = world(budget_s=600.0, epoch_s=epoch_s)
    timed.run()
    assert timed.spent_s <= 600.0
    assert timed.states()["confirmed"] >= 1


def test_where_all_is_too_slow_nothing_is_trained():
    hopeless = world(budget_s=600.0, latency_ms=lambda c: 100 + area(c))
    hopeless.run()
    assert set(hopeless.states()) == {"too_slow"} and not hopeless.jobs
    assert len(hopeless.seen) >= 28


@pytest.mark.parametrize("limit", [{"budget_s": 600.0}, {"trials": 40}])
def test_where_nothing_meets_the_floor_the_nearest_is_confirmed(limit):
    """The most hopeful are never stopped, so that one is left to be shown as the nearest miss."""
    short = world(error=lambda c: 0.3 + by_width(c), **limit)
    short.run()
    assert short.states()["struck"] == 1 and "confirmed" not in short.states()
    (struck,) = [e for e in short.seen.values() if e.state == "struck"]
    assert struck.iou >= max(e.iou or 0.0 for e in short.seen.values()) - 0.05


def test_a_price_that_was_only_guessed_forbids_no_start():
    """100,000 pictures are expected to take hours; this machine turns out to need seconds."""
    engine = engine_of(WIDE, budget_s=600.0)
    pricing = Pricing(WIDE, Recipe(), outputs=1, pictures=100_000, workers=1)
    large = World(replace(engine, pricing=pricing), quarter, by_width)
    assert not pricing.affordable(WIDE.baseline, {}, 600.0)
    large.run()
    assert large.states()["confirmed"] >= 1


def test_the_end_comes_when_every_finish_fails():
    failing = world(budget_s=600.0, fails=lambda job: job.decay)
    failing.run()
    assert failing.spent_s <= 600.0
    assert "confirmed" not in failing.states()


def test_one_finish_is_tried_beyond_the_budget_but_not_one_after_the_other():
    engine = engine_of(WIDE, budget_s=600.0)
    first, second = list(WIDE.candidates("expert"))[:2]
    both = by_key(
        *(
            known(c, "scored", 2.0 + n, scored(0.9 + n / 50, 27))
            for n, c in enumerate((first, second))
        )
    )
    assert len(engine.finalists(both, -5.0)) == 1
    both[first.key] = replace(both[first.key], state="failed", error="no export")
    assert engine.finalists(both, -5.0) == []
    assert len(engine.finalists(both, 5.0)) == 1


def test_what_was_decayed_before_a_kill_is_confirmed_after_it():
    """Even if it fell under the floor, or another is expected to end better: it was paid for."""
    engine = engine_of(WIDE, budget_s=600.0)
    cut, better, done = list(WIDE.candidates("expert"))[:3]
    seen = by_key(
        known(cut, "scored", 3.0, scored(0.85, 27), scored(0.88, 32, decayed=True)),
        known(better, "scored", 2.0, scored(0.93, 27)),
        known(done, "struck", 2.0, scored(0.8, 27), scored(0.8, 32, decayed=True)),
    )
    jobs = engine.finalists(seen, 500.0)
    assert [(job.candidate, job.to_epoch) for job in jobs][0] == (cut, 32)
    assert {job.candidate for job in jobs} == {cut, better}
    assert [job.candidate for job in engine.finalists(seen, 25.0)] == [cut]


def test_the_front_that_is_confirmed_ends_the_list():
    engine = engine_of(WIDE)
    first, second = list(WIDE.candidates("expert"))[:2]
    seen = by_key(
        known(first, "confirmed", 2.0, scored(0.97, 27), scored(0.98, 32, decayed=True)),
        known(second, "scored", 3.0, scored(0.94, 27)),
    )
    assert engine.finalists(seen, None) == []
    seen[second.key] = known(second, "scored", 1.0, scored(0.94, 27))
    assert [job.candidate for job in engine.finalists(seen, None)] == [second]


def test_what_failed_or_was_stopped_takes_no_place_of_the_hopeful():
    engine = engine_of(WIDE)
    dead, alive = list(WIDE.candidates("expert"))[:3], list(WIDE.candidates("expert"))[3:6]
    seen = by_key(
        *(known(c, "stopped", 2.0, scored(0.6, 3)) for c in dead),
        *(known(c, "scored", 2.0, scored(0.5, 81)) for c in alive),
    )
    assert engine.stops(seen, []) == []


def test_what_is_being_trained_is_not_stopped():
    engine = engine_of(WIDE)
    candidates = list(WIDE.candidates("expert"))[:6]
    seen = by_key(
        *(known(c, "scored", 2.0, scored(0.1 * n, 81)) for n, c in enumerate(candidates))
    )
    stopped = [candidate for candidate, _ in engine.stops(seen, [])]
    assert stopped == candidates[:3]
    running = [Job(candidates[0], 81, 97, "c", decay=True)]
    assert [candidate for candidate, _ in engine.stops(seen, running)] == candidates[1:3]


def test_what_cannot_be_built_is_not_proposed_and_not_promised(tmp_path, monkeypatch):
    (tmp_path / "picky_networks.py").write_text(
        "import torch\n"
        "def picky(channels, classes, a):\n"
        "    if a > 0.2:\n"
        "        raise ValueError('too wide')\n"
        "    return torch.nn.Conv2d(channels, classes, 3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    channels = Knob("channels", (3,), 3, "expert")
    space = SearchSpace(
        "picky", "picky_networks:picky", (RESOLUTION, replace(WIDTH, baseline=0.125), channels)
    )
    engine = engine_of(space)
    seen, proposed = {}, []
    while isinstance(step := engine.propose(seen, [], None), Screen):
        proposed.append(step.candidate)
        seen[step.candidate.key] = known(step.candidate, "too_slow", 20.0)
    assert isinstance(step, Done)
    assert len(proposed) == 3 and {c["a"] for c in proposed} == {0.125}
    assert engine.verdict(seen)


def test_without_a_budget_nothing_depends_on_time():
    once, again = world(trials=33), world(trials=33, epoch_s=7.0)
    once.run()
    again.run()
    assert list(once.seen) == list(again.seen) and once.jobs == again.jobs
    assert once.states() == again.states()
