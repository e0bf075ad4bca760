"""The plan: what is ahead, for a run that begins and for one that is given more."""

import re

from factories import make_evaluation, make_score
from worlds import RESOLUTION, WIDTH, by_key, scheduler_of, space_of

SPACE = space_of(RESOLUTION, WIDTH)
ALL = list(SPACE.candidates("expert"))
ENGINE = scheduler_of(SPACE)
MEASURED = by_key(*(make_evaluation(c, "measured", 2.0) for c in ALL))


def lines(evaluations, left_s: float, spent_s: float = 0.0) -> list[str]:
    return ENGINE.plan(evaluations, left_s, spent_s)


def test_plan_lines_of_a_spent_budget_name_budget_and_option():
    said = lines(MEASURED, -7200.0, 7680.0)
    assert "8:00" in said[-1] and "--budget" in said[-1]
    assert not any("-" in line for line in said[1:-1])


def test_plan_lines_do_not_count_begun_candidates_as_new():
    begun = by_key(*(make_evaluation(c, "scored", 2.0, make_score(0.8, 3)) for c in ALL[:4]))
    assert f"all {len(ALL)} that fit" in lines(MEASURED, 1e6)[-1]
    said = lines({**MEASURED, **begun}, 1e6)
    assert f"all {len(ALL) - 4} that fit" in said[-1]
    everyone = by_key(*(make_evaluation(c, "scored", 2.0, make_score(0.8, 3)) for c in ALL))
    assert not re.search(r"all \d+ that fit", lines(everyone, 1e6)[-1])


def test_plan_lines_budget_includes_the_time_spent():
    def takes_minutes(spent_s: float) -> int:
        last = lines(MEASURED, 0.1, spent_s)[-1]
        return int(re.search(r"--budget (\d+)m", last)[1])

    assert takes_minutes(6000.0) == takes_minutes(0.0) + 100
