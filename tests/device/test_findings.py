"""What is wrong with a device is said with its fix, from what it told alone."""

import re
from typing import Any

import pytest

from autoseg.device.device_profile import Profile
from autoseg.device.findings import facts, findings
from autoseg.device.rpc_schema import Hello, Status

PI = Profile(name="attic", kind="ssh", host="attic", affinity=[3], max_temperature_c=75)
HELLO: dict[str, Any] = {
    "python": "3.11.2",
    "runtime": "onnxruntime 1.23.2",
    "runtime_error": None,
    "providers": ["AzureExecutionProvider", "CPUExecutionProvider"],
    "cpu": "Raspberry Pi 4 Model B Rev 1.4",
    "machine": "aarch64",
    "system": "Linux",
    "cores": 4,
    "affinity": [0, 1, 2, 3],
    "quota_cores": None,
    "session": [],
    "pillow": "12.0.0",
    "cache": "/home/pi/.cache/autoseg",
    "pid": 812,
}
STATUS: dict[str, Any] = {
    "governors": ["performance"] * 4,
    "clock_mhz": 1800.0,
    "max_clock_mhz": 1800.0,
    "temperature_c": 51.2,
    "throttled_bits": 0,
    "throttle_count": None,
    "other_cores": 0.02,
    "top": [["sshd", 0.01]],
    "memory_total_bytes": 4 << 30,
    "memory_available_bytes": 3 << 30,
    "disk_free_bytes": 20 << 30,
    "time": 1.7e9,
}
SILENT = dict.fromkeys(STATUS) | {"governors": [], "top": []}


def hello(**changed: Any) -> Hello:
    return Hello.model_validate(HELLO | changed)


def status(**changed: Any) -> Status:
    return Status.model_validate(STATUS | changed)


def test_findings_of_a_healthy_board_are_empty() -> None:
    assert findings(PI, hello(), status()) == []


def test_findings_without_pillow_say_that_frames_cannot_be_timed() -> None:
    (found,) = findings(PI, hello(pillow=None), status(), called="pi@attic")
    assert not found.severe and "whole frames" in found.text
    assert found.fix == "run `autoseg devices setup pi@attic`"
    (bare,) = findings(PI, hello(runtime=None, pillow=None), status())
    assert bare.severe and "onnxruntime" in bare.text  # whose setup brings Pillow as well


def test_findings_count_the_quota_of_the_control_group() -> None:
    (found,) = findings(PI, hello(quota_cores=0.5), status())
    assert found.severe and "0.5 cores" in found.text and "--cpus" in found.fix
    assert facts(hello(quota_cores=0.5), status(), skew_s=0.0, round_trip_ms=1.0)["cores"] == (
        "4 (0-3), quota 0.5"
    )
    many = PI.model_copy(update={"threads": 3, "affinity": None})
    (found,) = findings(many, hello(quota_cores=1.5), status())
    assert "3 threads" in found.text and "1.5 cores" in found.text
    assert findings(many, hello(quota_cores=3.0), status()) == []


def test_findings_ignore_unknown_facts() -> None:
    assert findings(PI, hello(affinity=[]), status(**SILENT)) == []
    told = facts(hello(), status(**SILENT), skew_s=0.0, round_trip_ms=1.0)
    assert [name for name, text in told.items() if text] == [
        "model", "system", "cores", "python", "onnxruntime", "providers", "pillow",
            "round trip",
    ]  # fmt: skip
    assert list(told) == list(facts(hello(), status(), skew_s=0.0, round_trip_ms=1.0))


def test_facts_are_formatted_with_units() -> None:
    told = facts(hello(), status(), skew_s=0.3, round_trip_ms=2.46)
    assert told == {
        "model": "Raspberry Pi 4 Model B Rev 1.4",
        "system": "Linux aarch64",
        "cores": "4 (0-3)",
        "governor": "performance",
        "clock": "1800 of 1800 MHz",
        "temperature": "51 °C",
        "throttled": "no",
        "memory": "3.0 GiB of 4.0 GiB free",
        "free disk": "20.0 GiB",
        "python": "3.11.2",
        "onnxruntime": "1.23.2",
        "providers": "Azure, CPU",
        "pillow": "12.0.0",
        "clock skew": "+0.3 s",
        "round trip": "2.5 ms",
        "other load": "0.02 cores (sshd 0.01)",
    }


def test_facts_of_a_hostile_board_contain_no_control_characters() -> None:
    bad = hello(cpu="\x1b[2J" + "x" * 1900, system="a\nb")
    told = facts(bad, status(top=[["\x1b]0;x\a", 1.0]]), skew_s=0.0, round_trip_ms=1.0)
    assert all(text and text.isprintable() and len(text) < 300 for text in told.values())


GRAVE: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "32 bit": ({"machine": "armv7l"}, {}, "armv7l", "64-bit"),
    "old python": ({"python": "3.7.3"}, {}, r"3\.7\.3 .*3\.8", ""),
    "no runtime": (
        {"runtime": None, "runtime_error": "No module named 'onnxruntime'", "providers": []},
        {},
        "No module named 'onnxruntime'",
        "autoseg devices setup attic",
    ),
    "old runtime": (
        {"runtime": "onnxruntime 1.9.0"}, {}, r"1\.9\.0 .*1\.16", "autoseg devices setup",
    ),
    "cores": ({"affinity": [0, 1, 2]}, {}, r"\b3\b.*\b0-2\b", "affinity"),
    "governor": (
        {},
        {"governors": ["ondemand"], "clock_mhz": 600.0},
        "governor .*ondemand",
        "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    ),
    "jetson": (
        {"cpu": "NVIDIA Jetson Orin Nano Developer Kit"},
        {"governors": ["schedutil"], "clock_mhz": 729.6},
        "governor .*schedutil",
        "sudo jetson_clocks",
    ),
    "hot": ({}, {"temperature_c": 76.0}, "76 °C.* 75 °C", "cool"),
    "weak supply": (
        {}, {"throttled_bits": 0x50005}, "under-voltage, throttled", "supply",
    ),
    "throttled": ({}, {"throttled_bits": 0xC}, "temperature", "fan"),
    "load": (
        {},
        {"other_cores": 1.5, "top": [["chromium", 1.25], ["Xorg", 0.2]]},
        r"1\.50 cores \(chromium 1\.25, Xorg 0\.20\)",
        "",
    ),
    "full disk": ({}, {"disk_free_bytes": 30 << 20}, "30 MiB .*disk", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", GRAVE)
def test_findings_that_forbid_measuring_name_cause_and_fix(case: str) -> None:
    told, doing, text, fix = GRAVE[case]
    (found,) = findings(PI, hello(**told), status(**doing))
    assert re.search(text, found.text) and fix in found.fix and found.severe


@pytest.mark.parametrize(
    ("doing", "skew_s", "text"),
    [
        ({"throttled_bits": 0x50000}, 0.0, "under-voltage, throttled"),
        ({"memory_available_bytes": 100 << 20}, 0.0, "100 MiB .*memory"),
        ({"disk_free_bytes": 500 << 20}, 0.0, "500 MiB .*disk"),
        ({}, -3600.0, "clock .*3600 s"),
        ({"clock_mhz": 1200.0}, 0.0, "1200 of 1800 MHz"),
    ],
)
def test_findings_that_advise_do_not_forbid_measuring(
    doing: dict[str, Any], skew_s: float, text: str
) -> None:
    (found,) = findings(PI, hello(), status(**doing), skew_s=skew_s)
    assert re.search(text, found.text) and not found.severe


def test_findings_need_no_governor_for_locked_jetson_clocks() -> None:
    jetson = hello(cpu="NVIDIA Jetson Orin Nano Developer Kit")
    assert findings(PI, jetson, status(governors=["schedutil"])) == []


def test_findings_name_each_missing_provider_with_its_fix() -> None:
    profile = Profile(name="jet", kind="ssh", host="jet", providers=["TensorRT", "CUDA", "CPU"])
    found = findings(profile, hello(), status())
    assert [finding.text.split()[4] for finding in found] == ["TensorRT,", "CUDA,"]
    assert all("onnxruntime-gpu" in finding.fix for finding in found)


def test_findings_that_forbid_measuring_come_first() -> None:
    found = findings(PI, hello(machine="armv7l"), status(memory_available_bytes=1), skew_s=99.0)
    assert [finding.severe for finding in found] == [True, False, False]
