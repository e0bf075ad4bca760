"""The plan: what is ahead, for a run that begins and for one that is given more."""

import math
import re
from dataclasses import replace

from factories import make_evaluation, make_measurement, make_score
from worlds import ASKED, RESOLUTION, WIDE, WIDTH, World, by_key, scheduler_of, space_of

from autoseg.core.feasibility import p_latency_met
from autoseg.core.records import Job
from autoseg.search.protocol import Done, Screen
from autoseg.search.rehearsal import rehearse

SPACE = space_of(RESOLUTION, WIDTH)
ALL = list(SPACE.candidates("expert"))
SCHEDULER, SEARCH = scheduler_of(SPACE), scheduler_of(WIDE)
MEASURED = by_key(*(make_evaluation(c, "measured", 2.0) for c in ALL))


def plan(evaluations, left_s: float, spent_s: float = 0.0, scheduler=SCHEDULER, **facts):
    return scheduler.plan(evaluations, left_s, spent_s, **facts)


def text(*args, **facts) -> str:
    return "\n".join(plan(*args, **facts).lines)


def latency_ms(candidate) -> float:
    """Of a network as it is counted: 4 to 24 ms."""
    macs = SEARCH.states.problem.training_time.cost(candidate).macs
    return 10 * (macs / 1.5e6) ** 0.5


def surveyed(count: int) -> World:
    """The first of the survey are measured."""
    world = World(scheduler_of(WIDE, budget_s=900.0), latency_ms, lambda c: 0.05)
    for candidate in world.scheduler.survey()[:count]:
        screen(world, candidate)
    return world


def screen(world: World, candidate) -> None:
    """Measured, with the cost that predictions are made from."""
    world.screen(candidate)
    cost = SEARCH.states.problem.training_time.cost(candidate)
    world.seen[candidate.key] = replace(world.seen[candidate.key], cost=cost)


def test_plan_of_three_measurements_says_that_the_others_are_unknown():
    world = surveyed(3)
    said = plan(world.seen, 500.0, scheduler=world.scheduler)
    others = WIDE.count("expert") - 3
    assert said.unknown == others and said.fits + said.too_slow == 3
    assert re.search(rf"other {others} .*unknown", said.lines[0])
    assert re.search(rf"other {others} .*unknown", "\n".join(world.scheduler.verdict(world.seen)))


def test_plan_counts_as_fitting_only_what_is_likely_to():
    """With the predictor, the wider candidates near the ceiling are uncertain."""
    world = surveyed(14)
    said = plan(world.seen, 500.0, scheduler=world.scheduler)
    truth = [latency_ms(c) <= ASKED.max_latency_ms for c in WIDE.candidates("expert")]
    assert said.unknown == 0
    assert said.fits + said.uncertain + said.too_slow == len(truth)
    assert said.fits <= sum(truth) <= said.fits + said.uncertain
    assert said.too_slow > 0


def test_plan_never_counts_a_network_as_fitting_whose_figure_is_over_the_ceiling():
    wide = make_measurement(10.3, min_ms=9.0, p50_ci_ms=(2.0, 40.0), p90_ci_ms=(2.0, 40.0))
    before = make_evaluation(ALL[0], "measured", 10.3)
    over = {**MEASURED, ALL[0].key: replace(before, measurements=(wide,))}
    said = plan(over, 500.0)
    assert (said.fits, said.uncertain, said.too_slow) == (len(ALL) - 1, 1, 0)
    assert p_latency_met(replace(wide, min_ms=10.1), ASKED) == 0.0  # not even its fastest run
    assert "1 uncertain" in "\n".join(SCHEDULER.verdict(over))


def test_plan_of_a_spent_budget_names_budget_and_option():
    said = plan(MEASURED, -7200.0, 7680.0)
    assert "8:00" in said.lines[-1] and "--budget" in said.lines[-1]
    assert not any("-" in line for line in said.lines[1:-1])
    assert said.first_rungs is None


def test_plan_of_a_continued_run_says_that_the_budget_is_the_total():
    said = text(MEASURED, 480.0, 720.0, resumed=True)
    assert re.search(r"20:00 is the total.*12:00 .*spent.* 8:00 .*left", said)
    assert "total" not in text(MEASURED, 480.0, 720.0)


def test_plan_does_not_count_begun_candidates_as_new():
    begun = by_key(*(make_evaluation(c, "scored", 2.0, make_score(0.8, 3)) for c in ALL))
    assert plan(begun, 600.0).first_rungs == 0
    assert plan(MEASURED, 600.0).first_rungs > 0


def test_plan_names_a_budget_that_the_data_deserve():
    said = plan(MEASURED, 60.0)
    minutes = re.search(rf"{len(ALL)} candidates .*--budget (\d+)m$", said.lines[-1])[1]
    assert said.deserves_s == 60 * int(minutes) > 60.0
    assert "this budget is enough" in text(MEASURED, said.deserves_s)


def test_plan_of_too_little_time_says_so():
    assert "not even one" in text(MEASURED, 3.0)


def test_rehearsal_is_close_to_the_search_that_follows():
    world = surveyed(28)
    epoch_s = world.scheduler.states.problem.training_time.epoch_s
    expected = rehearse(world.scheduler, world.seen, world.left_s)
    while not isinstance(step := world.scheduler.next_step(world.seen, [], world.left_s), Done):
        if isinstance(step, Screen):
            screen(world, step.candidate)
        elif isinstance(step, Job):
            world.epoch_s = epoch_s(step.candidate, world.seen)
            world.train(step)
    came = sum(bool(e.scores) for e in world.seen.values())
    assert expected.whole and abs(math.log(expected.first_rungs / came)) < math.log(2.5)
    assert expected.ends_s <= 900.0
    assert rehearse(world.scheduler, world.seen, 1.0).first_rungs == 0


def test_survey_goes_on_until_what_fits_is_known_and_something_can_be_trained():
    few, many = surveyed(7), surveyed(28)
    enough = many.scheduler.survey_is_enough
    assert enough(few.seen, 800.0) is None
    all_fit = {key: replace(e, state="measured") for key, e in MEASURED.items()}
    assert "worth more" in SCHEDULER.survey_is_enough(all_fit, 800.0)
    slow = by_key(*(make_evaluation(c, "too_slow", 200.0) for c in ALL))
    assert SCHEDULER.survey_is_enough(slow, 800.0) is None
    assert "uncertain" in SCHEDULER.survey_is_enough(slow, 800.0, beside=True)
