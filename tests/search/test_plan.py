"""The plan: what is ahead, for a run that begins and for one that is given more."""

from worlds import RESOLUTION, WIDTH, by_key, known, scheduler_of, scored, space_of

SPACE = space_of(RESOLUTION, WIDTH)
ALL = list(SPACE.candidates("expert"))
ENGINE = scheduler_of(SPACE)
MEASURED = by_key(*(known(c, "measured", 2.0) for c in ALL))


def lines(evaluations, left_s: float, spent_s: float = 0.0) -> list[str]:
    return ENGINE.planner.plan(evaluations, left_s, spent_s)


def test_a_spent_budget_is_called_spent():
    said = lines(MEASURED, -7200.0, 7680.0)
    assert said[-1] == "the budget of 8:00 is spent: nothing is searched without a longer --budget"
    assert not any("-" in line for line in said[1:-1])


def test_what_is_begun_is_not_counted_as_to_be_started():
    begun = by_key(*(known(c, "scored", 2.0, scored(0.8, 3)) for c in ALL[:4]))
    assert f"all {len(ALL)} that fit to their first rung" in lines(MEASURED, 1e6)[-1]
    said = lines({**MEASURED, **begun}, 1e6)
    assert f"all {len(ALL) - 4} that fit and are not begun to their first rung" in said[-1]
    everyone = by_key(*(known(c, "scored", 2.0, scored(0.8, 3)) for c in ALL))
    assert lines(everyone, 1e6)[-1].startswith("all that fit are begun already")


def test_the_budget_that_it_takes_holds_what_is_spent():
    def takes_minutes(spent_s: float) -> int:
        last = lines(MEASURED, 0.1, spent_s)[-1]
        return int(last.partition("use --budget ")[2].partition("m")[0])

    assert takes_minutes(6000.0) == takes_minutes(0.0) + 100
