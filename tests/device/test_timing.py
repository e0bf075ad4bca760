"""How long is timed and which blocks count, on machines made of numbers."""

import re
from dataclasses import replace
from typing import Any

import pytest
from device.machine import Machine

from autoseg.core.records import MeasurePlan
from autoseg.device.aa_comparison import run_aa_test
from autoseg.device.timing import Timing, time_candidate

SCREEN = MeasurePlan(phase="screen", statistic="p50", ceiling_ms=1.0)
CONFIRM = MeasurePlan.confirm()


def timed(machine: Machine, plan: MeasurePlan = CONFIRM, **given: Any) -> Timing:
    return time_candidate(machine, plan, clock=machine.clock, **given)


def median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


def test_time_candidate_on_a_calm_machine_is_exact_and_spends_a_tenth_on_the_reference() -> None:
    machine = Machine(3.0)
    found = timed(machine)
    assert found.redone == found.disturbed == 0
    assert median(found.times_ms) == pytest.approx(3.0, rel=0.02)
    assert found.reference_ms == pytest.approx(0.1, rel=0.02)
    assert len(found.times_ms) == machine.count("candidate") >= CONFIRM.min_runs
    beside = 0.1 * machine.count("reference") / (3.0 * machine.count("candidate"))
    assert 0.05 < beside < 0.15


def test_time_candidate_of_a_screen_stops_at_a_clear_ceiling_but_not_before_min_runs() -> None:
    for ceiling_ms in (1.0, 1e3):
        found = timed(Machine(3.0), replace(SCREEN, ceiling_ms=ceiling_ms, min_runs=60))
        assert len(found.times_ms) == 60


def test_time_candidate_of_a_hopeless_model_ends_after_one_run_only_in_screening() -> None:
    assert len(timed(Machine(5000.0), replace(SCREEN, ceiling_ms=60.0)).times_ms) == 1
    assert len(timed(Machine(500.0), replace(CONFIRM, ceiling_ms=60.0)).times_ms) >= 6


def test_time_candidate_of_a_slow_model_is_bounded_on_a_busy_machine() -> None:
    restless = Machine(7000.0, slower=lambda s: 1.0 if s < 0.001 else 1.3)
    assert len(timed(restless, replace(SCREEN, ceiling_ms=60.0)).times_ms) == 1
    restless = Machine(1000.0, slower=lambda s: 1.0 if s < 0.001 else 1.3)
    assert len(timed(restless, replace(SCREEN, ceiling_ms=900.0)).times_ms) >= 6
    assert restless.now < 25


def test_time_candidate_of_a_tiny_network_for_confirmation_lasts_seconds() -> None:
    found = timed(Machine(0.1), replace(CONFIRM, min_s=2.0))
    assert 2.0 <= found.spent_s < 2.5 and len(found.times_ms) > CONFIRM.max_runs


def test_time_candidate_near_the_ceiling_continues_until_the_interval_is_narrow() -> None:
    found = timed(Machine(3.0, noise=0.1), replace(SCREEN, ceiling_ms=3.2, max_s=100.0))
    assert SCREEN.min_runs < len(found.times_ms) <= SCREEN.max_runs + 10


@pytest.mark.parametrize("candidate_ms", [0.05, 3.0, 60.0, 900.0])
def test_time_candidate_stops_after_max_s(candidate_ms: float) -> None:
    machine = Machine(candidate_ms)
    plan = replace(SCREEN, ceiling_ms=None, min_runs=10**6, max_runs=10**7, max_s=1.0)
    found = timed(machine, plan)
    assert len(found.times_ms) >= 6
    assert machine.now < max(1.5, 12 * candidate_ms / 1e3)


def test_time_candidate_repeats_blocks_beside_a_slow_reference_and_does_not_count_them() -> None:
    # Someone comes twice for a while.
    slow = Machine(3.0, slower=lambda s: 1.5 if 0.5 < s < 0.8 or 1.5 < s < 1.9 else 1.0)
    found = timed(slow)
    assert found.redone > 3 and found.disturbed == 0
    assert max(found.times_ms) < 3.3
    assert len(found.times_ms) >= CONFIRM.min_runs


def test_time_candidate_repeats_blocks_that_shared_their_core() -> None:
    shared = Machine(3.0, share=lambda s: 0.5 if s % 0.4 < 0.1 else 1.0)
    found = timed(shared)
    assert found.redone > 3 and max(found.times_ms) < 3.3


def test_time_candidate_on_an_accelerator_accepts_an_idle_core() -> None:
    idle = Machine(3.0, share=lambda s: 0.2)
    found = timed(idle, judge_core=False)
    assert found.redone == found.disturbed == 0


def test_time_candidate_always_counts_slow_runs_of_the_candidate() -> None:
    class Stalling(Machine):
        def _block(self, wanted: Any) -> Any:
            block = super()._block(wanted)
            stalls = wanted.model == "candidate" and len(self.blocks) % 5 == 1
            return block.model_copy(update={"times_ms": [9.0, *block.times_ms]} if stalls else {})

    found = timed(Stalling(3.0))
    assert found.redone == 0 and max(found.times_ms) == 9.0


def test_time_candidate_on_a_machine_that_is_never_calm_ends_with_a_flag() -> None:
    busy = Machine(3.0, share=lambda s: 0.5)
    found = timed(busy)
    assert found.disturbed == found.blocks and found.redone == 0
    assert median(found.times_ms) == pytest.approx(6.0, rel=0.05)
    assert len(found.times_ms) < 1.2 * CONFIRM.max_runs
    # Nothing is known of a calmer day, so the reference alone tells nothing.
    assert timed(Machine(3.0, slower=lambda s: 1.3)).disturbed == 0


def test_time_candidate_request_is_short_for_the_fastest_model_on_the_worst_machine() -> None:
    machine, sizes = Machine(0.005, share=lambda s: 0.5), []

    def source(wanted: list[Any]) -> Any:
        sizes.append(len(wanted))
        return machine(wanted)

    plan = replace(CONFIRM, min_runs=10**7, max_runs=10**7, max_s=1.0)
    time_candidate(source, plan, clock=machine.clock)
    assert 100 < max(sizes) <= 2000


def test_time_candidate_uses_the_reference_of_a_calm_day() -> None:
    slow = Machine(3.0, slower=lambda s: 1.3)
    found = timed(slow, calm_ms=0.1)
    assert found.disturbed == found.blocks
    assert found.reference_ms == pytest.approx(0.13, rel=0.02)


def test_time_candidate_repeats_a_bounded_number_of_blocks() -> None:
    # Every second block is disturbed, and half a second is all there is.
    shared = Machine(3.0, share=lambda s: 0.5 if s % 0.06 < 0.03 else 1.0, noise=0.3)
    timed(shared, replace(SCREEN, ceiling_ms=None, min_runs=10**6, max_runs=10**7, max_s=0.5))
    assert shared.now < 3.5 * 0.5


def test_compare_twins_on_a_calm_machine_trusts_after_20_pairs() -> None:
    found = run_aa_test(Machine(speeds={"a": 0.1, "b": 0.1}))
    assert found.passed and found.pairs == 20
    assert found.ratio == pytest.approx(1.0, abs=0.01)
    assert found.calm_ms == pytest.approx(0.1, rel=0.02)


def test_compare_twins_that_differ_are_not_trusted() -> None:
    found = run_aa_test(Machine(speeds={"a": 0.1, "b": 0.106}))
    assert not found.passed and found.pairs == 20
    assert found.ratio == pytest.approx(1 / 1.06, abs=0.01)


def test_compare_twins_ignores_a_drifting_clock() -> None:
    drifting = Machine(speeds={"a": 0.1, "b": 0.1}, slower=lambda s: 1 + 10 * s)
    found = run_aa_test(drifting)
    assert found.passed and drifting.now > 0.04


def test_compare_twins_takes_longer_on_a_noisy_machine() -> None:
    found = run_aa_test(Machine(speeds={"a": 0.1, "b": 0.1}, noise=0.3))
    assert 20 < found.pairs <= 120


def test_compare_twins_does_not_trust_noise_that_hides_a_difference() -> None:
    found = run_aa_test(Machine(speeds={"a": 0.1, "b": 0.1}, noise=1.5))
    assert found.pairs == 120 and not found.passed
    assert "noise" in found.doubt and "3 %" in found.doubt


def test_compare_twins_doubt_contains_the_difference() -> None:
    found = run_aa_test(Machine(speeds={"a": 0.1, "b": 0.106}))
    assert re.search(r"\b5\.\d", found.doubt)
