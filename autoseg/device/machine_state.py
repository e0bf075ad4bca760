"""Interprets a machine's state around a measurement: throttling, heat, load of other programs."""

from __future__ import annotations

import functools
import operator

from autoseg.device.rpc_schema import StateAfter, Status
from autoseg.device.timing import Timing

# Bits 0 to 3 of a Raspberry Pi's throttled word are the present limits; higher ones since boot.
LIMITED_NOW = 0xF
COOL_MARGIN_C = 5.0
HOT_C = 75
MIN_OTHER_CORES = 0.5
# The governor "performance" requests the full clock; a lower one was limited.
MIN_CLOCK_SHARE = 0.95
# Reference over its calm median from which the whole measurement is flagged.
MIN_FLAGGED_RATIO = 1.05


def merge_state(first: StateAfter, second: StateAfter) -> StateAfter:
    """Two states as one: limits of either, the higher of maxima, the rest of the second."""
    bits = [each.throttled_bits for each in (first, second) if each.throttled_bits is not None]
    highest = {
        name: max(
            (n for n in (getattr(first, name), getattr(second, name)) if n is not None),
            default=None,
        )
        for name in ("temperature_c", "throttle_count", "peak_rss_bytes")
    }
    return second.model_copy(
        update={
            "throttled_bits": functools.reduce(operator.or_, bits) if bits else None,
            **highest,
        }
    )


def throttled(
    before: Status, after: StateAfter, max_temperature_c: float | None = None
) -> bool | None:
    """Whether the clock was limited in between; None where the machine does not report it."""
    bits = (before.throttled_bits, after.throttled_bits)
    counts = (before.throttle_count, after.throttle_count)
    signs = [pair[0] != pair[1] for pair in (bits, counts) if None not in pair]
    signs += [bool(word & LIMITED_NOW) for word in bits if word is not None]
    if not signs and set(before.governors) == {"performance"}:
        # Only without counters: with them, a clock below the highest is merely not boosted.
        clocks = (after.clock_mhz, before.max_clock_mhz)
        signs += [clocks[0] < MIN_CLOCK_SHARE * clocks[1]] if clocks[0] and clocks[1] else []
    if max_temperature_c is not None and after.temperature_c is not None:
        signs += [after.temperature_c > max_temperature_c]
    return any(signs) if signs else None


def is_cool(status: Status, max_temperature_c: float | None) -> bool:
    """Whether a machine that was hot or throttled may be timed again."""
    if (status.throttled_bits or 0) & LIMITED_NOW:
        return False
    known = None not in (status.temperature_c, max_temperature_c)
    return known and (status.temperature_c or 0) <= (max_temperature_c or 0) - COOL_MARGIN_C


def suspects(status: Status) -> tuple[str, ...]:
    """Possible reasons for an unsteady machine, in words."""
    found = []
    wrong = [name for name in status.governors if name != "performance"]
    if wrong:
        found.append(f"the governor is {', '.join(wrong)}, not performance")
    if status.other_cores is not None and status.other_cores >= MIN_OTHER_CORES:
        found.append(other_load(status))
    if (status.throttled_bits or 0) & LIMITED_NOW:
        found.append(f"it is throttled now (get_throttled says {status.throttled_bits:#x})")
    if status.temperature_c is not None and status.temperature_c >= HOT_C:
        found.append(f"it is hot ({status.temperature_c:.0f} °C)")
    return tuple(found)


def other_load(status: Status) -> str:
    """The load of other programs: `other programs keep 1.3 cores busy (python3 0.9)`."""
    top = ", ".join(f"{name} {cores:.1f}" for name, cores in status.top if cores)
    return f"other programs keep {status.other_cores:.1f} cores busy" + (
        f" ({top})" if top else ""
    )


def flags(
    *,
    ratio: float | None,
    timing: Timing,
    was_throttled: bool | None,
    status: Status,
    after: StateAfter,
    fallen_back: str | None,
) -> tuple[str, ...]:
    """Everything irregular while a model was timed, in words."""
    found = []
    if was_throttled:
        found.append("the machine was throttled")
    if after.governors and after.governors != status.governors:
        now = ", ".join(after.governors)
        found.append(f"the governor went from {', '.join(status.governors)} to {now}")
    if timing.disturbed:
        found.append(f"{timing.disturbed} of {timing.blocks} blocks disturbed")
    if ratio is not None and ratio >= MIN_FLAGGED_RATIO:
        found.append(f"reference {100 * (ratio - 1):.0f} % slower than when calm")
    if status.other_cores is not None and status.other_cores >= MIN_OTHER_CORES:
        found.append(other_load(status))
    if fallen_back:
        found.append(fallen_back)
    return tuple(found)
