"""What a device's earlier days say: its calm speed, and how wide an interval must be."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from autoseg.device.history import PRIOR_SD, History, Sample, Spread, sample_of
from autoseg.device.percentiles import run_times

DAY_S = 86_400.0


def sample(day: float, reference_ms: float = 0.1, sd: float = 0.01) -> Sample:
    variances = {name: sd**2 for name in PRIOR_SD}
    return Sample(
        taken_s=day * DAY_S,
        reference_ms=reference_ms,
        reference_p90_ms=1.1 * reference_ms,
        processes=3,
        variances=variances,
    )


def filled(samples: list[Sample], folder: Path | None = None) -> History:
    history = History(folder, "device")
    for each in samples:
        history.add(each)
    return history


def test_history_pools_the_spread_of_all_models() -> None:
    steady, unsteady = filled([sample(0, sd=0.002)] * 40), filled([sample(0, sd=0.08)] * 40)
    assert steady.spread().process["p90"] < PRIOR_SD["p90"] / 2
    assert unsteady.spread().process["p90"] == pytest.approx(0.08, rel=0.1)
    assert filled([]).spread() == Spread()


def test_history_tells_a_slow_day_apart_from_the_usual_spread() -> None:
    days = [sample(day, 0.1 * (1 + 0.01 * (day % 3))) for day in range(12)]
    usual, with_slow_day = filled(days), filled([*days, sample(12, 0.137)])
    assert with_slow_day.spread().sitting == usual.spread().sitting
    assert with_slow_day.calm_ms() == pytest.approx(usual.calm_ms(), rel=0.01)


def test_history_is_kept_and_ignores_what_is_damaged(tmp_path: Path) -> None:
    filled([sample(0), sample(1, 0.12)], tmp_path)
    (file,) = tmp_path.iterdir()
    bad = json.dumps({**asdict(sample(2)), "reference_ms": -1})
    with file.open("a") as lines:
        lines.write(f'{bad}\n{{"other": 1}}\n[1]\n\x00\n{{"taken')
    again = History(tmp_path, "device")
    assert again.samples == [sample(0), sample(1, 0.12)]
    assert again.calm_ms() == 0.1


def test_history_that_cannot_be_written_costs_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = filled([sample(0)], tmp_path / "file")
    assert history.calm_ms() == 0.1


def test_run_times_interval_holds_what_another_day_says() -> None:
    """On a made machine with a spread of runs, of processes and of days, as stated."""
    random, each = np.random.default_rng(0), dict.fromkeys(PRIOR_SD, 0.02)
    spread = Spread(each, each)

    def measured() -> list[list[float]]:
        day = 0.02 * random.standard_normal()
        offsets = day + 0.02 * random.standard_normal(3)
        return [list(np.exp(off + 0.03 * random.standard_normal(340))) for off in offsets]

    held: dict[str, list[bool]] = {"p50": [], "p90": []}
    for _ in range(150):
        one, other = (run_times(measured(), spread) for _ in range(2))
        for name, found in held.items():
            low, high = getattr(one, f"{name}_ci_ms")
            found.append(low <= getattr(other, f"{name}_ms") <= high)
    assert all(0.9 <= np.mean(found) <= 1.0 for found in held.values())


def test_run_times_of_one_odd_process_stay_near_the_others_with_a_wider_interval() -> None:
    random = np.random.default_rng(0)
    usual = [list(np.exp(0.02 * random.standard_normal(400))) for _ in range(3)]
    odd = [*usual[:2], [1.3 * ms for ms in usual[2]]]

    def timed(process_ms: list[list[float]]) -> tuple[float, float]:
        p90s = [float(np.quantile(own, 0.9)) for own in process_ms]
        spread = Spread().of_model(sample_of(0.1, 0.1, {"p50": p90s, "p90": p90s}))
        found = run_times(process_ms, spread)
        assert found.p90_ms is not None and found.p90_ci_ms is not None
        return found.p90_ms, math.log(found.p90_ci_ms[1] / found.p90_ci_ms[0])

    assert timed(odd)[0] == pytest.approx(timed(usual)[0], rel=0.02)
    assert timed(odd)[1] > 1.5 * timed(usual)[1]
