"""Which host keys pass, and what a known_hosts file says about them."""

import base64
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from device.sshd import make_key, public

from autoseg.core.errors import InputError
from autoseg.device.device_profile import Profile
from autoseg.device.ssh import known_hosts
from autoseg.device.ssh.config import Hop, hops_of

pytestmark = pytest.mark.ssh


@pytest.fixture
def hop(home: Path) -> Hop:
    (hop,) = hops_of(Profile(name="board", kind="ssh", host="pi.lan", port=2200, user="me"))
    hop.known_hosts[0].parent.mkdir(mode=0o700)
    return hop


def key_of(path: Path) -> tuple[str, bytes]:
    kind, text = public(path).split()
    return kind, base64.b64decode(text)


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("[pi.lan]:2200 {key}", True),
        ("other,[pi.lan]:2200 {key} a comment", True),
        ("[*.lan]:2200 {key}", True),
        ("[*.lan]:2200,![pi.lan]:2200 {key}", False),
        ("pi.lan {key}", False),
        ("[pi.lan]:22 {key}", False),
        ("# [pi.lan]:2200 {key}", False),
        ("@cert-authority [pi.lan]:2200 {key}", False),
        ("[pi.lan]:2200 ssh-ed25519 !!!", False),
        ("", False),
    ],
)
def test_check_reads_known_hosts_as_ssh_does(
    hop: Hop, tmp_path: Path, line: str, known: bool
) -> None:
    key = make_key(tmp_path / "host")
    hop.known_hosts[0].write_text(line.format(key=public(key)) + "\n")
    assert known_hosts.check(hop, *key_of(key)).known is known


def test_check_accepts_a_key_of_all_users(hop: Hop, tmp_path: Path) -> None:
    key = make_key(tmp_path / "host")
    (tmp_path / "etc").mkdir()
    hop.known_hosts_of_all[0].write_text(f"[pi.lan]:2200 {public(key)}\n")
    assert known_hosts.check(hop, *key_of(key)).known


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_check_refuses_another_key_of_any_type_as_a_change(
    hop: Hop, tmp_path: Path, kind: str
) -> None:
    old, new = make_key(tmp_path / "old"), make_key(tmp_path / "new", kind)
    hop.known_hosts[0].write_text(f"\n[pi.lan]:2200 {public(old)}\n")
    with pytest.raises(InputError, match=re.escape(hop.name)) as caught:
        known_hosts.check(hop, *key_of(new))
    assert f"{hop.known_hosts[0]}:2" in str(caught.value)
    command = str(caught.value)[str(caught.value).index("ssh-keygen ") :]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    assert not known_hosts.check(hop, *key_of(new)).known


def test_check_accepts_one_of_several_keys_of_a_name(hop: Hop, tmp_path: Path) -> None:
    one, two = make_key(tmp_path / "one"), make_key(tmp_path / "two")
    hop.known_hosts[0].write_text("".join(f"[pi.lan]:2200 {public(key)}\n" for key in (one, two)))
    assert (
        known_hosts.check(hop, *key_of(one)).known and known_hosts.check(hop, *key_of(two)).known
    )


def test_check_refuses_a_revoked_key_even_if_it_is_known(hop: Hop, tmp_path: Path) -> None:
    key = make_key(tmp_path / "host")
    hop.known_hosts[0].write_text(f"[pi.lan]:2200 {public(key)}\n@revoked * {public(key)}\n")
    with pytest.raises(InputError, match="revoked .*known_hosts:2"):
        known_hosts.check(hop, *key_of(key))


@pytest.mark.parametrize("hashed", [False, True])
def test_add_writes_a_key_that_ssh_finds(hop: Hop, tmp_path: Path, hashed: bool) -> None:
    hop, key = replace(hop, hash_names=hashed), make_key(tmp_path / "host")
    path = hop.known_hosts[0]
    path.parent.rmdir()
    known_hosts.add(known_hosts.check(hop, *key_of(key)))
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    assert known_hosts.check(hop, *key_of(key)).known
    assert ("pi.lan" in path.read_text()) is not hashed
    find = ["ssh-keygen", "-f", str(path), "-l", "-F", "[pi.lan]:2200"]
    done = subprocess.run(find, capture_output=True, text=True, check=True)
    assert known_hosts.HostKey(hop, *key_of(key)).fingerprint in done.stdout


def test_add_leaves_the_rest_of_the_file_unchanged(hop: Hop, tmp_path: Path) -> None:
    path = hop.known_hosts[0]
    path.write_text("other ssh-ed25519 AAAA")
    path.chmod(0o640)
    known_hosts.add(known_hosts.check(hop, *key_of(make_key(tmp_path / "host"))))
    lines = path.read_text().splitlines()
    assert lines[0] == "other ssh-ed25519 AAAA" and len(lines) == 2
    assert path.stat().st_mode & 0o777 == 0o640


def test_add_refuses_a_known_hosts_file_that_keeps_nothing(hop: Hop, tmp_path: Path) -> None:
    key = key_of(make_key(tmp_path / "host"))
    for files, message in ((("/dev/null",), "/dev/null"), ((), "known_hosts|UserKnownHostsFile")):
        nowhere = replace(hop, known_hosts=tuple(map(Path, files)))
        with pytest.raises(InputError, match=message):
            known_hosts.add(known_hosts.check(nowhere, *key))


def test_check_refuses_the_keys_that_revoked_host_keys_lists(hop: Hop, tmp_path: Path) -> None:
    key, other = make_key(tmp_path / "host"), make_key(tmp_path / "other")
    hop.known_hosts[0].write_text(f"[pi.lan]:2200 {public(key)}\n")
    revoked = tmp_path / "revoked"
    strict = replace(hop, revoked=revoked)
    with pytest.raises(InputError, match="RevokedHostKeys names .*/revoked, which cannot be read"):
        known_hosts.check(strict, *key_of(key))
    revoked.write_text(f"# lost\n{public(other)}\n")
    assert known_hosts.check(strict, *key_of(key)).known
    revoked.write_text(f"{public(other)}\n{public(key)} board\n")
    with pytest.raises(InputError, match="revokes its host key ssh-ed25519 SHA256:"):
        known_hosts.check(strict, *key_of(key))
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", revoked, f"{other}.pub"], check=True)
    with pytest.raises(InputError, match="binary list"):
        known_hosts.check(strict, *key_of(key))
