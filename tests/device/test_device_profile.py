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
def test_load_profile_reads_each_shipped_profile(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name and profile.description
    assert (profile.kind == "local") == (name == "local")


def test_load_profile_names_a_profile_by_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, "kind: local\n")
    assert load_profile(path).name == "board"
    assert load_profile(written(tmp_path, "name: attic\nkind: local\n")).name == "attic"
    assert told(written(tmp_path, "name: ''\nkind: local\n"))[0].startswith("1: name: ")


def test_load_profile_reads_all_fields(tmp_path: Path) -> None:
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
def test_write_profile_is_read_back(tmp_path: Path, name: str) -> None:
    profile = load_profile(name).model_copy(
        update={"channel_step": 16, "description": 'with: "quotes", ö # and more'}
    )
    write_profile(profile, tmp_path / "mine.yaml")
    assert load_profile(tmp_path / "mine.yaml") == profile
    with pytest.raises(InputError, match=r"mine\.yaml"):
        write_profile(profile, tmp_path / "mine.yaml")
    with pytest.raises(InputError, match="no/mine.yaml"):
        write_profile(profile, tmp_path / "no" / "mine.yaml")


def test_write_profile_writes_a_measured_step_even_if_it_is_the_default(tmp_path: Path) -> None:
    write_profile(load_profile("local"), tmp_path / "mine.yaml")
    assert "channel_step: 8\n" in (tmp_path / "mine.yaml").read_text()


def test_load_profile_reads_one_core_as_a_list_of_one(tmp_path: Path) -> None:
    assert load_profile(written(tmp_path, "name: x\nkind: local\naffinity: 3\n")).affinity == [3]


def test_load_profile_reports_all_faults_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "name: bad\nkind: local\nhost: board\nthreads: 3\naffinity: [1, 1]\n"
        "providers: [CPU, CUDA]\naffinty: 1\nchannel_step: 65\n",
    )
    patterns = [
        "3: host: .*kind: ssh",
        r"5: affinity: .*got \[1, 1\]",
        r"6: providers: CPU .*got \['CPU', 'CUDA'\]",
        "7: affinty: .*'affinity'.*: " + ", ".join(FIELDS),
        "8: channel_step: .*64, got 65",
    ]
    assert all(re.match(*pair) for pair in zip(patterns, told(path), strict=True)), told(path)


FIELDS = list(Profile.model_fields)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kind: ssh\n", "1: .*kind: ssh .*host"),
        ("kind: ssh\nhost: -oProxyCommand=x\n", "3: host: .*name or address"),
        ("kind: ssh\nhost: b\nuser: a b\n", "4: user: .*spaces"),
        ("kind: ssh\nhost: $(reboot)\n", "3: host: .*shell"),
        ("kind: ssh\nhost: b\nuser: a;reboot\n", "4: user: .*shell"),
        ("kind: ssh\nhost: b\nport: 65536\n", "4: port: .*65535"),
        ("kind: ssh\nhost: b\nproviders: [cuda]\n", r"4: providers\.0: .*'CPU', 'XNNPACK'"),
        ("kind: local\nthreads: 2\naffinity: 0\n", "4: affinity: .*core"),
        ("kind: local\nprovider: CPU\n", "3: provider: .*'providers'"),
    ],
)
def test_load_profile_fault_has_line_and_fix(tmp_path: Path, text: str, line: str) -> None:
    assert re.match(line, told(written(tmp_path, "name: bad\n" + text))[0])


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("pi@10.0.0.7", "pi", "10.0.0.7", None),
        ("pi@board:2222", "pi", "board", 2222),
        ("pi@[fe80::1]:22", "pi", "fe80::1", 22),
        ("pi@fe80::1", "pi", "fe80::1", None),
    ],
)
def test_load_profile_reads_an_address_as_a_board(
    text: str, user: str, host: str, port: int | None
) -> None:
    profile = load_profile(text)
    assert (profile.kind, profile.name) == ("ssh", text)
    assert (profile.user, profile.host, profile.port) == (user, host, port)


@pytest.mark.parametrize("text", ["@host", "pi@", "pi@host:", "pi@host:0", "pi@h:22x", "-l@host"])
def test_load_profile_refuses_an_invalid_address(text: str) -> None:
    with pytest.raises(InputError, match="user@host or user@host:port"):
        load_profile(text)


def test_load_profile_of_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"'local'.*: .*YAML file, or user@host$"):
        load_profile("lokal")


def test_resolve_of_a_device_and_a_list_of_it_is_the_device() -> None:
    device = FakeDevice()
    assert resolve(device) is device and resolve([device]) is device
    with pytest.raises(InputError, match="pi@10.0.0.7"):
        resolve([])


def test_resolve_of_a_name_does_not_connect() -> None:
    assert resolve(None) is not resolve("local")


def test_docs_describe_every_profile_field() -> None:
    text = (Path(__file__).parents[2] / "docs" / "devices.md").read_text(encoding="utf-8")
    table = text.split("## Profiles")[1].split("\n\nThe fields")[0]
    told = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.*?) \|", table, re.M)))
    assert told == FIELDS


def test_load_profile_takes_a_relative_key_file_from_the_profiles_folder(tmp_path, monkeypatch):
    (tmp_path / "boards").mkdir()
    path = tmp_path / "boards" / "pi.yaml"
    path.write_text("{kind: ssh, host: pi, key_file: keys/pi}")
    monkeypatch.chdir(tmp_path)
    assert load_profile("boards/pi.yaml").key_file == Path("boards/keys/pi")
    path.write_text("{kind: ssh, host: pi, key_file: /keys/pi}")
    assert load_profile(path).key_file == Path("/keys/pi")
