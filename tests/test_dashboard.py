"""The dashboard serves a run's study to read, on this machine, or says what keeps it from that."""

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from studies import NAME, mirrored, result_in, shown_in

from autoseg.core.diagnostics import sheet_path
from autoseg.report.dashboard.server import Dashboard
from autoseg.run.result import Result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return shown_in(tmp_path_factory.mktemp("results"))


@contextmanager
def served(folder: Path) -> Iterator[Callable[..., bytes]]:
    with Dashboard(folder, port=0) as dashboard:
        threading.Thread(target=dashboard.serve_forever, daemon=True).start()

        def ask(path: str, method: str = "GET") -> bytes:
            address = f"http://127.0.0.1:{dashboard.server_port}{path}"
            request = urllib.request.Request(address, method=method)
            with closing(urllib.request.urlopen(request, timeout=30)) as answer:
                return answer.read()

        yield ask
        dashboard.shutdown()


def test_dashboard_serves_study_sheets_and_the_front_as_best(made):
    with served(made.folder) as ask:
        (listed,) = json.loads(ask("/api/studies"))["study_summaries"]
        assert listed["study_name"] == NAME
        study = json.loads(ask("/api/studies/1"))
        assert study["objective_names"] == ["latency p90 [ms]", "IoU"]
        assert [t["number"] for t in study["best_trials"]] == [0, 1, 2]
        artifacts = [a for t in study["trials"] for a in t["artifacts"]]
        assert len(artifacts) == sum(e.iou is not None for e in made.evaluations)
        sheet = sheet_path(made.folder, made.evaluations[0].candidate.key)
        assert ask(f"/artifacts/1/1/{artifacts[0]['artifact_id']}") == sheet.read_bytes()


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/api/studies/1"), ("PUT", "/api/studies/1/note"), ("POST", "/api/studies")],
)
def test_dashboard_is_read_only(made, method, path):
    before = (made.folder / "study.db").read_bytes()
    with served(made.folder) as ask, pytest.raises(urllib.error.HTTPError) as refused:
        ask(path, method)
    assert refused.value.code == 403
    assert b"cannot be changed here" in refused.value.read()
    assert (made.folder / "study.db").read_bytes() == before


def answer(port: int, host: str, method: str = "GET") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as asked:
        asked.request(method, "/api/studies", headers={"Host": host})
        return asked.getresponse().status


def test_dashboard_refuses_foreign_host_names(made):
    with Dashboard(made.folder, port=0) as dashboard:
        threading.Thread(target=dashboard.serve_forever, daemon=True).start()
        port = dashboard.server_port
        for ours in (f"127.0.0.1:{port}", "LOCALHOST:9000", "[::1]:8080", "[::1]", "localhost"):
            assert answer(port, ours) == 200, ours
        for evil in (
            f"evil.test:{port}",
            "127.0.0.1.evil.test",
            "localhost.evil.test",
            "",
            "[::2]",
        ):
            assert answer(port, evil) == 403, evil
        dashboard.shutdown()


def test_dashboard_on_another_host_accepts_any_name_and_warns(made):
    command = [sys.executable, "-m", "autoseg.cli", "dashboard", str(made.folder)]
    with subprocess.Popen(
        [*command, "--port", "0", "--host", "0.0.0.0"], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        port = int(process.stdout.readline().split(":")[2].partition("/")[0])
        assert "Ctrl-C" in process.stderr.readline()
        assert "port" in process.stderr.readline()
        assert answer(port, "board.test") == 200 and answer(port, "board.test", "POST") == 403
        process.terminate()


def test_dashboard_follows_a_rebuilt_study(tmp_path):
    live = result_in(tmp_path / "run", searched=False)
    mirrored(live)
    with served(live.folder) as ask:
        assert ask("/csv/1").count(b"RUNNING") == 2
        mirrored(result_in(live.folder))
        assert ask("/csv/1").count(b"RUNNING") == 0


def test_dashboard_reports_a_taken_port_with_option(made, autoseg_command):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        called = autoseg_command("dashboard", str(made.folder), "--port", str(port))
    assert (called.code, called.stdout) == (2, "")
    assert f"port {port} of 127.0.0.1" in called.stderr and "--port 0" in called.stderr


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (None, "no run at .*/run$"),
        ({}, "study.db"),
        ({"study.db": b"not a database"}, "/run/study.db .*database"),
        ({"study.db": b""}, "/run/study.db "),
    ],
)
def test_dashboard_refuses_a_folder_without_a_readable_study(
    there, said, tmp_path, autoseg_command
):
    folder = tmp_path / "run"
    for name, content in ({"run.yaml": b"{}"} | there if there is not None else {}).items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    called = autoseg_command("dashboard", str(folder), "--port", "0")
    assert (called.code, called.stdout) == (2, "")
    assert re.search(said, called.stderr) and called.stderr.count("\n") == 1
    assert there is None or "--resume" in called.stderr


def test_dashboard_refuses_an_address_of_another_machine(made, autoseg_command):
    called = autoseg_command("dashboard", str(made.folder), "--host", "203.0.113.1")
    assert called.code == 2 and "203.0.113.1" in called.stderr
