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
    known,
    scheduler_of,
    scored,
    space_of,
)

from autoseg.core.records import Candidate, Job
from autoseg.networks.space import Knob, SearchSpace
from autoseg.search.protocol import Done, Screen, Wait
from autoseg.search.training_time import TrainingTime
from autoseg.train.recipe import Recipe


def quarter(candidate: Candidate) -> float:
    """Latencies of 1 to 4 ms: all fit."""
    return area(candidate) / 4


def world(space: SearchSpace = WIDE, /, **changed) -> World:
    mine = {k: changed.pop(k) for k in ("epoch_s", "fails", "spent_s") if k in changed}
    latency, error = changed.pop("latency_ms", quarter), changed.pop("error", by_width)
    return World(scheduler_of(space, **changed), latency, error, **mine)


def test_a_space_of_one_is_searched_through():
    alone = world(space_of(Knob("resolution", (64,), 64, "entry")))
    alone.run()
    assert alone.states() == {"confirmed": 1}


def test_sizes_that_are_no_squares_are_searched():
    sizes = Knob("resolution", (128, "96x128", 64), 128, "entry")
    mixed = world(space_of(sizes, WIDTH), trials=8)
    mixed.run()
    assert 4 <= len(mixed.seen) <= 8 and mixed.states()["confirmed"] >= 1


def test_an_effort_that_opens_a_few_tries_all_of_them_and_ends():
    few = world(effort="entry", error=lambda c: by_width(c) / 2)
    few.run()
    assert len(few.seen) == 3 and set(few.states()) <= {"confirmed", "scored", "stopped"}
    assert few.states()["confirmed"] >= 1


@pytest.mark.parametrize("trials", [1, 5, 40])
def test_as_many_candidates_as_trials_are_proposed(trials):
    asked = world(trials=trials)
    asked.run()
    assert min(trials, 28) / 2 <= len(asked.seen) <= trials
    assert asked.states()["confirmed"] >= 1


def test_the_survey_has_the_baseline_first_and_no_one_twice():
    chosen = scheduler_of(WIDE).survey()
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
    assert short.states()["rejected"] == 1 and "confirmed" not in short.states()
    (rejected,) = [e for e in short.seen.values() if e.state == "rejected"]
    assert rejected.iou >= max(e.iou or 0.0 for e in short.seen.values()) - 0.05


def test_a_price_that_was_only_guessed_forbids_no_start():
    """100,000 pictures are expected to take hours; this machine turns out to need seconds."""
    times = TrainingTime(WIDE, Recipe(), outputs=1, pictures=100_000, workers=1)
    large = World(scheduler_of(WIDE, budget_s=600.0, times=times), quarter, by_width)
    assert not times.affordable(WIDE.baseline, {}, 600.0)
    large.run()
    assert large.states()["confirmed"] >= 1


def test_the_end_comes_when_every_finish_fails():
    failing = world(budget_s=600.0, fails=lambda job: job.decay)
    failing.run()
    assert failing.spent_s <= 600.0
    assert "confirmed" not in failing.states()


def test_one_finish_is_tried_beyond_the_budget_but_not_one_after_the_other():
    scheduler = scheduler_of(WIDE, budget_s=600.0)
    first, second = list(WIDE.candidates("expert"))[:2]
    both = by_key(
        *(
            known(c, "scored", 2.0 + n, scored(0.9 + n / 50, 27))
            for n, c in enumerate((first, second))
        )
    )
    (job,) = scheduler.finalists(both, -5.0)
    assert job.candidate == first  # the shortest, though the other is expected to end better
    assert scheduler.finalists(both, None)[0].candidate == second
    both[first.key] = replace(both[first.key], state="failed", error="no export")
    assert scheduler.finalists(both, -5.0) == []
    assert len(scheduler.finalists(both, 5.0)) == 1


def test_what_was_decayed_before_a_kill_is_confirmed_after_it():
    """Even if it fell under the floor, or another is expected to end better: it was paid for."""
    scheduler = scheduler_of(WIDE, budget_s=600.0)
    cut, better, done = list(WIDE.candidates("expert"))[:3]
    seen = by_key(
        known(cut, "scored", 3.0, scored(0.85, 27), scored(0.88, 32, decayed=True)),
        known(better, "scored", 2.0, scored(0.93, 27)),
        known(done, "rejected", 2.0, scored(0.8, 27), scored(0.8, 32, decayed=True)),
    )
    jobs = scheduler.finalists(seen, 500.0)
    assert [(job.candidate, job.to_epoch) for job in jobs][0] == (cut, 32)
    assert {job.candidate for job in jobs} == {cut, better}
    assert [job.candidate for job in scheduler.finalists(seen, 25.0)] == [cut]


def test_the_front_that_is_confirmed_ends_the_list():
    scheduler = scheduler_of(WIDE)
    first, second = list(WIDE.candidates("expert"))[:2]
    seen = by_key(
        known(first, "confirmed", 2.0, scored(0.97, 27), scored(0.98, 32, decayed=True)),
        known(second, "scored", 3.0, scored(0.94, 27)),
    )
    assert scheduler.finalists(seen, None) == []
    seen[second.key] = known(second, "scored", 1.0, scored(0.94, 27))
    assert [job.candidate for job in scheduler.finalists(seen, None)] == [second]


def test_what_failed_or_was_stopped_takes_no_place_of_the_hopeful():
    scheduler = scheduler_of(WIDE)
    dead, alive = list(WIDE.candidates("expert"))[:3], list(WIDE.candidates("expert"))[3:6]
    seen = by_key(
        *(known(c, "stopped", 2.0, scored(0.6, 3)) for c in dead),
        *(known(c, "scored", 2.0, scored(0.5, 81)) for c in alive),
    )
    assert scheduler.stops(seen, []) == []


def test_what_is_being_trained_is_not_stopped():
    scheduler = scheduler_of(WIDE)
    candidates = list(WIDE.candidates("expert"))[:6]
    seen = by_key(
        *(known(c, "scored", 2.0, scored(0.1 * n, 81)) for n, c in enumerate(candidates))
    )
    stopped = [candidate for candidate, _ in scheduler.stops(seen, [])]
    assert stopped == candidates[:3]
    running = [Job(candidates[0], 81, 97, decay=True)]
    assert [candidate for candidate, _ in scheduler.stops(seen, running)] == candidates[1:3]


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
    scheduler = scheduler_of(space)
    seen, proposed = {}, []
    while isinstance(step := scheduler.next_step(seen, [], None), Screen):
        proposed.append(step.candidate)
        seen[step.candidate.key] = known(step.candidate, "too_slow", 20.0)
    assert isinstance(step, Done)
    assert len(proposed) == 3 and {c["a"] for c in proposed} == {0.125}
    assert scheduler.planner.verdict(seen)


def test_without_a_budget_nothing_depends_on_time():
    once, again = world(trials=33), world(trials=33, epoch_s=7.0)
    once.run()
    again.run()
    assert list(once.seen) == list(again.seen) and once.jobs == again.jobs
    assert once.states() == again.states()


def test_the_best_that_fits_is_found_with_a_part_of_the_training_that_all_would_take():
    """Of 54 candidates, one in each size is best; the rest is looked at briefly or not at all."""
    thrifty = world(budget_s=20_000.0)
    thrifty.run()
    best = min(thrifty.seen.values(), key=lambda e: by_width(e.candidate))
    front = [e for e in thrifty.seen.values() if e.state == "confirmed"]
    assert max(e.iou for e in front) >= 1 - by_width(best.candidate) * (1 + 2 / 97) - 0.003
    assert thrifty.spent_s < 0.4 * WIDE.count("expert") * 81


def test_going_on_competes_with_starting():
    """What is far along and good goes on; where it cannot get better any more, others begin."""
    scheduler = scheduler_of(WIDE, budget_s=10_000.0)
    ahead, *others = list(WIDE.candidates("expert"))[:6]
    fresh = [known(c, "measured", 2.0 + n) for n, c in enumerate(others)]
    step = scheduler.next_step(
        by_key(known(ahead, "scored", 1.0, scored(0.93, 9)), *fresh), [], 9_000.0
    )
    assert isinstance(step, Job) and step.candidate == ahead and step.from_epoch == 9
    done = known(ahead, "scored", 5.0, *(scored(0.91, epoch) for epoch in (3, 9, 27, 81)))
    step = scheduler.next_step(by_key(done, *fresh), [], 9_000.0)
    assert isinstance(step, Screen) or step.from_epoch == 0


def test_two_workers_do_not_train_the_same_and_a_third_job_waits():
    scheduler = scheduler_of(WIDE, workers=2)
    seen = by_key(*(known(c, "measured", 2.0) for c in list(WIDE.candidates("expert"))[:30]))
    first = scheduler.next_step(seen, [], None)
    second = scheduler.next_step(seen, [first], None)
    assert isinstance(first, Job | Screen) and first != second
    jobs = [Job(c, 0, 3) for c in list(WIDE.candidates("expert"))[:2]]
    assert scheduler.next_step(seen, jobs, None) == Wait()


def test_what_a_faster_one_would_have_if_finished_now_is_stopped():
    scheduler = scheduler_of(WIDE)
    good, *hopeless = list(WIDE.candidates("expert"))[:8]
    rungs = (3, 9, 27)
    seen = by_key(
        known(good, "scored", 2.0, *(scored(0.97 + epoch / 1000, epoch) for epoch in rungs)),
        *(known(c, "scored", 5.0, *(scored(0.93, epoch) for epoch in rungs)) for c in hopeless),
    )
    stopped = dict(scheduler.stops(seen, []))
    assert stopped and good not in stopped
    assert all(good.key in reason and "faster" in reason for reason in stopped.values())


def test_the_outlook_shrinks_as_the_search_comes_to_its_end():
    searched = world(budget_s=8_000.0)
    assert searched.scheduler.planner.outlook({}, 100.0) is None
    looks = []
    for candidate in searched.scheduler.survey():
        searched.screen(candidate)
    while (step := searched.scheduler.next_step(searched.seen, [], searched.left_s)) != Done():
        if isinstance(step, Screen):
            searched.screen(step.candidate)
            continue
        searched.train(step)
        looks.append(searched.scheduler.planner.outlook(searched.seen, 1_000.0))
    assert looks[-1].hypervolume > looks[0].hypervolume
    assert looks[-1].gain_iou <= looks[-1].gain_iou_at_most < looks[0].gain_iou_at_most
    assert looks[-1].gain_iou_at_most < 0.02


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_sampler_of_optuna_trains_what_it_proposes_to_the_top(sampler):
    sampled = world(budget_s=3_000.0, sampler=sampler)
    sampled.run()
    assert sampled.spent_s <= 3_000.0 and sampled.states()["confirmed"] >= 1
    begun = {job.candidate for job in sampled.jobs}
    whole = {job.candidate for job in sampled.jobs if job.to_epoch == 81}
    assert len(begun - whole) <= 1 and "stopped" not in sampled.states()


def test_the_first_finalist_is_sure_to_hold_and_adds_much():
    """Not the surest one, which may be slow and little better than what is fast as well."""
    scheduler = scheduler_of(WIDE)
    slow, fast, vain = list(WIDE.candidates("expert"))[:3]
    rungs = (3, 9, 27)
    seen = by_key(
        known(slow, "scored", 8.0, *(scored(0.96, epoch) for epoch in rungs)),
        known(fast, "scored", 1.0, *(scored(0.95, epoch) for epoch in rungs)),
        known(vain, "scored", 0.5, *(scored(0.85, epoch) for epoch in rungs)),
    )
    first = scheduler.finalists(seen, None)
    assert [job.candidate for job in first] == [fast, slow]


def test_what_a_sampler_proposes_beyond_the_sample_of_a_large_space_is_finished(monkeypatch):
    monkeypatch.setattr("autoseg.search.state.MAX_CANDIDATES", 12)
    monkeypatch.setattr("autoseg.search.proposers.space.MAX_NETWORKS", 2)
    large = world(budget_s=3_000.0, sampler="random")
    inside = {c.key for c in large.scheduler.states.proposed.candidates}
    large.run()
    confirmed = {e.candidate.key for e in large.seen.values() if e.state == "confirmed"}
    assert len(inside) < WIDE.count("expert") and confirmed - inside
