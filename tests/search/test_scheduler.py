"""Whole searches over made-up candidates end, keep to the budget, and lose nobody who matters."""

from dataclasses import replace

import pytest
from factories import make_evaluation, make_score
from worlds import (
    DEPENDENT,
    RESOLUTION,
    WIDE,
    WIDTH,
    World,
    area,
    by_key,
    by_width,
    scheduler_of,
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


def test_search_of_one_candidate_ends():
    alone = world(space_of(Knob("resolution", (64,), 64, "entry")))
    alone.run()
    assert alone.states() == {"confirmed": 1}


def test_search_accepts_sizes_that_are_no_squares():
    sizes = Knob("resolution", (128, "96x128", 64), 128, "entry")
    mixed = world(space_of(sizes, WIDTH), trials=8)
    mixed.run()
    assert 4 <= len(mixed.seen) <= 8 and mixed.states()["confirmed"] >= 1


def test_search_goes_through_a_space_with_inactive_knobs():
    dependent = world(DEPENDENT, error=lambda c: by_width(c) / 2)
    dependent.run()
    assert len(dependent.seen) == DEPENDENT.count("expert") == 9
    assert dependent.states()["confirmed"] >= 1
    assert dependent.scheduler.verdict(dependent.seen)


def test_search_of_a_small_effort_tries_all_candidates_and_ends():
    few = world(effort="entry", error=lambda c: by_width(c) / 2)
    few.run()
    assert len(few.seen) == 3 and set(few.states()) <= {"confirmed", "scored", "stopped"}
    assert few.states()["confirmed"] >= 1


@pytest.mark.parametrize("trials", [1, 5, 40])
def test_search_proposes_as_many_candidates_as_trials(trials):
    asked = world(trials=trials)
    asked.run()
    assert min(trials, 28) / 2 <= len(asked.seen) <= trials
    assert asked.states()["confirmed"] >= 1


def test_survey_has_the_baseline_first_and_no_duplicates():
    chosen = scheduler_of(WIDE).survey()
    assert chosen[0] == WIDE.baseline and len(set(chosen)) == len(chosen) == 28
    assert WIDE.candidate(resolution=64, a=0.125, t=1) == chosen[1]


@pytest.mark.parametrize("epoch_s", [pytest.param(0.2, marks=pytest.mark.slow), 5.0])
def test_search_keeps_the_budget(epoch_s):
    timed = world(budget_s=600.0, epoch_s=epoch_s)
    timed.run()
    assert timed.spent_s <= 600.0
    assert timed.states()["confirmed"] >= 1


def test_search_trains_nothing_where_all_are_too_slow():
    hopeless = world(budget_s=600.0, latency_ms=lambda c: 100 + area(c))
    hopeless.run()
    assert set(hopeless.states()) == {"too_slow"} and not hopeless.jobs
    assert len(hopeless.seen) >= 28


@pytest.mark.parametrize(
    "limit", [{"budget_s": 600.0}, pytest.param({"trials": 40}, marks=pytest.mark.slow)]
)
def test_search_confirms_the_nearest_where_nothing_meets_the_floor(limit):
    """The most hopeful are never stopped, so that one is left to be shown as the nearest miss."""
    short = world(error=lambda c: 0.3 + by_width(c), **limit)
    short.run()
    assert short.states()["rejected"] == 1 and "confirmed" not in short.states()
    (rejected,) = [e for e in short.seen.values() if e.state == "rejected"]
    assert rejected.iou >= max(e.iou or 0.0 for e in short.seen.values()) - 0.05


def test_search_starts_a_job_whose_time_is_only_a_guess():
    """100,000 pictures are expected to take hours; this machine turns out to need seconds."""
    times = TrainingTime(space=WIDE, recipe=Recipe(), outputs=1, pictures=100_000)
    large = World(scheduler_of(WIDE, budget_s=600.0, times=times), quarter, by_width)
    assert not times.affordable(WIDE.baseline, {}, 600.0)
    large.run()
    assert large.states()["confirmed"] >= 1


def test_finalists_end_when_every_final_training_fails():
    failing = world(budget_s=600.0, fails=lambda job: job.decay)
    failing.run()
    assert failing.spent_s <= 600.0
    assert "confirmed" not in failing.states()


def test_finalists_exceed_the_budget_by_one_training_at_most():
    scheduler = scheduler_of(WIDE, budget_s=600.0)
    first, second = list(WIDE.candidates("expert"))[:2]
    both = by_key(
        *(
            make_evaluation(c, "scored", 2.0 + n, make_score(0.9 + n / 50, 27))
            for n, c in enumerate((first, second))
        )
    )
    (job,) = scheduler.finalists(both, -5.0)
    assert job.candidate == first  # the shortest, though the other is expected to end better
    assert scheduler.finalists(both, None)[0].candidate == second
    both[first.key] = replace(both[first.key], state="failed", error="no export")
    assert scheduler.finalists(both, -5.0) == []
    assert len(scheduler.finalists(both, 5.0)) == 1


def test_finalists_decayed_before_a_kill_are_confirmed_after_it():
    """Even if it fell under the floor, or another is expected to end better: it was paid for."""
    scheduler = scheduler_of(WIDE, budget_s=600.0)
    cut, better, done = list(WIDE.candidates("expert"))[:3]
    seen = by_key(
        make_evaluation(
            cut, "scored", 3.0, make_score(0.85, 27), make_score(0.88, 32, decayed=True)
        ),
        make_evaluation(better, "scored", 2.0, make_score(0.93, 27)),
        make_evaluation(
            done, "rejected", 2.0, make_score(0.8, 27), make_score(0.8, 32, decayed=True)
        ),
    )
    jobs = scheduler.finalists(seen, 500.0)
    assert [(job.candidate, job.to_epoch) for job in jobs][0] == (cut, 32)
    assert {job.candidate for job in jobs} == {cut, better}
    assert [job.candidate for job in scheduler.finalists(seen, 25.0)] == [cut]


def test_finalists_end_with_the_confirmed_front():
    scheduler = scheduler_of(WIDE)
    first, second = list(WIDE.candidates("expert"))[:2]
    seen = by_key(
        make_evaluation(
            first, "confirmed", 2.0, make_score(0.97, 27), make_score(0.98, 32, decayed=True)
        ),
        make_evaluation(second, "scored", 3.0, make_score(0.94, 27)),
    )
    assert scheduler.finalists(seen, None) == []
    seen[second.key] = make_evaluation(second, "scored", 1.0, make_score(0.94, 27))
    assert [job.candidate for job in scheduler.finalists(seen, None)] == [second]


def test_finalists_exclude_failed_and_stopped_candidates():
    scheduler = scheduler_of(WIDE)
    dead, alive = list(WIDE.candidates("expert"))[:3], list(WIDE.candidates("expert"))[3:6]
    seen = by_key(
        *(make_evaluation(c, "stopped", 2.0, make_score(0.6, 3)) for c in dead),
        *(make_evaluation(c, "scored", 2.0, make_score(0.5, 81)) for c in alive),
    )
    assert scheduler.stops(seen, []) == []


def test_stops_exclude_candidates_in_training():
    scheduler = scheduler_of(WIDE)
    candidates = list(WIDE.candidates("expert"))[:6]
    seen = by_key(
        *(
            make_evaluation(c, "scored", 2.0, make_score(0.1 * n, 81))
            for n, c in enumerate(candidates)
        )
    )
    stopped = [candidate for candidate, _ in scheduler.stops(seen, [])]
    assert stopped == candidates[:3]
    running = [Job(candidates[0], 81, 97, decay=True)]
    assert [candidate for candidate, _ in scheduler.stops(seen, running)] == candidates[1:3]


def test_search_does_not_propose_candidates_that_cannot_be_built(tmp_path, monkeypatch):
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
        seen[step.candidate.key] = make_evaluation(step.candidate, "too_slow", 20.0)
    assert isinstance(step, Done)
    assert len(proposed) == 3 and {c["a"] for c in proposed} == {0.125}
    assert scheduler.verdict(seen)


def test_search_without_budget_does_not_depend_on_time():
    once, again = world(trials=33), world(trials=33, epoch_s=7.0)
    once.run()
    again.run()
    assert list(once.seen) == list(again.seen) and once.jobs == again.jobs
    assert once.states() == again.states()


def test_search_finds_the_best_feasible_with_part_of_all_training():
    """Of 54 candidates, one in each size is best; the rest is looked at briefly or not at all."""
    thrifty = world(budget_s=20_000.0)
    thrifty.run()
    best = min(thrifty.seen.values(), key=lambda e: by_width(e.candidate))
    front = [e for e in thrifty.seen.values() if e.state == "confirmed"]
    assert max(e.iou for e in front) >= 1 - by_width(best.candidate) * (1 + 2 / 97) - 0.003
    assert thrifty.spent_s < 0.4 * WIDE.count("expert") * 81


def test_next_step_ranks_continued_and_new_candidates_together():
    """What is far along and good goes on; where it cannot get better any more, others begin."""
    scheduler = scheduler_of(WIDE, budget_s=10_000.0)
    ahead, *others = list(WIDE.candidates("expert"))[:6]
    fresh = [make_evaluation(c, "measured", 2.0 + n) for n, c in enumerate(others)]
    step = scheduler.next_step(
        by_key(make_evaluation(ahead, "scored", 1.0, make_score(0.93, 9)), *fresh), [], 9_000.0
    )
    assert isinstance(step, Job) and step.candidate == ahead and step.from_epoch == 9
    done = make_evaluation(
        ahead, "scored", 5.0, *(make_score(0.91, epoch) for epoch in (3, 9, 27, 81))
    )
    step = scheduler.next_step(by_key(done, *fresh), [], 9_000.0)
    assert isinstance(step, Screen) or step.from_epoch == 0


def test_next_step_gives_two_workers_different_jobs_and_lets_a_third_wait():
    scheduler = scheduler_of(WIDE, workers=2)
    seen = by_key(
        *(make_evaluation(c, "measured", 2.0) for c in list(WIDE.candidates("expert"))[:30])
    )
    first = scheduler.next_step(seen, [], None)
    second = scheduler.next_step(seen, [first], None)
    assert isinstance(first, Job | Screen) and first != second
    jobs = [Job(c, 0, 3) for c in list(WIDE.candidates("expert"))[:2]]
    assert scheduler.next_step(seen, jobs, None) == Wait()


def test_next_step_follows_a_pool_whose_slots_come_and_go():
    scheduler, all_ = scheduler_of(WIDE), list(WIDE.candidates("expert"))
    seen = by_key(*(make_evaluation(c, "measured", 2.0) for c in all_[:30]))
    jobs = [Job(candidate, 0, 3) for candidate in all_[:2]]
    steps = [scheduler.having(n, "cpu").next_step(seen, jobs, None) for n in (1, 2, 3)]
    assert steps[:2] == [Wait(), Wait()] and isinstance(steps[2], Job)
    # With no slot left, one job waits until there is one.
    none = scheduler.having(0, "cpu")
    assert isinstance(none.next_step(seen, [], None), Job)
    assert none.next_step(seen, jobs[:1], None) == Wait()


def test_finish_s_is_that_of_so_many_slots_of_that_kind():
    scheduler, all_ = scheduler_of(WIDE, budget_s=600.0), list(WIDE.candidates("expert"))
    seen = by_key(*(make_evaluation(c, "scored", 2.0, make_score(0.9, 27)) for c in all_[:8]))
    jobs = [Job(e.candidate, 27, 32, decay=True) for e in seen.values()]
    alone, many = (scheduler.having(n, "cpu").finish_s(seen, jobs) for n in (1, 8))
    assert many < alone
    assert scheduler.having(1, "cuda").finish_s(seen, jobs) != alone


def test_stops_a_candidate_that_a_faster_one_would_beat_if_finished_now():
    scheduler = scheduler_of(WIDE)
    good, *hopeless = list(WIDE.candidates("expert"))[:8]
    rungs = (3, 9, 27)
    seen = by_key(
        make_evaluation(
            good, "scored", 2.0, *(make_score(0.97 + epoch / 1000, epoch) for epoch in rungs)
        ),
        *(
            make_evaluation(c, "scored", 5.0, *(make_score(0.93, epoch) for epoch in rungs))
            for c in hopeless
        ),
    )
    stopped = dict(scheduler.stops(seen, []))
    assert stopped and good not in stopped
    assert all(good.key in reason and "faster" in reason for reason in stopped.values())


def test_outlook_shrinks_towards_the_end_of_the_search():
    searched = world(budget_s=8_000.0)
    assert searched.scheduler.outlook({}, 100.0) is None
    looks = []
    for candidate in searched.scheduler.survey():
        searched.screen(candidate)
    while (step := searched.scheduler.next_step(searched.seen, [], searched.left_s)) != Done():
        if isinstance(step, Screen):
            searched.screen(step.candidate)
            continue
        searched.train(step)
        looks.append(searched.scheduler.outlook(searched.seen, 1_000.0))
    assert looks[-1].hypervolume > looks[0].hypervolume
    assert looks[-1].gain_iou <= looks[-1].gain_iou_at_most < looks[0].gain_iou_at_most
    assert looks[-1].gain_iou_at_most < 0.02


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("nsga2", marks=pytest.mark.slow)])
def test_search_with_an_optuna_sampler_trains_proposals_to_the_last_rung(sampler):
    sampled = world(budget_s=3_000.0, sampler=sampler)
    sampled.run()
    assert sampled.spent_s <= 3_000.0 and sampled.states()["confirmed"] >= 1
    begun = {job.candidate for job in sampled.jobs}
    whole = {job.candidate for job in sampled.jobs if job.to_epoch == 81}
    assert len(begun - whole) <= 1 and "stopped" not in sampled.states()


def test_finalists_begin_with_a_safe_and_large_gain():
    """Not the surest one, which may be slow and little better than what is fast as well."""
    scheduler = scheduler_of(WIDE)
    slow, fast, vain = list(WIDE.candidates("expert"))[:3]
    rungs = (3, 9, 27)
    seen = by_key(
        make_evaluation(slow, "scored", 8.0, *(make_score(0.96, epoch) for epoch in rungs)),
        make_evaluation(fast, "scored", 1.0, *(make_score(0.95, epoch) for epoch in rungs)),
        make_evaluation(vain, "scored", 0.5, *(make_score(0.85, epoch) for epoch in rungs)),
    )
    first = scheduler.finalists(seen, None)
    assert [job.candidate for job in first] == [fast, slow]


def test_search_with_a_sampler_finishes_candidates_outside_the_sample_of_a_large_space(
    monkeypatch,
):
    monkeypatch.setattr("autoseg.search.state.MAX_CANDIDATES", 12)
    monkeypatch.setattr("autoseg.search.proposers.space.MAX_NETWORKS", 2)
    large = world(budget_s=3_000.0, sampler="random")
    inside = {c.key for c in large.scheduler.states.proposed.candidates}
    large.run()
    confirmed = {e.candidate.key for e in large.seen.values() if e.state == "confirmed"}
    assert len(inside) < WIDE.count("expert") and confirmed - inside
