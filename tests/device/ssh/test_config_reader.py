"""The ssh config, read without ssh: the same values as `ssh -G`, and what it leaves out."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from random import Random

import pytest

from autoseg.core.errors import InputError
from autoseg.device.device_profile import Profile
from autoseg.device.ssh import config_files
from autoseg.device.ssh.config import hops_of
from autoseg.device.ssh.config_reader import Values, read_config
from autoseg.device.ssh.effective_config import effective_config

needs_ssh = pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh here")
COMPARED = (
    *("hostname", "port", "user", "identityfile", "certificatefile", "identityagent"),
    *("identitiesonly", "hashknownhosts", "hostkeyalias", "proxyjump", "proxycommand"),
    *("userknownhostsfile", "globalknownhostsfile", "revokedhostkeys"),
)
# Each is looked up for `pi`; {folder} is that of the config.
CONFIGS = {
    "first value": "Host pi\n Port 1\nHost *\n Port 2\n User all\n",
    "before all blocks": "User all\nHost other\n Port 2\n",
    "patterns": "Host p? !px\n Port 1\nHost * !p*\n Port 2\nHost [p]i\n Port 3\n User set\n",
    "negated alone": "Host !other\n Port 2\n",
    "case": "hOST pi\n hOSTNAME Board.LAN\n pORT 7\nHost PI\n User big\n",
    "equals": "Host=pi\n Port = 7\n User=root\n",
    "quotes": 'Host "pi"\n IdentityFile "/a b/c"\n IdentityFile /d\\ e\n'
    ' UserKnownHostsFile "/a b" /c\n',
    "comments": "# first\n\nHost pi # this\n  # that\n Port 7 # seven\n IdentityFile /a#b\n",
    "tabs": "Host\tpi\t\n\tPort\t7\t\n",
    "keys": "IdentityFile /a\nIdentityFile /b\nIdentityFile /a\nCertificateFile /c\n",
    "no keys": "IdentityFile none\nIdentityAgent none\n",
    "agent": "IdentityAgent /x/agent\nIdentitiesOnly yes\nHashKnownHosts yes\n",
    "HostName": "Host pi\n HostName %h.lab%%1\n HostKeyAlias thepi\n",
    "address": "Host pi\n HostName FE80::AbC%%enP1\n",
    "match host": "Host pi\n HostName board\nMatch host board\n Port 1\nMatch host pi\n Port 2\n",
    "match several": "Match originalhost x,p? user me,u*\n Port 1\nMatch localuser no\n User a\n",
    "match negated": "Match !originalhost pi\n Port 1\nMatch !user me originalhost pi\n Port 2\n",
    "match user set": "User me\nMatch user me\n Port 1\n",
    "match all": "Match all\n Port 7\n",
    "match =": "Match originalhost=pi\n Port 7\n",
    "match case": "Match originalhost PI\n Port 7\n",
    "final all": "Host pi\n Port 7\nMatch final all\n Port 8\n User last\n",
    "final host": "Host pi\n HostName b\nMatch final host b\n User last\nHost b\n Port 9\n",
    "no final": "Host pi\n HostName board\nHost board\n Port 9\n",
    "not final": "Match !final all\n Port 7\nMatch final\n User last\n",
    "canonical": "Match canonical all\n Port 7\n",
    "canonical with final": "Match canonical\n Port 7\nMatch final all\n User last\n",
    "final HostName": "Match final all\n HostName elsewhere\n IdentityFile /f\nIdentityFile /g\n",
    "final in another block": "Host other\n Include {folder}/final\nHost pi\n HostName b\n"
    "Host b\n Port 3\n",
    "final after what is not met": "Match host x final\n Port 3\nMatch canonical\n User last\n",
    "known only in the final pass": "Match final all\n UserKnownHostsFile /a\n",
    "include": "Include {folder}/more\nPort 9\n",
    "include in a block": "Host pi\n Include {folder}/more\n User after\nHost *\n Port 9\n",
    "include in no block": "Host other\n Include {folder}/more\nHost *\n Port 9\n",
    "include nothing": "Include {folder}/none/*\nPort 9\n",
    "include many": "Include {folder}/more {folder}/fin*\nHost pi\n Port 9\n",
    "jump": "ProxyJump a@b:7,[fe80::1%%lo]:23\nProxyCommand nc %h %p\n",
    "jumps": "ProxyJump none\nProxyJump door\n",
    "no jump": "ProxyJump none\nProxyCommand nc %h %p\n",
    "no command": "ProxyCommand none\nProxyJump door\n",
    "command": "ProxyCommand nc %h %p\nProxyJump door\n",
    "known": "UserKnownHostsFile /a/%h /b/%n-%p-%r-%% ${NAMED}/x /k/%k\n"
    "GlobalKnownHostsFile none\n",
    "revoked": "RevokedHostKeys ~/gone\n",
    "canonicalize fails": "CanonicalizeHostname yes\nCanonicalDomains invalid\n"
    "Match canonical\n Port 7\n",
    "canonicalize dots": "Host pi\n HostName a.b.c\nMatch all\n CanonicalizeHostname yes\n"
    "CanonicalDomains invalid\nMatch canonical\n Port 7\n",
    "exec of an empty block": 'Match exec "false"\n\nHost pi\n Port 7\n',
    "exec elsewhere": 'Match originalhost other exec "true"\n Port 8\n',
    "exec for what is set": 'Port 7\nMatch exec "true"\n Port 8\n ForwardAgent yes\n',
}
INCLUDED = {
    "more": "Host pi\n Port 5\nHost none\n User none\nMatch all\n HashKnownHosts yes\n",
    "final": "Match final all\n User last\n",
}


@pytest.fixture(autouse=True)
def files(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAMED", "/named")
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    write(folder, INCLUDED)
    return folder


def write(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text.replace("{folder}", str(folder)))
        (folder / name).chmod(0o600)


def asked(config: Path) -> Values:
    """What ssh itself says."""
    command = ["ssh", "-T", "-F", str(config), "-G", "-l", "me", "pi"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values: Values = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword, []).append(value)
    return values


def compared(values: Values) -> dict[str, str]:
    """Values as text, without the long defaults, which ssh takes from another home."""
    found = {key: " ".join(values.get(key, [])) for key in COMPARED}
    for key in ("identitiesonly", "hashknownhosts"):
        found[key] = found[key] or "no"
    for key in ("proxyjump", "proxycommand"):
        found[key] = found[key] or "none"
    for key, default in (
        ("identityfile", "~/.ssh/id_rsa"),
        ("userknownhostsfile", "/.ssh/known_hosts2"),
        ("globalknownhostsfile", "/ssh_known_hosts2"),
    ):
        found[key] = "default" if default in found[key] else found[key]
    return found


@needs_ssh
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_read_config_agrees_with_ssh(files: Path, config: str) -> None:
    write(files, {"config": config})
    expected = compared(asked(files / "config"))
    assert compared(read_config("pi", "me")) == expected
    assert compared(effective_config("pi", "me")) == expected


HOSTS = ("pi", "b", "pi.lab", "10.0.0.7", "*", "p?", "!pi", "!b", "*.lab", "p*", "10.*", "PI")
CRITERIA = ("host", "originalhost", "user", "localuser", "!host", "!user", "final", "canonical")
SETTINGS = (
    *("HostName b", "HostName %h.lab", "HostName 10.0.0.7", "Port 1", "Port 2", "User u1"),
    *("IdentityFile /a", "IdentityFile /b", "CertificateFile /c", "IdentityAgent /d"),
    *("ProxyJump none", "ProxyJump a", "ProxyCommand none", "ProxyCommand nc %h %p"),
    *("HostKeyAlias k", "UserKnownHostsFile /k/%n-%h-%p-%r-%k", "IdentitiesOnly yes"),
    *("CanonicalizeHostname yes", "CanonicalizeHostname no", "CanonicalDomains invalid"),
    *("ForwardAgent yes", "", "# x", "Include {folder}/more", "Include {folder}/final"),
)


def some_config(random: Random) -> str:
    lines = []
    for _ in range(random.randint(1, 12)):
        hosts = " ".join(random.choices(HOSTS, k=2))
        names = random.choices(CRITERIA, k=random.randint(1, 3))
        tests = [each if each[0] in "fc" else f"{each} {random.choice(HOSTS)}" for each in names]
        lines += random.choice(
            [[], [f"Host {hosts}"], [f"Match {' '.join(tests)}"], ["Match final all"]]
        )
        lines += random.choices(SETTINGS, k=random.randint(0, 3))
    return "\n".join(lines)


@needs_ssh
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_read_config_agrees_with_ssh_on_any_config(files: Path, seed: int) -> None:
    random = Random(seed)
    write(files, {name: some_config(random).replace("Include", "#") for name in INCLUDED})
    test_read_config_agrees_with_ssh(files, some_config(random))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("Host pi\n Port high\n", "config:2: port must be between 1 and 65535, got high"),
        ("Include {folder}/bad\n", "bad:3: port must be between 1 and 65535, got 0"),
        ("CanonicalizeMaxDots one\n", "config:1: canonicalizemaxdots .* 0 and 255, got one"),
        ("\nHost\n", "config:2: Host has no value"),
        ("=Host\n", "config:1: '=Host' is no keyword with a value"),
        ("Match\n", "config:1: Match needs criteria"),
        ("Match host\n", "config:1: Match host has no value"),
        ("Match all host pi\n", "config:1: Match needs .*`all`"),
        ('Host "pi\n', "config:1: host has a quote without its end"),
        ("HostName\n", "config:1: hostname has no value"),
        ("HostName %x\n", "config:1: HostName is '%x', but %x is no token"),
        (
            "UserKnownHostsFile ${{NONE_SUCH}}/x\n",
            "config:1: UserKnownHostsFile .*NONE_SUCH is not set",
        ),
        ("Include {folder}/config\n", "config: the ssh config includes itself"),
        ("Include {folder}\n", r"\.ssh cannot be read: Is a directory"),
        (
            "CanonicalizeHostname yes\nCanonicalizeFallbackLocal no\n",
            "pi in none of its Canonical",
        ),
    ],
)
def test_read_config_names_the_file_and_line_at_fault(
    files: Path, config: str, message: str
) -> None:
    write(files, {"bad": "Host pi\n User me\n Port 0\n"})
    write(files, {"config": config.replace("{{", "{").replace("}}", "}")})
    with pytest.raises(InputError, match=message):
        read_config("pi")


def test_read_config_names_a_fault_in_the_config_of_the_system(
    files: Path, tmp_path: Path
) -> None:
    write(tmp_path / "etc", {"ssh_config": "Include {folder}/d/*.conf\n"})
    write(tmp_path / "etc" / "d", {"50-vendor.conf": "Match final all\n Port none\n"})
    with pytest.raises(InputError, match=r"50-vendor\.conf:2: port"):
        read_config("pi")


@pytest.mark.parametrize(
    ("config", "port", "warned"),
    [
        ("Match localnetwork 10.0.0.0/8\n Port 9\nMatch all\n Port 7\n", "7", "localnetwork"),
        ("Match !tagged lab\n Port 9\n", "22", "tagged"),
        ("Match originalhost pi new-criterion x\n Port 9\n", "22", "new-criterion"),
        ("Match new-criterion originalhost pi\n ProxyJump x\n", "22", "new-criterion"),
        ("Match localnetwork 10.0.0.0/8\n Include {folder}/port\n", "22", "localnetwork"),
        ("Match final localnetwork 10.0.0.0/8\n Port 9\n", "22", "localnetwork"),
        # Nothing depends on these.
        ("Match localnetwork 10.0.0.0/8 originalhost other\n Port 9\n", "22", None),
        ("Match localnetwork 10.0.0.0/8\n ForwardAgent yes\n", "22", None),
        ("Port 7\nMatch localnetwork 10.0.0.0/8\n Port 9\n", "7", None),
        ("Host other\n Include {folder}/unknown\n", "22", None),
    ],
)
def test_read_config_leaves_a_block_out_that_it_does_not_understand(
    files: Path, caplog: pytest.LogCaptureFixture, config: str, port: str, warned: str | None
) -> None:
    write(files, {"port": "Port 9\n", "unknown": "Match new-criterion\n Port 9\n"})
    write(files, {"config": f"# a comment\n{config}"})
    found = read_config("pi")
    assert found["port"] == [port] and "proxyjump" not in found
    messages = [record.getMessage() for record in caplog.records]
    expected = [f"{files / 'config'}:2: Match {warned} is"] if warned else []
    assert len(messages) == len(expected)
    assert all(map(str.startswith, messages, expected))


@pytest.mark.parametrize("criteria", ["exec", "!exec", "host pi exec", "final exec"])
def test_read_config_refuses_a_command_that_would_decide(files: Path, criteria: str) -> None:
    ran = files / "ran"
    write(files, {"config": f'\nMatch {criteria} "touch {ran}"\n User root\n'})
    with pytest.raises(InputError, match=r"config:2: .*decides on user .*Match !originalhost pi"):
        read_config("pi")
    assert read_config("pi", user="me")["user"] == ["me"]
    assert not ran.exists()


def test_read_config_finds_the_domain_of_a_host(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: str, *_: object) -> list[str]:
        if host == "pi.lab":
            return [host]
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    lines = "CanonicalDomains office lab\nHost pi.lab\n Port 7\nMatch canonical\n User me\n"
    write(files, {"config": f"CanonicalizeHostname yes\n{lines}"})
    found = read_config("pi")
    assert (found["hostname"], found["port"], found["user"]) == (["pi.lab"], ["7"], ["me"])
    write(files, {"config": f"ProxyJump door\nCanonicalizeHostname yes\n{lines}"})
    assert read_config("pi")["hostname"] == ["pi"]
    write(files, {"config": f"ProxyJump door\nCanonicalizeHostname always\n{lines}"})
    assert read_config("pi")["hostname"] == ["pi.lab"]


def test_read_config_does_without_files_and_without_a_login_name(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(files)
    assert read_config("pi", "me", 7)["port"] == ["7"]
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="user@host"):
        read_config("pi")


@needs_ssh
def test_target_expands_what_ssh_expands(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = "%%-%C-%h-%i-%k-%L-%l-%n-%p-%r-%u"
    lines = f"Host pi\n HostName 127.0.0.1\n Port 7\n User me\n IdentityFile /k/{tokens}\n"
    write(files, {"config": f"{lines} IdentityFile ${{NAMED}}/k%%d\n"})
    # A proxy, so that ssh connects to nothing and still shows the files that it looks for.
    command = ["ssh", "-v", "-F", str(files / "config"), "-o", "ProxyCommand=false", "pi"]
    shown = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    expected = re.findall(r"identity file (\S+) type", shown.stderr)
    (hop,) = hops_of(Profile(name="board", kind="ssh", host="pi"))
    assert [str(path) for path in hop.key_files] == [
        path for path in expected if not path.endswith("-cert")
    ]
    assert len(hop.key_files) == 2


def test_line_keeps_undecodable_bytes(files: Path) -> None:
    (files / "config").write_bytes(b"IdentityFile /k/\xff\n")
    assert os.fsencode(read_config("pi")["identityfile"][0]) == b"/k/\xff"
    assert config_files.lines_of(files / "config")[0].where == f"{files / 'config'}:1"


def test_read_config_needs_no_login_where_the_user_is_given(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs as a number."""

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert read_config("pi", "me")["user"] == ["me"]
    with pytest.raises(InputError, match="user@host"):
        read_config("pi")
