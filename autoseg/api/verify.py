"""`autoseg verify`: repeats a bundle's promised latency on a device and its IoU on data.

Nothing of a bundle is trusted: its files are checked first, its model is inspected before it is
loaded, and runs in the runner's own process, which a model may crash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoseg import data as data_room
from autoseg.api.predict import cache_here, score_file
from autoseg.bundle.predict_script import grey_range_of, load
from autoseg.bundle.read import Bundle, open_bundle
from autoseg.core.errors import CandidateError, InputError
from autoseg.core.feasibility import MIN_P_FEASIBLE, latency_ci_ms, p_latency_met
from autoseg.core.records import DeviceInfo, Measurement, MeasurePlan, Score
from autoseg.core.text import one_line
from autoseg.data.dataset import Dataset, Reading
from autoseg.device import Device
from autoseg.device.protocol import measured
from autoseg.export.contract import require_shipped
from autoseg.run.rows import beside, promised_name

MAX_CLASSES = 12  # in a message
MAX_DIFFERENCE = 0.001  # between the IoU on the card and that on the same data


@dataclass(frozen=True)
class Check:
    """One promise: the card's figure, the figure found with its 95 % interval, and whether it
    holds; None where there is no criterion. A latency is in ms, an IoU a fraction.
    """

    name: str
    card: float
    found: float | None
    ci95: tuple[float, float] | None
    holds: bool | None
    why: str


@dataclass(frozen=True)
class Verified:
    """The checks of a bundle's promises on a device."""

    bundle: Bundle
    device: DeviceInfo
    measurement: Measurement
    scores: Mapping[str, Score]
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool | None:
        """False where a promise does not hold, None where none could be judged."""
        judged = [check.holds for check in self.checks if check.holds is not None]
        return all(judged) if judged else None


def verify(
    folder: Path,
    device: Device,
    *,
    data: Path | None = None,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
    max_latency_ms: float | None = None,
    cache_dir: Path | None = None,
) -> Verified:
    """Check the files of a bundle, then repeat its latency on the device and its IoU on the data.

    The latency is measured as in a confirmation, and judged by `max_latency_ms`; without it, by
    the card's ceiling where the device is of the card's kind. The IoU is that of the device's
    class maps, and judged where the data are those of the card. Without `data`, it is repeated
    only for the synthetic parcels. Raises InputError for an incomplete or foreign bundle, other
    classes in the data, and faults of the data; DeviceError for faults of the machine.
    """
    cache_dir = cache_dir or cache_here()
    with open_bundle(folder) as bundle:
        frame = require_shipped(bundle.model)
        dataset = _dataset(bundle, data, reading, cache_dir)
        if dataset is not None:
            _require_same_classes(bundle, dataset)
        try:
            info = device.describe()
            promised = bundle.manifest.constraints
            plan = MeasurePlan.confirm(
                promised.statistic, latency=promised.latency, frame_hw=promised.frame_hw
            )
            measurement = measured(device, bundle.model, plan)
            checks = [_latency(bundle, info, measurement, max_latency_ms)]
            checks += _beside_it(bundle, measurement)
            scores = {
                split: score_file(
                    bundle.model, dataset, split, frame=frame, run=device.predict,
                    cache_dir=cache_dir,
                )
                for split in bundle.scores
                if dataset is not None and dataset.splits.get(split)
            }  # fmt: skip
        except CandidateError as error:  # here the model is the user's
            raise InputError(str(error).replace(str(bundle.model), "model.onnx")) from error
    checks += _ious(bundle, dataset, scores)
    return Verified(bundle, info, measurement, scores, tuple(checks))


def _dataset(
    bundle: Bundle, data: Path | None, reading: Reading, cache_dir: Path
) -> Dataset | None:
    """The given data; else the parcels, where the card names them."""
    known = bundle.manifest.data
    if data is None and (known is None or known.name != "parcels" or reading != Reading()):
        if reading != Reading():
            raise InputError("how a folder is read needs the folder: give it with --data")
        return None
    grey_range, inspected = grey_range_of(load(bundle.model)), cache_dir.with_name("inspected")
    dataset = data_room.load(data, reading, cache_dir=inspected, grey_range=grey_range)
    # The card names a user's folder that is called parcels, too.
    other = data is None and known is not None and known.digest != dataset.digest
    return None if other else dataset


def _require_same_classes(bundle: Bundle, dataset: Dataset) -> None:
    """Class maps hold indices: with other classes or another order, an IoU means nothing."""
    if tuple(dataset.classes) != bundle.classes:
        raise InputError(
            f"the data's classes are {_listed(dataset.classes)}, the bundle's "
            f"{_listed(bundle.classes)}: they must be the same, in the same order; --remap "
            "renames and merges those of the data"
        )


def _listed(classes: Sequence[str]) -> str:
    more = f" … ({len(classes)} in all)" if len(classes) > MAX_CLASSES else ""
    return ", ".join(one_line(name)[:60] for name in classes[:MAX_CLASSES]) + more


def _latency(
    bundle: Bundle, info: DeviceInfo, found: Measurement, max_latency_ms: float | None
) -> Check:
    constraints, card = bundle.manifest.constraints, bundle.measurement
    statistic = constraints.statistic
    at, before = found.latency_ms(statistic), card.latency_ms(statistic)
    other = _otherwise(bundle, info)
    if max_latency_ms is not None:
        constraints = replace(constraints, max_latency_ms=max_latency_ms)
    remarks = [other] if other else []
    if card.runtime != found.runtime:
        there, here = one_line(card.runtime)[:100], one_line(found.runtime)
        remarks.append(f"{here} here, {there} on the card")
    compared = _compared(at / before) + (f" ({'; '.join(remarks)})" if remarks else "")
    if not other:
        compared += _corrected(card, found, at / before)
    name = promised_name(found.supported(statistic), found.latency)
    ci95 = latency_ci_ms(found, statistic)
    if other and max_latency_ms is None:
        why = f"{compared}; to judge it, give --max-latency"
        return Check(name, before, at, ci95, None, why)
    sure = p_latency_met(found, constraints)
    why = f"under {constraints.ceiling} with P {sure:.3f}, "
    why += f"needs {MIN_P_FEASIBLE}; {compared}"
    return Check(name, before, at, ci95, sure >= MIN_P_FEASIBLE, why)


def _beside_it(bundle: Bundle, found: Measurement) -> Iterator[Check]:
    """The latency that is not promised, where both have it."""
    statistic = bundle.manifest.constraints.statistic
    before, now = beside(bundle.measurement, statistic), beside(found, statistic)
    if before.value and now.value and before.name == now.name:
        why = f"not promised; {_compared(now.value / before.value)}"
        yield Check(now.name, before.value, now.value, now.ci95, None, why)


def _corrected(card: Measurement, found: Measurement, ratio: float) -> str:
    """How much of a difference is the machine's: the reference model is always the same."""
    if not (card.reference_ms and found.reference_ms):
        return ""
    machine = found.reference_ms / card.reference_ms
    return (
        f"; the machine is {_difference(machine)} then, and the model, corrected for that, "
        f"{_difference(ratio / machine)} the card's"
    )


def _difference(ratio: float) -> str:
    if abs(ratio - 1) < 0.01:
        return "as fast as"
    return f"{100 * abs(ratio - 1):.0f} % {'slower' if ratio > 1 else 'faster'} than"


def _otherwise(bundle: Bundle, info: DeviceInfo) -> str:
    """How this device differs in kind from the card's; empty where it does not."""
    card = bundle.manifest.device
    if card is None:
        return "the card names no device"
    facts = {
        "processor": (card.model, info.model),
        "threads": (str(card.threads), str(info.threads)),
        "provider": (card.provider, info.provider),
    }
    differing = [
        f"{what} {one_line(now)} here, {one_line(then)[:100]} on the card"
        for what, (then, now) in facts.items()
        if then != now
    ]
    return "another kind of device: " + "; ".join(differing) if differing else ""


def _compared(ratio: float) -> str:
    if abs(ratio - 1) < 0.01:
        return "as fast as on the card"
    if ratio > 2 or ratio < 0.5:
        return f"{ratio:,.0f} times the card's" if ratio >= 10 else f"{ratio:.2g} times the card's"
    return f"{100 * abs(ratio - 1):.0f} % {'slower' if ratio > 1 else 'faster'} than on the card"


def _ious(bundle: Bundle, dataset: Dataset | None, scores: Mapping[str, Score]) -> Iterator[Check]:
    for split, card in bundle.scores.items():
        name, found = f"IoU on {split}", scores.get(split)
        if dataset is None or found is None:
            why = "the data have no such split" if dataset else "to repeat it, give --data"
            yield Check(name, card.iou, None, None, None, why)
            continue
        apart = f"{abs(found.iou - card.iou):.4f} from the card's"
        if unlike := _unlike(bundle, dataset):
            yield Check(name, card.iou, found.iou, found.iou_ci95, None, f"{apart}; {unlike}")
            continue
        holds = abs(found.iou - card.iou) <= MAX_DIFFERENCE
        why = f"{apart}, at most {MAX_DIFFERENCE:g} is allowed"
        yield Check(name, card.iou, found.iou, found.iou_ci95, holds, why)


def _unlike(bundle: Bundle, dataset: Dataset) -> str:
    """Why the card gives no criterion for these data; empty where they are the card's own."""
    card = bundle.manifest.data
    if card is None:
        return "the card names no data"
    if card.digest == dataset.digest:
        return ""
    read = " ".join(
        f"--{one_line(name)[:30].replace('_', '-')} {one_line(str(value))[:60]}"
        for name, value in card.reading.items()
    )
    hint = f", which were read with {read}" if read else ""
    return f"not judged, as these are not the card's data{hint}"
