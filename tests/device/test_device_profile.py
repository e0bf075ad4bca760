"""Profiles: what a file may say, and what an address on the command line means."""

import re
from pathlib import Path

import pytest

from autoseg.core.errors import InputError
from autoseg.core.yaml_files import names
from autoseg.device import resolve
from autoseg.device.device_profile import Profile, load_profile, write_profile
from autoseg.device.fake import FakeDevice


def written(folder: Path, text: str) -> Path:
    path = folder / "board.yaml"
    path.write_text(text)
    return path


def told(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_profile(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("name", names("devices"))
def test_each_shipped_profile_is_one(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name and profile.description
    assert (profile.kind == "local") == (name == "local")


def test_a_profile_says_all_of_a_board(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "name: attic\nkind: ssh\nhost: attic.local\nport: 2222\nuser: pi\nkey_file: ~/keys/attic\n"
        "use_agent: false\npython: /opt/venv/bin/python\nthreads: 2\naffinity: [2, 3]\n"
        "providers: [TensorRT, CUDA, CPU]\nwarmup_s: 2\nruns: 500\nmax_temperature_c: 75\n"
        "channel_step: 16\n",
    )
    profile = load_profile(path)
    assert profile.key_file == Path.home() / "keys" / "attic"
    assert profile.affinity == [2, 3]
    assert profile.provider_names == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]


@pytest.mark.parametrize("name", [*names("devices"), "pi@10.0.0.7:2222"])
def test_a_profile_that_was_written_is_read_again(tmp_path: Path, name: str) -> None:
    profile = load_profile(name).model_copy(
        update={"channel_step": 16, "description": 'with: "quotes", ö # and more'}
    )
    write_profile(profile, tmp_path / "mine.yaml")
    assert load_profile(tmp_path / "mine.yaml") == profile
    with pytest.raises(InputError, match=r"mine\.yaml exists already; remove it"):
        write_profile(profile, tmp_path / "mine.yaml")
    with pytest.raises(InputError, match="cannot be written"):
        write_profile(profile, tmp_path / "no" / "mine.yaml")


def test_a_step_that_was_found_is_written_even_if_it_is_the_default(tmp_path: Path) -> None:
    write_profile(load_profile("local"), tmp_path / "mine.yaml")
    assert "channel_step: 8\n" in (tmp_path / "mine.yaml").read_text()


def test_one_core_is_a_list_of_one(tmp_path: Path) -> None:
    assert load_profile(written(tmp_path, "name: x\nkind: local\naffinity: 3\n")).affinity == [3]


def test_all_faults_of_a_profile_are_told_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "name: bad\nkind: local\nhost: board\nthreads: 3\naffinity: [1, 1]\n"
        "providers: [CPU, CUDA]\naffinty: 1\nchannel_step: 65\n",
    )
    assert told(path) == [
        "3: host: is only for kind: ssh; remove it, or set kind: ssh",
        "5: affinity: must not have duplicates, got [1, 1]; remove them",
        "6: providers: CPU must come last, as it runs every node, got ['CPU', 'CUDA']",
        "7: affinty: unknown field, did you mean 'affinity'?; known: " + ", ".join(FIELDS),
        "8: channel_step: must be less than or equal to 64, got 65",
    ]


FIELDS = list(Profile.model_fields)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kind: ssh\n", "1: kind: ssh needs a host"),
        ("kind: ssh\nhost: -oProxyCommand=x\n", "3: host: must be a host's name or address"),
        ("kind: ssh\nhost: b\nuser: a b\n", "4: user: must be a user's name without spaces"),
        ("kind: ssh\nhost: b\nport: 65536\n", "4: port: must be less than or equal to 65535"),
        ("kind: ssh\nhost: b\nproviders: [cuda]\n", "4: providers.0: must be 'CPU', 'XNNPACK'"),
        ("kind: local\nthreads: 2\naffinity: 0\n", "4: affinity: must name a core for each"),
        ("kind: local\nprovider: CPU\n", "3: provider: unknown field, did you mean 'providers'?"),
    ],
)
def test_a_fault_has_its_line_and_its_fix(tmp_path: Path, text: str, line: str) -> None:
    assert told(written(tmp_path, "name: bad\n" + text))[0].startswith(line)


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("pi@10.0.0.7", "pi", "10.0.0.7", None),
        ("pi@board:2222", "pi", "board", 2222),
        ("pi@[fe80::1]:22", "pi", "fe80::1", 22),
        ("pi@fe80::1", "pi", "fe80::1", None),
    ],
)
def test_an_address_is_a_board(text: str, user: str, host: str, port: int | None) -> None:
    profile = load_profile(text)
    assert (profile.kind, profile.name) == ("ssh", text)
    assert (profile.user, profile.host, profile.port) == (user, host, port)


@pytest.mark.parametrize("text", ["@host", "pi@", "pi@host:", "pi@host:0", "pi@h:22x", "-l@host"])
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(InputError, match="must be user@host or user@host:port"):
        load_profile(text)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=r"mean 'local'.; known: .*YAML file, or user@host$"):
        load_profile("lokal")


def test_a_device_and_a_list_of_it_are_itself() -> None:
    device = FakeDevice()
    assert resolve(device) is device and resolve([device]) is device
    with pytest.raises(InputError, match="at least one device"):
        resolve([])


def test_a_name_connects_nowhere() -> None:
    assert resolve(None) is not resolve("local")


def test_the_docs_tell_every_field() -> None:
    text = (Path(__file__).parents[2] / "docs" / "devices.md").read_text(encoding="utf-8")
    table = text.split("## Profiles")[1].split("\n\nThe fields")[0]
    told = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.*?) \|", table, re.M)))
    assert told == FIELDS
