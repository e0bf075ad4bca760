"""The way to a board, as ~/.ssh/config gives it: by ssh itself, and without it."""

import os
import shutil
from pathlib import Path

import pytest

from autoseg.core.errors import InputError
from autoseg.device.device_profile import Profile, load_profile
from autoseg.device.ssh.config import Hop, hops_of


@pytest.fixture(params=["ssh", "without ssh"], autouse=True)
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to read a config give the same hops."""
    if request.param == "without ssh":
        monkeypatch.setenv("PATH", "")
    elif not shutil.which("ssh"):
        pytest.skip("no ssh here")
    return str(request.param)


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
    assert {"id_ed25519", "id_ecdsa", "id_rsa"} <= {path.name for path in hop.key_files}
    assert not hop.are_named and {path.parent for path in hop.key_files} == {home / ".ssh"}
    assert hop.known_hosts == (home / ".ssh" / "known_hosts", home / ".ssh" / "known_hosts2")


def test_hops_of_write_an_ipv6_address_as_ssh_accepts_it(home: Path) -> None:
    (hop,) = way(home, host="fe80::1", port=2200, user="me")
    assert (hop.name, hop.host, hop.known_as) == ("me@[fe80::1]:2200", "fe80::1", "[fe80::1]:2200")


@pytest.mark.parametrize(
    ("device", "name", "known_as"),
    [
        ("me@fe80::1%lo", "me@[fe80::1%lo]", "fe80::1%lo"),
        ("me@[fe80::1%lo]", "me@[fe80::1%lo]", "fe80::1%lo"),
        ("me@[fe80::1%lo]:2223", "me@[fe80::1%lo]:2223", "[fe80::1%lo]:2223"),
        ("me@[FE80::1%enP1]:2223", "me@[FE80::1%enP1]:2223", "[fe80::1%enp1]:2223"),
    ],
)
def test_hops_of_keep_the_zone_of_an_address(
    home: Path, device: str, name: str, known_as: str
) -> None:
    (hop,) = hops_of(load_profile(device))
    assert (hop.name, hop.known_as) == (name, known_as)
    assert hop.host == name.partition("[")[2].partition("]")[0]


def test_hops_of_read_a_zone_in_the_config_as_ssh_does(home: Path) -> None:
    address = "fe80::1234:56ff:fe78:90ab"
    config = f"Host pi\n HostName {address}%%usb0\n ProxyJump me@[fe80::2%%eth0]:7\n"
    door, hop = way(home, config)
    assert hop.host == f"{address}%usb0"
    assert (door.host, door.name) == ("fe80::2%eth0", "me@[fe80::2%eth0]:7")


def test_hops_of_an_alias_have_its_host_port_user_and_key(home: Path) -> None:
    (hop,) = way(
        home,
        "Host pi\n  HostName Board.lan\n  Port 2200\n  User root\n  IdentityFile ~/keys/pi\n"
        "  UserKnownHostsFile ~/known /etc/known2\n  IdentitiesOnly yes\n  HashKnownHosts yes\n"
        "Host *\n  User nobody\n  Port 1\n",
    )
    assert (hop.name, hop.host, hop.port, hop.user) == ("root@pi:2200", "board.lan", 2200, "root")
    assert hop.known_as == "[board.lan]:2200"
    assert hop.key_files == (home / "keys" / "pi",)
    assert hop.known_hosts == (home / "known", Path("/etc/known2"))
    assert hop.only_these and hop.hash_names and hop.are_named and not hop.is_required


def test_hops_of_prefer_the_profile_to_the_config(home: Path) -> None:
    (hop,) = way(
        home,
        "Host pi\n  Port 2200\n  User root\n  IdentityFile ~/other\n",
        user="me",
        port=22,
        key_file="~/mine",
    )
    assert (hop.user, hop.port, hop.key_files) == ("me", 22, (home / "mine",))
    assert hop.is_required


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
        ("Host pi\n  ProxyCommand nc %h %p\n", "config:2 reaches pi by ProxyCommand.*ProxyJump"),
        ("Host pi\n  ProxyJump pi\n", "config:2: ProxyJump is circular: .*pi"),
        ("Host pi\n  ProxyJump a/b\n", "config:2: .*user@host:port"),
        ("Host pi\n  ProxyJump -oProxyCommand=x\n", "user@host:port"),
        ("Host pi\n  ProxyJump a%x\n", "config:2: ProxyJump is 'a%x', but %x is no token"),
        ("Host pi\n  IdentityFile ~/%x\n", "config:2: identityfile .*%x is no token"),
        ("Host pi\n  CertificateFile ${NONE_SUCH}/x\n", "config:2: .*NONE_SUCH is not set"),
        ("Host pi\n  Port high\n", "config:2: .*1 and 65535, got high"),
        ("Host\n", "config:1"),
        ("Match host\n", "config:1"),
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


def test_hops_of_refuse_a_config_of_another_login(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way(home, "User pi")
    if os.getuid() == 0:
        os.chown(home / ".ssh" / "config", 1, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(InputError, match="another login.*HOME"):
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


def test_hops_of_expand_what_ssh_leaves(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", "/keys")
    (hop,) = way(
        home,
        "HostName 10.0.0.7\nIdentityFile ~/%n\nIdentityFile ${KEYS}/%h-%p-%r-%%\nUser me\n"
        "CertificateFile %d/%k\nIdentityAgent ~/agent-%h\nUserKnownHostsFile ~/known-%n\n",
    )
    assert hop.key_files == (home / "pi", Path("/keys/10.0.0.7-22-me-%"))
    assert hop.certificates == (home / "pi",)
    assert hop.agent == home / "agent-10.0.0.7"
    assert hop.known_hosts == (home / "known-pi",)


@pytest.mark.parametrize(
    ("line", "agent"),
    [
        ("", "/usual"),
        ("IdentityAgent none\n", None),
        ("IdentityAgent SSH_AUTH_SOCK\n", "/usual"),
        ("IdentityAgent $OTHER\n", "/other"),
        ("IdentityAgent ${OTHER}/x\n", "/other/x"),
        ("IdentityAgent $NONE_SUCH\n", None),
        ('IdentityAgent "/a b"\n', "/a b"),
    ],
)
def test_hops_of_find_the_agent_that_the_config_names(
    home: Path, monkeypatch: pytest.MonkeyPatch, line: str, agent: str | None
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/usual")
    monkeypatch.setenv("OTHER", "/other")
    (hop,) = way(home, line)
    assert hop.agent == (Path(agent) if agent else None)
    (hop,) = way(home, line, use_agent=False)
    assert hop.agent is None


def test_hops_of_follow_tokens_and_users_of_jump_hosts(home: Path) -> None:
    config = (
        "Host pi\n HostName 10.0.0.7\n Port 7\n ProxyJump ssh://guard@door-%n:%p\n"
        "Match user guard host door-pi\n IdentityFile ~/guard\nMatch all\n User me\n"
    )
    door, pi = way(home, config)
    assert (door.name, door.key_files) == ("guard@door-pi:7", (home / "guard",))
    assert pi.user == "me" and not pi.are_named


def test_hops_of_meet_criteria_with_the_user_and_port_of_the_profile(home: Path) -> None:
    config = "Match user root\n Port 7\n IdentityFile ~/%r-%p\nMatch user pi\n HostName x\n"
    (hop,) = way(home, config, user="root", port=8)
    assert (hop.host, hop.port, hop.key_files) == ("pi", 8, (home / "root-8",))


FEDORA = "Match final all\n Include {}/crypto/openssh.config\n GSSAPIAuthentication yes\n"


def test_hops_of_follow_the_config_that_fedora_ships(home: Path, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    (etc / "ssh_config.d").mkdir(parents=True)
    (etc / "ssh_config").write_text(f"Include {etc}/ssh_config.d/*.conf\nInclude more\n")
    (etc / "ssh_config.d" / "50-redhat.conf").write_text(FEDORA.format(etc))
    (etc / "more").write_text("HashKnownHosts yes\n")
    (hop,) = way(home, "Host pi\n HostName 127.0.0.1\n Port 2223\nMatch final all\n User me\n")
    assert (hop.host, hop.port, hop.user) == ("127.0.0.1", 2223, "me") and hop.hash_names


@pytest.mark.parametrize("criterion", ["localnetwork 9.8.7.0/24", "tagged x", "not-yet-known"])
def test_hops_of_do_not_apply_a_block_that_is_not_understood(home: Path, criterion: str) -> None:
    (hop,) = way(home, f"Match {criterion}\n Port 9999\nHost pi\n Port 2223\n User me\n")
    assert (hop.port, hop.user) == (2223, "me")


def test_hops_of_need_no_command_whose_block_is_empty(home: Path) -> None:
    config = 'Match host * exec "gpg-connect-agent updatestartuptty /bye"\n\nHost pi\n Port 7\n'
    (hop,) = way(home, config)
    assert hop.port == 7


def test_hops_of_meet_a_command_only_as_ssh_runs_it(home: Path, source: str) -> None:
    ran = home / "ran"
    config = f'Match exec "touch {ran}"\n  User root\nMatch exec false\n Port 7\n'
    if source == "ssh":
        (hop,) = way(home, config)
        assert (hop.user, hop.port) == ("root", 22) and ran.exists()
    else:
        with pytest.raises(InputError, match="Match !originalhost pi exec"):
            way(home, config)
        assert not ran.exists()


WEAK = (
    "StrictHostKeyChecking no\nNoHostAuthenticationForLocalhost yes\nVerifyHostKeyDNS yes\n"
    "CheckHostIP no\nUpdateHostKeys no\nKnownHostsCommand /bin/echo %H\n"
)


def test_hops_of_take_no_weaker_checks_from_a_config(home: Path) -> None:
    plain = way(home, "UserKnownHostsFile ~/known\n")
    assert way(home, f"{WEAK}UserKnownHostsFile ~/known\n") == plain
    (hop,) = way(home, "UserKnownHostsFile /dev/null\nGlobalKnownHostsFile none\n")
    assert hop.known_hosts == (Path("/dev/null"),) and not hop.known_hosts_of_all
    (hop,) = way(home, "RevokedHostKeys ~/revoked\n")
    assert hop.revoked == home / "revoked"


def test_hops_of_use_the_home_of_the_environment(home: Path) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh" / "more").write_text("Include ~/.ssh/deep/*\n")
    (home / ".ssh" / "deep").mkdir()
    (home / ".ssh" / "deep" / "a b").write_text("User me\n")
    (hop,) = way(home, f"Host pi\n Include more\n UserKnownHostsFile ~/x {os.sep}y\n")
    assert hop.user == "me" and hop.known_hosts == (home / "x", Path("/y"))
