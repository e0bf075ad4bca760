"""The way to a board, as ~/.ssh/config gives it."""

from pathlib import Path

import pytest

from autoseg.core.errors import InputError
from autoseg.device.device_profile import Profile
from autoseg.device.ssh.config import Hop, hops_of


def way(home: Path, config: str = "", **profile: object) -> list[Hop]:
    folder = home / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "config").write_text(config)
    (folder / "config").chmod(0o600)
    given = {"name": "board", "kind": "ssh", "host": "pi", **profile}
    return hops_of(Profile.model_validate(given))


def test_hops_of_without_config_use_the_defaults_of_ssh(home: Path) -> None:
    (hop,) = way(home, host="10.0.0.7", user="me")
    assert (hop.name, hop.host, hop.port, hop.user) == ("me@10.0.0.7", "10.0.0.7", 22, "me")
    assert hop.known_as == "10.0.0.7"
    assert [path.name for path in hop.key_files] == ["id_ed25519", "id_ecdsa", "id_rsa"]
    assert hop.known_hosts[0] == home / ".ssh" / "known_hosts"


def test_hops_of_write_an_ipv6_address_as_ssh_accepts_it(home: Path) -> None:
    (hop,) = way(home, host="fe80::1", port=2200, user="me")
    assert (hop.name, hop.host, hop.known_as) == ("me@[fe80::1]:2200", "fe80::1", "[fe80::1]:2200")


def test_hops_of_an_alias_have_its_host_port_user_and_key(home: Path) -> None:
    (hop,) = way(
        home,
        "Host pi\n  HostName Board.lan\n  Port 2200\n  User root\n  IdentityFile ~/keys/pi\n"
        "  UserKnownHostsFile ~/known /etc/known2\n  IdentitiesOnly yes\n  HashKnownHosts yes\n"
        "Host *\n  User nobody\n  Port 1\n",
    )
    assert (hop.name, hop.host, hop.port, hop.user) == ("root@pi:2200", "Board.lan", 2200, "root")
    assert hop.known_as == "[board.lan]:2200"
    assert hop.key_files == (home / "keys" / "pi",)
    assert hop.known_hosts == (home / "known", Path("/etc/known2"))
    assert hop.only_these and hop.hash_names and not hop.key_is_named


def test_hops_of_prefer_the_profile_to_the_config(home: Path) -> None:
    (hop,) = way(
        home,
        "Host pi\n  Port 2200\n  User root\n  IdentityFile ~/other\n",
        user="me",
        port=22,
        key_file="~/mine",
    )
    assert (hop.user, hop.port, hop.key_files) == ("me", 22, (home / "mine",))
    assert hop.key_is_named


def test_hops_of_jumps_come_in_order_and_follow_their_own_alias(home: Path) -> None:
    config = (
        "Host pi\n  ProxyJump lab,me@10.1.1.1:2222\n"
        "Host lab\n  HostName lab.example.com\n  ProxyJump door\n"
        "Host door\n  User guard\n"
        "Host *\n  User default\n"
    )
    assert [hop.name for hop in way(home, config)] == [
        "guard@door",
        "default@lab",
        "me@10.1.1.1:2222",
        "default@pi",
    ]


def test_hops_of_read_included_files_to_their_end(home: Path) -> None:
    (home / ".ssh" / "config.d").mkdir(parents=True)
    (home / ".ssh" / "config.d" / "boards").write_text("Host pi\n  HostName 10.0.0.9\n")
    (hop,) = way(home, "Include config.d/*\nUser everybody\nHost other\n  Port 7\n")
    assert (hop.host, hop.user, hop.port) == ("10.0.0.9", "everybody", 22)
    (home / ".ssh" / "config.d" / "again").write_text("Include config.d/again\n")
    with pytest.raises(InputError, match="config.d/again"):
        way(home, "Include config.d/again\n")


def test_hops_of_take_host_key_alias_as_name_in_known_hosts(home: Path) -> None:
    (hop,) = way(home, "Host pi\n  HostKeyAlias thepi\n  Port 2200\n")
    assert hop.known_as == "thepi"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("Host pi\n  ProxyCommand nc %h %p\n", "ProxyCommand.*ProxyJump"),
        ("Host pi\n  ProxyJump pi\n", "ProxyJump.*pi|circle.*pi"),
        ("Host pi\n  ProxyJump a b c\n", "user@host:port"),
        ("Host pi\n  Port high\n", "1 and 65535, got high"),
        ("Host\n", "config"),
        ("Match host\n", "config"),
    ],
)
def test_hops_of_refuse_unsupported_config(home: Path, config: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        way(home, config)


def test_hops_of_refuse_a_config_that_others_can_write(home: Path) -> None:
    way(home, "Host pi\n")
    (home / ".ssh" / "config").chmod(0o666)
    with pytest.raises(InputError, match=r"\.ssh/config.*chmod 600"):
        hops_of(Profile(name="board", kind="ssh", host="pi"))


def test_hops_of_refuse_included_files_that_others_can_write(home: Path) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    for name, text in {"boards": "Include more\n", "more": "Host pi\n  ProxyJump door\n"}.items():
        (home / ".ssh" / name).write_text(text)
        (home / ".ssh" / name).chmod(0o600)
    assert len(way(home, "Include boards\n")) == 2
    (home / ".ssh" / "more").chmod(0o622)
    with pytest.raises(InputError, match=r"/more.*chmod 600"):
        way(home, "Include boards\n")


def test_hops_of_run_no_command_of_a_config(home: Path) -> None:
    ran = home / "ran"
    with pytest.raises(InputError, match="Match !originalhost pi exec"):
        way(home, f'Match exec "touch {ran}"\n  User root\n')
    command = f'exec "touch {ran}"\n  User root\n'
    kept = f"Match !originalhost pi {command}Match host other {command}"
    (hop,) = way(home, f"{kept}Host *\n  User me\n")
    assert hop.user == "me" and not ran.exists()
