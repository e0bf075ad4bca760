"""Facts about a device, and findings: what to fix before its figures can be trusted."""

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from autoseg.core.text import bounded
from autoseg.device.device_profile import Profile
from autoseg.device.rpc_schema import Hello, Status
from autoseg.device.runtimes import other_versions, tested_runtimes

MIN_RUNTIME = (1, 16)  # the first that loads shipped graphs: opset 18, IR 9
MIN_PYTHON = (3, 8)
MACHINES_32_BIT = ("armv6l", "armv7l", "armhf", "i386", "i686")
DEFAULT_HOT_C = 80.0  # without a limit in the profile: where boards begin to lower their clock
MEBIBYTE = 1 << 20

GOVERNOR_FILES = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
THROTTLED_BITS = {
    0: "under-voltage",
    1: "the clock is capped",
    2: "throttled",
    3: "the soft temperature limit is active",
}
THROTTLED_NOW = 0xF  # these bits; 16 higher ones say the same of the time since the boot
# Clock over the highest one; the governor "performance" requests all of it.
MIN_CLOCK_SHARE = 0.95


@dataclass(frozen=True)
class Finding:
    """A fault and its fix. `severe`: no figure can be trusted before it is fixed."""

    text: str
    fix: str
    severe: bool = True

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}"


def facts(
    hello: Hello, status: Status, *, skew_s: float, round_trip_ms: float
) -> dict[str, str | None]:
    """Facts about a device by name, as text; None where it does not report one."""
    bits, allowed = status.throttled_bits, _ranges(hello.affinity)
    found: dict[str, str | None] = {
        "model": bounded(hello.cpu),
        "system": bounded(f"{hello.system} {hello.machine}"),
        "cores": f"{hello.cores}{f' ({allowed})' if allowed else ''}{_quota_text(hello)}",
        "governor": bounded(" ".join(sorted(set(status.governors)))),
        "clock": _clock(status),
        "temperature": None if status.temperature_c is None else f"{status.temperature_c:.0f} °C",
        "throttled": None if bits is None else ", ".join(_words(bits)) or "no",
        "memory": _share(status.memory_available_bytes, status.memory_total_bytes),
        "free disk": _size(status.disk_free_bytes),
        "python": bounded(hello.python),
        "onnxruntime": bounded((hello.runtime or "none").removeprefix("onnxruntime ")),
        "providers": bounded(
            ", ".join(name.removesuffix(PROVIDER_SUFFIX) for name in hello.providers)
        ),
        "pillow": bounded(hello.pillow or "none"),
        "clock skew": None if status.time is None else f"{skew_s:+.1f} s",
        "round trip": f"{round_trip_ms:.1f} ms",
        "other load": _other_load(status),
    }
    return {name: text or None for name, text in found.items()}


PROVIDER_SUFFIX = "ExecutionProvider"


def findings(
    profile: Profile, hello: Hello, status: Status, *, skew_s: float = 0.0, called: str = ""
) -> list[Finding]:
    """All findings, the severe ones first; `called` is the user's name for the device."""
    found = [
        *blockers(profile, hello, called),
        *_pillow(profile, hello, called),
        *_quota(profile, hello),
        *_clocks(hello, status),
        *_heat(profile, status),
        *_load(hello, status),
        *_free_space(status),
        *_skew(status, skew_s),
    ]
    return sorted(found, key=lambda finding: not finding.severe)


def blockers(profile: Profile, hello: Hello, called: str = "") -> list[Finding]:
    """Findings that keep models from running as the profile says."""
    system = system_findings(hello.machine, hello.python)
    return [*system, *_runtime(profile, hello, called), *_cores_of(profile, hello)]


def version(text: str) -> tuple[int, ...]:
    """The numbers of a version: `onnxruntime 1.23.2+cu12` is (1, 23, 2)."""
    match = re.search(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def too_old(runtime: str) -> bool:
    """Whether an onnxruntime is too old to load shipped graphs."""
    return version(runtime)[:2] < MIN_RUNTIME


def system_findings(machine: str, python: str, bits: int = 64) -> Iterator[Finding]:
    """What keeps onnxruntime from being installed; `bits` are those of the python."""
    if machine in MACHINES_32_BIT or bits == 32:
        yield Finding(
            f"the system is 32 bit ({bounded(machine)}), for which onnxruntime is not built",
            "install the 64-bit image of the system",
        )
    if version(python)[:2] < MIN_PYTHON:
        yield Finding(
            f"python {bounded(python)} is older than 3.8",
            "install a newer one, and name it in the profile's `python`",
        )


def _runtime(profile: Profile, hello: Hello, called: str) -> Iterator[Finding]:
    """Parts of onnxruntime that the profile needs and the device lacks."""
    setup = _setup(profile, called, "onnxruntime")
    if hello.runtime is None:
        told = bounded(hello.runtime_error or "", 500)
        if " ends the interpreter" in told:
            setup = _other_runtime(profile, hello, setup)
        yield Finding(f"onnxruntime cannot be imported{f' ({told})' if told else ''}", setup)
        return
    if too_old(hello.runtime):
        yield Finding(f"{bounded(hello.runtime)} is older than 1.16", setup)
    for name, real in zip(profile.providers, profile.provider_names, strict=True):
        if real not in hello.providers:
            yield Finding(
                f"onnxruntime there has no {name}, which the profile requests",
                PROVIDER_FIXES[name],
            )


def _setup(profile: Profile, called: str, package: str) -> str:
    if profile.kind == "local":
        return f"install it beside autoseg: pip install {package}"
    return f"run `autoseg devices setup {shlex.quote(called or profile.name)}`"


def _pillow(profile: Profile, hello: Hello, called: str) -> Iterator[Finding]:
    if hello.runtime is not None and hello.pillow is None:
        yield Finding(
            "Pillow is missing, which resizes pictures: whole frames cannot be timed",
            _setup(profile, called, "pillow"),
            severe=False,
        )


def _other_runtime(profile: Profile, hello: Hello, setup: str) -> str:
    if profile.kind == "local":
        other = other_versions(hello.machine, hello.python, hello.runtime_error or "")
        return f"install another version beside autoseg: {other}"
    tested = " or ".join(tested_runtimes(hello.machine, hello.python)) or "1.20.1"
    return f"{setup}, which installs a version that autoseg was tested with: {tested}"


PROVIDER_FIXES = {
    "CPU": "reinstall onnxruntime",
    "XNNPACK": "build onnxruntime with --use_xnnpack, or remove it from `providers`",
    "ACL": "build onnxruntime with --use_acl, or remove it from `providers`",
    "CUDA": "replace onnxruntime by the board's build of onnxruntime-gpu (see the comments in "
    "devices/jetson-*.yaml), or remove it from `providers`",
}
PROVIDER_FIXES["TensorRT"] = PROVIDER_FIXES["CUDA"]


def _cores_of(profile: Profile, hello: Hello) -> Iterator[Finding]:
    quota = hello.quota_cores
    missing = sorted(set(profile.affinity or ()) - set(hello.affinity))
    if missing and hello.affinity:
        yield Finding(
            f"the profile's affinity names cores {_ranges(missing)}, but there are "
            f"{_ranges(hello.affinity)}",
            "change `affinity`",
        )
    if profile.threads > hello.cores > 0:
        yield Finding(
            f"the profile requests {profile.threads} threads on {hello.cores} cores",
            "lower `threads`",
        )
    elif quota and profile.threads > math.ceil(quota):
        yield Finding(
            f"the profile requests {profile.threads} threads, and the control group allows "
            f"{quota:g} cores",
            f"lower `threads`, or {QUOTA_FIX}",
        )


QUOTA_FIX = "raise its CPU quota (docker run --cpus, CPUQuota= of the systemd unit)"


def _quota(profile: Profile, hello: Hello) -> Iterator[Finding]:
    quota = hello.quota_cores
    if quota and quota < profile.threads <= math.ceil(quota):
        yield Finding(
            f"the control group allows {quota:g} cores, fewer than the {profile.threads} that are "
            "timed: it is stopped for a part of each period",
            QUOTA_FIX,
        )


def _clocks(hello: Hello, status: Status) -> Iterator[Finding]:
    now_mhz, max_mhz = status.clock_mhz, status.max_clock_mhz
    slow = bool(now_mhz and max_mhz and now_mhz < MIN_CLOCK_SHARE * max_mhz)
    jetson = any(word in hello.cpu.lower() for word in ("jetson", "nvidia"))
    governors = sorted(set(status.governors) - {"performance"})
    # jetson_clocks keeps the governor, and sets its lowest clock to the highest.
    if governors and (slow or not jetson):
        yield Finding(
            f"the governor is {bounded(' '.join(governors))}: the clock, and with it the latency, "
            "follows the load",
            "on the board: sudo jetson_clocks"
            if jetson
            else f"on the board: echo performance | sudo tee {GOVERNOR_FILES}",
        )
    elif slow:
        yield Finding(
            f"the clock is {_clock(status)}",
            "check the temperature, the power supply and the power mode",
            severe=False,
        )


def _heat(profile: Profile, status: Status) -> Iterator[Finding]:
    limit_c = profile.max_temperature_c or DEFAULT_HOT_C
    if status.temperature_c is not None and status.temperature_c > limit_c:
        yield Finding(
            f"the temperature is {status.temperature_c:.0f} °C, over {limit_c:.0f} °C",
            "let it cool; add a heat sink or a fan",
        )
    bits = status.throttled_bits or 0
    now, before = _words(bits), _words(bits >> 16 & ~bits)
    if now:
        yield Finding(f"right now: {', '.join(now)}", _throttling_fix(bits))
    if before:
        yield Finding(
            f"since the boot: {', '.join(before)}", _throttling_fix(bits >> 16), severe=False
        )


def _words(bits: int) -> list[str]:
    return [word for bit, word in THROTTLED_BITS.items() if bits >> bit & 1]


def _throttling_fix(bits: int) -> str:
    if bits & 1:
        return "use the official power supply and a short cable"
    return "add a heat sink or a fan"


def _load(hello: Hello, status: Status) -> Iterator[Finding]:
    if status.other_cores is not None and status.other_cores > max(0.25, 0.1 * hello.cores):
        yield Finding(f"other programs keep {_other_load(status)} busy", "stop them")


def _free_space(status: Status) -> Iterator[Finding]:
    memory, disk = status.memory_available_bytes, status.disk_free_bytes
    if memory is not None and memory < 256 * MEBIBYTE:
        yield Finding(
            f"only {_size(memory)} of memory is free",
            "stop other programs: the system kills a model that does not fit",
            severe=False,
        )
    if disk is not None and disk < 600 * MEBIBYTE:
        yield Finding(
            f"only {_size(disk)} of disk is free",
            "make room: models take up to 512 MiB in ~/.cache/autoseg",
            severe=disk < 64 * MEBIBYTE,
        )


def _skew(status: Status, skew_s: float) -> Iterator[Finding]:
    if status.time is not None and abs(skew_s) > 60:
        yield Finding(
            f"its clock is {abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}",
            "on the board: sudo timedatectl set-ntp true (downloads fail with a wrong date)",
            severe=False,
        )


def _quota_text(hello: Hello) -> str:
    return f", quota {hello.quota_cores:g}" if hello.quota_cores else ""


def _ranges(cores: list[int]) -> str:
    parts: list[list[int]] = []
    for core in sorted(set(cores)):
        if parts and core == parts[-1][1] + 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _clock(status: Status) -> str | None:
    if status.clock_mhz is None:
        return None
    highest = "" if status.max_clock_mhz is None else f" of {status.max_clock_mhz:.0f}"
    return f"{status.clock_mhz:.0f}{highest} MHz"


def _other_load(status: Status) -> str | None:
    if status.other_cores is None:
        return None
    busiest = ", ".join(f"{bounded(name, 40)} {cores:.2f}" for name, cores in status.top)
    return f"{status.other_cores:.2f} cores" + (f" ({busiest})" if busiest else "")


def _share(part: int | None, whole: int | None) -> str | None:
    if part is None or whole is None:
        return _size(whole)
    return f"{_size(part)} of {_size(whole)} free"


def _size(count: int | None) -> str | None:
    if count is None:
        return None
    if count < 1 << 30:
        return f"{count / MEBIBYTE:.0f} MiB"
    return f"{count / (1 << 30):.1f} GiB"
