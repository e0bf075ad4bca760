"""The runner: a server on stdin and stdout that times and runs ONNX files.

The same file runs here and is copied to boards: it needs only Python 3.8, numpy, onnxruntime.

    client  <- stdin, stdout ->  parent (claim, cache, facts)  <- a pipe ->  child (sessions)

A message is one JSON object on one line; with `"bytes": n`, n raw bytes follow the line.
A request has its verb in "do"; every reply to it but the last has `"more": true`.

    parent   ping   hello   status {window_s, affinity}   claim {name, who}   release
             has {digest}   put {digest, weights: {name: bytes}} + the files, the graph first
             close
    child    open {models: {name: path}, plan, frames: {name: {hw, resize}}, fresh}
             warm {model, warmup_s}   nodes {path, plan, runs}
             time {blocks: [{model, runs, max_s}]}   run {model, shape} + the network's input
    plan     {threads, providers, affinity: [core] or null, shapes: {input: sizes}}; the shape
             of "" is for the only input with open sizes
    frames   the models that are run with both resizes, from a picture of `hw` to its class map;
             `resize` is the source of autoseg/data/resize.py, which needs Pillow
    fresh    whether the child is a program started anew, whose memory lies elsewhere each time,
             and not a fork, which imports nothing again

A model whose weights are in other files is kept as a folder with all of them; its digest is the
SHA-256 of the lines "DIGEST NAME" of its files, the graph first and without a name.

`ping` is answered at once, even while the child works: that distinguishes a slow model from a dead
board. The child computes, and a model that crashes kills only the child. It holds the claim as
well, so `release` ends it as `close` does, and models must be opened again. Nothing outlives the
client: both processes exit at the end of input, after QUIET_S without a byte, and with the parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import gc
import glob
import hashlib
import importlib
import importlib.metadata
import json
import multiprocessing.connection
import os
import platform
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple, NoReturn, Union

QUIET_S = 30.0
HOLDER_S = 2.0
MAX_LINE_BYTES = 1 << 20
MAX_MESSAGE_CHARS = 2000
MAX_NAME_CHARS = 200
CHUNK_BYTES = 1 << 16
MAX_FRAME_BYTES = 256 << 20
MAX_CACHE_BYTES = 512 << 20
# A full disk also harms logs, swap and the board's own programs.
MIN_FREE_BYTES = 32 << 20
MAX_RUNS = 50_000
MAX_NODES = 2000
MAX_WARM_CHANGE = 0.02
THERMAL = "/sys/class/thermal"
CGROUPS = "/sys/fs/cgroup"
OWN_CGROUPS = "/proc/self/cgroup"
# A higher value is no temperature of a working board.
MAX_TEMPERATURE_C = 150
DTYPES = {"float": "float32", "double": "float64"}
MORE, LAST = b"+", b"."
# In place of process ids, which begin at 1.
ALL_PROCESSES, NO_PROCESS = 0, -1
# The kernel frees the names of abstract sockets; only Linux has them.
ABSTRACT = sys.platform == "linux"
UNFIT = "this build of {} does not fit the processor ({})"
NO_HOLDER = "an autoseg that does not answer"
Pipe = multiprocessing.connection.Connection


# ---- Messages


class Fault(Exception):
    """An error reply. Kinds: model, input, memory, crash (the model's); plan (the caller's);
    runtime, machine, busy, disk (the board's)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def message(facts: dict[str, Any], payload: bytes | None = None) -> bytes:
    if payload is not None:
        facts = dict(facts, bytes=len(payload))
    line = json.dumps(facts).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise Fault(
            "machine", f"a reply of {len(line)} bytes exceeds the maximum length of a line"
        )
    return line + (payload or b"")


def error_message(error: Exception) -> bytes:
    if isinstance(error, Fault):
        kind, text = error.kind, str(error)
    elif isinstance(error, MemoryError):
        kind, text = "memory", "out of memory"
    else:  # the client reads lines, not tracebacks
        kind, text = "machine", f"{type(error).__name__}: {error}"
    return message({"error": {"kind": kind, "message": text[:MAX_MESSAGE_CHARS]}})


# ---- The parent: replies, and sleeps in between


class Child(NamedTuple):
    pid: int
    pipe: Pipe


class Server:
    """The state of the parent: input read so far, the claim, and the child."""

    def __init__(self, out: int) -> None:
        self.out = out
        self.came = bytearray()
        self.unread = 0
        self.holding: socket.socket | IO[bytes] | None = None
        self.name, self.who = "", b""
        self.child: Child | None = None
        self.busy = False
        self.ended: Fault | None = None

    def serve(self) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: self.end(1))
        signal.signal(signal.SIGALRM, lambda *_: self.quiet())
        signal.setitimer(signal.ITIMER_REAL, QUIET_S)
        while True:
            line = self.line()
            try:
                request = json.loads(line)
                do, size = str(request["do"]), int(request.get("bytes", 0))
            except Exception:  # out of step: the next bytes may be raw data or a request
                self.write(error_message(Fault("plan", f"not a request: {line[:200]!r}")))
                self.end(1)
            self.answer(do, request, self.payload(size))

    def answer(self, do: str, request: dict[str, Any], payload: Iterator[bytes]) -> None:
        verbs: dict[str, Callable[[], dict[str, Any]]] = {
            "ping": lambda: {"pong": True},
            "hello": lambda: {"hello": hello()},
            "status": lambda: {"status": status(request, self.child)},
            "claim": lambda: self.claim(str(request["name"]), str(request["who"])),
            "release": self.release,
            "has": lambda: {"path": find_model(request["digest"])},
            "put": lambda: {"path": keep_model(request, payload)},
            "close": self.close,
        }
        try:
            if do in verbs:
                self.write(message(verbs[do]()))
            elif do in WORK:
                self.forward(do, request, payload)
            else:
                raise Fault("plan", f"unknown request {do!r}; known: {sorted([*verbs, *WORK])}")
        except Exception as error:
            self.write(error_message(error))
        # After an error, unread payload would be parsed as requests.
        for _ in payload:
            pass

    def line(self) -> bytes:
        """The next line without its end, or the beginning of one beyond the maximum length."""
        while b"\n" not in self.came and len(self.came) <= MAX_LINE_BYTES:
            self.receive()
        line, _, self.came = self.came.partition(b"\n")
        return bytes(line)

    def payload(self, size: int) -> Iterator[bytes]:
        while size > 0:
            if not self.came:
                self.receive()
            chunk = bytes(self.came[:size])
            del self.came[:size]
            size -= len(chunk)
            yield chunk

    def receive(self) -> None:
        """Waits for input; relays the child's replies, and names the holder to other runners."""
        while True:
            door = self.holding if isinstance(self.holding, socket.socket) else None
            sources = [0, door, self.child and self.child.pipe]
            ready = select.select([each for each in sources if each is not None], [], [])[0]
            if door and door in ready:
                with contextlib.suppress(OSError), door.accept()[0] as visitor:
                    visitor.sendall(self.who)
            if self.child and self.child.pipe in ready:
                self.relay(self.child)
            if 0 in ready:
                chunk = os.read(0, CHUNK_BYTES)
                if not chunk:
                    self.end(0)
                self.came += chunk
                self.unread = 0
                signal.setitimer(signal.ITIMER_REAL, QUIET_S)
                return

    def quiet(self) -> None:
        """Exits after QUIET_S without input, unless unread input has arrived meanwhile."""
        unread = struct.unpack("i", fcntl.ioctl(0, termios.FIONREAD, b"\0" * 4))[0]
        if unread <= self.unread:
            self.end(1)
        self.unread = unread
        signal.setitimer(signal.ITIMER_REAL, QUIET_S)

    def write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self.out, data) :]
        except OSError:  # the client is gone: exit, so as not to disturb the next measurement
            self.end(1)

    def end(self, code: int) -> NoReturn:
        if self.child:
            os.kill(self.child.pid, signal.SIGKILL)
        # Immediately: sessions take long to close, and a broken pipe must not be flushed again.
        os._exit(code)

    def claim(self, name: str, who: str) -> dict[str, Any]:
        if self.holding is None or name != self.name:
            self.release()
            self.holding = hold(name, who)
        self.name, self.who = name, who.encode()[:500]
        return {"claimed": True}

    def release(self) -> dict[str, Any]:
        """Releases the claim; the child holds it too, so it is ended first."""
        self.close()
        if self.holding:
            self.holding.close()
        self.holding = None
        return {"released": True}

    def close(self) -> dict[str, Any]:
        if self.child:
            os.kill(self.child.pid, signal.SIGKILL)
            self.reap(self.child)
        self.ended = None
        return {"closed": True}

    def reap(self, child: Child) -> None:
        _, code = os.waitpid(child.pid, 0)
        child.pipe.close()
        self.child, self.busy = None, False
        kind, text = "crash", f"the process exited with code {os.WEXITSTATUS(code)}"
        if os.WIFSIGNALED(code):
            number = os.WTERMSIG(code)
            hint = " (often: out of memory)" if number == signal.SIGKILL else ""
            text = f"the process was ended by signal {number}{hint}"
            if number == signal.SIGILL:  # no model can cause that
                unfit = UNFIT.format("onnxruntime", cpu_model())
                kind, text = "runtime", f"{text}, an illegal instruction: {unfit}"
        self.ended = Fault(kind, text)

    def forward(self, do: str, request: dict[str, Any], payload: Iterator[bytes]) -> None:
        if self.busy:
            raise Fault("plan", "the last request has no reply yet; close ends it")
        if request.get("bytes", 0) > MAX_FRAME_BYTES:
            raise Fault("plan", f"a frame may have {MAX_FRAME_BYTES} bytes at most")
        if do == "open" or (do == "nodes" and not self.child):
            self.close()
            self.child = self.fork(fresh=bool(request.get("fresh")))
        if not self.child:
            raise self.ended or Fault("plan", "nothing is open")
        self.busy, pipe = True, self.child.pipe
        # A dead child is reported when its reply is read.
        with contextlib.suppress(OSError):
            pipe.send_bytes(json.dumps(request).encode())
            for chunk in payload:
                pipe.send_bytes(chunk)

    def relay(self, child: Child) -> None:
        """Relays one whole reply, so that no pong can interrupt it."""
        try:
            answer = child.pipe.recv_bytes()
        except (EOFError, OSError):
            asked = self.busy
            self.reap(child)
            if asked and self.ended:
                self.write(error_message(self.ended))
        else:
            self.busy = answer[:1] == MORE
            self.write(answer[1:])

    def fork(self, fresh: bool = False) -> Child:
        ours, theirs = multiprocessing.connection.Pipe()
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.close(self.out)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            if fresh:
                start_anew(theirs, self.holding)
            work(theirs)
        theirs.close()
        return Child(pid, ours)


def start_anew(pipe: Pipe, holding: socket.socket | IO[bytes] | None) -> NoReturn:
    """In a fork: becomes a new program with the pipe and the claim."""
    # sys.executable may be what a wrapper script of the board has started.
    python = os.environ.get("AUTOSEG_PYTHON") or sys.executable
    for descriptor in [pipe.fileno()] + ([holding.fileno()] if holding else []):
        os.set_inheritable(descriptor, True)
    end_with_parent()
    safe = ["-P"] if getattr(sys.flags, "safe_path", False) else []
    try:
        os.execvp(python, [python, *safe, os.path.abspath(__file__), str(pipe.fileno())])
    except OSError as error:
        pipe.recv_bytes()
        fault = Fault("machine", f"cannot start {python} again: {error}")
        pipe.send_bytes(LAST + error_message(fault))
        os._exit(1)


def hold(name: str, who: str) -> socket.socket | IO[bytes]:
    """Claims the machine until every process with the result has ended. Raises Fault (busy)."""
    if not ABSTRACT:
        return hold_file(os.path.join(tempfile.gettempdir(), f"{name}.lock"), who)
    for _ in range(20):
        door = socket.socket(socket.AF_UNIX)
        try:
            door.bind("\0" + name)
            door.listen(8)
            return door
        except OSError as error:
            door.close()
            if error.errno != errno.EADDRINUSE:
                raise
        # Refused or reset: the holder does not listen yet, or is exiting.
        with contextlib.suppress(ConnectionError):
            raise Fault("busy", holder(name))
        time.sleep(0.05)
    raise Fault("busy", NO_HOLDER)


def holder(name: str) -> str:
    name_bytes = b""
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(HOLDER_S)
        with contextlib.suppress(socket.timeout, BlockingIOError):
            visitor.connect("\0" + name)
            for chunk in iter(lambda: visitor.recv(500), b""):
                name_bytes = (name_bytes + chunk)[:500]
    return name_bytes.decode(errors="replace") or NO_HOLDER


def hold_file(path: str, who: str) -> IO[bytes]:
    lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b", 0)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with lock:
            raise Fault("busy", lock.read(500).decode(errors="replace") or NO_HOLDER) from error
    lock.truncate(0)
    lock.write(who.encode()[:500])
    return lock


# ---- Facts and state of the board


def hello() -> dict[str, Any]:
    """Constant facts; imports onnxruntime, so that each child has it already."""
    version, failed, providers, settings = None, None, [], []
    try:
        library("numpy")
        runtime = library("onnxruntime")
        version = f"onnxruntime {runtime.__version__}"
        providers = runtime.get_available_providers()
        with contextlib.suppress(AttributeError):  # an old one, which is refused by its version
            settings = session_settings()
    except Fault as fault:
        failed = str(fault)
    return {
        "python": platform.python_version(),
        "runtime": version,
        "runtime_error": failed,
        "providers": providers,
        "cpu": cpu_model(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "affinity": allowed_cores(),
        "session": settings,
        "pillow": installed_version("pillow"),
        "quota_cores": cpu_quota(),
        "cache": cache(),
        "pid": os.getpid(),
    }


def status(request: dict[str, Any], child: Child | None) -> dict[str, Any]:
    """The current state; null where the board does not report a value. Takes `window_s` seconds.

    The clock is that of the cores in `affinity`, as in the state after a timing.
    """
    window_s, cores = float(request.get("window_s", 0.3)), request.get("affinity")
    other_cores, top = other_load(min(window_s, 5.0), child.pid if child else NO_PROCESS)
    memory = dict(re.findall(r"(\w+): +(\d+) kB", read_text("/proc/meminfo")))
    total, available = memory.get("MemTotal"), memory.get("MemAvailable")
    return {
        **clock_and_heat(cores),
        "max_clock_mhz": most(numbers(cpufreq("cpuinfo_max_freq", cores)), 1e-3),
        "other_cores": other_cores,
        "top": top,
        "memory_total_bytes": int(total) * 1024 if total else None,
        "memory_available_bytes": int(available) * 1024 if available else None,
        "disk_free_bytes": disk_free_bytes(),
        "time": time.time(),
    }


def clock_and_heat(cores: Sequence[int] | None = None) -> dict[str, Any]:
    return {
        "governors": governors(cores),
        "clock_mhz": clock_mhz(cores),
        "temperature_c": temperature_c(),
        "throttled_bits": throttled_bits(),
        "throttle_count": throttle_count(),
    }


def library(name: str, package: str = "") -> Any:
    """A library, imported late so that its absence is an error reply, not a traceback."""
    if name not in sys.modules:
        try_import(name)
    try:
        return importlib.import_module(name)
    # A broken installation raises OSError, AttributeError, ...
    except (Exception, SystemExit) as error:
        text = f"cannot import {name} ({error}); install it: pip install {package or name}"
        raise Fault("runtime", text) from error


def try_import(name: str) -> None:
    """Imports a library in a fork: one that was built for another processor ends the process.

    Raises Fault (runtime) where it does.
    """
    pid = os.fork()
    if not pid:
        end_with_parent()
        with contextlib.suppress(BaseException):  # raised again where it is reported
            importlib.import_module(name)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        raise Fault("runtime", ended_import(name, os.WTERMSIG(status)))
    if status:
        raise Fault("runtime", f"importing {name} ends the interpreter with {status >> 8}")


def end_with_parent() -> None:
    """In a fork, which has the claim and the pipes: lets signals end it and, on Linux, that of its
    parent, even while it runs a model or imports a library."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except Exception:  # damaged metadata raise anything
        return None


def ended_import(name: str, number: int) -> str:
    """What a signal during the import of a library means."""
    version = f"{installed_version(name) or ''} ".lstrip()
    how = f"{signal.strsignal(number) or 'signal'}, signal {number}".lower()
    text = f"importing {name} {version}ends the interpreter ({how})"
    if number == signal.SIGILL:
        text += f": {UNFIT.format(name, cpu_model())}"
    return text


def cpu_model() -> str:
    """The board's name (device tree) if it has one, else the processor's."""
    board = read_text("/proc/device-tree/model").strip("\0\n ")
    if board:
        return board
    found = re.search(r"^model name.*?:(.*)", read_text("/proc/cpuinfo"), re.M | re.I)
    return found[1].strip() if found else platform.processor() or platform.machine()


def allowed_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_groups() -> list[str]:
    """Folders of the control groups that may limit the CPU: ours and those above it.

    A container may see the path of its group on the host but only its own group: then none of
    the folders below the mount is there, and the mount itself is the group.
    """
    found = []
    for line in read_text(OWN_CGROUPS).splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for name in [controllers, "cpu"] if controllers else ["", "unified"]:
            mount = os.path.join(CGROUPS, name)
            found += [os.path.join(mount, *parts[:n]) for n in range(len(parts) + 1)]
    return sorted(set(found))


def group_quota(folder: str) -> float | None:
    """Cores that one control group allows: `cpu.max` of version 2, or the two files of 1."""
    found = read_text(f"{folder}/cpu.max").split()
    if not found:
        found = [read_text(f"{folder}/cpu.cfs_{n}_us").strip() for n in ("quota", "period")]
    if len(found) != 2 or not all(number.isdigit() for number in found):
        return None  # "max" and -1: no limit
    return int(found[0]) / int(found[1]) if int(found[0]) and int(found[1]) else None


def cpu_quota() -> float | None:
    """Cores that the control groups allow, the lowest of them; None without a limit."""
    quotas = [group_quota(folder) for folder in cpu_groups()]
    return min((quota for quota in quotas if quota is not None), default=None)


def quota_stops() -> int:
    """How often a control group was stopped until its next period, as its quota was used up."""
    limited = [folder for folder in cpu_groups() if group_quota(folder) is not None]
    texts = [read_text(f"{folder}/cpu.stat") for folder in limited]
    return sum(int(n) for text in texts for n in re.findall(r"^nr_throttled (\d+)", text, re.M))


def cpufreq(name: str, cores: Sequence[int] | None) -> list[str]:
    named = cores or allowed_cores()
    paths = (f"/sys/devices/system/cpu/cpu{core}/cpufreq/{name}" for core in named)
    return [path for path in paths if os.path.exists(path)]


def numbers(paths: Iterable[str]) -> list[int]:
    """The contents of those files that hold a number."""
    texts = [read_text(path).strip() for path in paths]
    return [int(text) for text in texts if text.lstrip("-").isdigit()]


def most(found: Sequence[float], unit: float = 1.0) -> float | None:
    return max(found) * unit if found else None


def governors(cores: Sequence[int] | None = None) -> list[str]:
    return sorted({read_text(path).strip() for path in cpufreq("scaling_governor", cores)})


def clock_mhz(cores: Sequence[int] | None = None) -> float | None:
    """The highest clock of these cores, or of the allowed ones: that of the working core."""
    listed = re.findall(r"^cpu MHz\s*:(.*)", read_text("/proc/cpuinfo"), re.M)
    return most(numbers(cpufreq("scaling_cur_freq", cores)), 1e-3) or most([*map(float, listed)])


def temperature_c() -> float | None:
    """The temperature of the hottest thermal zone of Linux, or None."""
    zones = glob.glob(f"{THERMAL}/thermal_zone*")
    # A Jetson's PMIC always reports 100 °C.
    real = [zone for zone in zones if not read_text(f"{zone}/type").startswith("PMIC")]
    found = numbers(f"{zone}/temp" for zone in real)
    return most([each for each in found if each <= MAX_TEMPERATURE_C * 1000], 1e-3)


def throttled_bits() -> int | None:
    """A Raspberry Pi's get_throttled: bits 0-3 present limits, bits 16-19 limits since boot."""
    tool = shutil.which("vcgencmd")
    if not tool:
        return None
    try:
        done = subprocess.run(
            [tool, "get_throttled"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=5
        )
        return int(done.stdout.decode().strip().rpartition("=")[2], 16)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def throttle_count() -> int | None:
    paths = glob.glob("/sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")
    return sum(numbers(paths)) if paths else None


def disk_free_bytes() -> int:
    folder = cache()
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def other_load(window_s: float, child: int) -> tuple[float | None, list[tuple[str, float]]]:
    """Cores busy with other processes, and the three busiest of these by name."""
    start, before = time.monotonic(), computed()
    time.sleep(window_s)
    spent_s, after = time.monotonic() - start, computed()
    both = after.keys() & before.keys()
    cores = {pid: round((after[pid][1] - before[pid][1]) / spent_s, 2) for pid in both}
    ours = cores.pop(os.getpid(), 0.0) + cores.pop(child, 0.0)
    every = cores.pop(ALL_PROCESSES, None)
    busiest = sorted((pid for pid in cores if cores[pid] > 0), key=lambda pid: -cores[pid])[:3]
    top = [(after[pid][0], cores[pid]) for pid in busiest]
    return None if every is None else max(0.0, round(every - ours, 2)), top


def computed() -> dict[int, tuple[str, float]]:
    """The name and CPU seconds of each process; for ALL_PROCESSES, the sum."""
    found, tick = {}, os.sysconf("SC_CLK_TCK")
    for path in glob.glob("/proc/[0-9]*/stat"):
        head, _, rest = read_text(path).rpartition(")")
        if rest:
            pid, _, name = head.partition(" (")
            found[int(pid)] = name, sum(map(int, rest.split()[11:13])) / tick
    # Emulators do not fill a process's own /proc entry.
    found[os.getpid()] = "", sum(os.times()[:2])
    fields = read_text("/proc/stat").partition("\n")[0].split()[1:9]
    if any(map(int, fields)):
        # All but the fourth and fifth: idle, and waiting for I/O.
        found[ALL_PROCESSES] = "", sum(map(int, fields[:3] + fields[5:])) / tick
    return found


def read_text(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# ---- The cache: models by digest, bounded, written atomically


def cache() -> str:
    return os.path.join(os.path.abspath(os.path.expanduser("~")), ".cache", "autoseg")


def model_path(digest: Any) -> str:
    if not re.fullmatch("[0-9a-f]{64}", str(digest)):
        raise Fault("plan", f"a digest is 64 hexadecimal digits, got {str(digest)[:80]!r}")
    return os.path.join(cache(), "models", f"{digest}.onnx")


def find_model(digest: str) -> str | None:
    path = model_path(digest)
    if not os.path.isfile(graph_of(path)):
        return None
    touch(path)
    return graph_of(path)


def graph_of(path: str) -> str:
    """The ONNX file of a kept model, which is a folder where its weights are in other files."""
    return os.path.join(path, os.path.basename(path)) if os.path.isdir(path) else path


def keep_model(request: dict[str, Any], payload: Iterator[bytes]) -> str:
    """Stores a model and returns its path. Raises Fault (disk; machine for a wrong digest)."""
    digest, size, weights = request["digest"], request["bytes"], request.get("weights") or {}
    path = model_path(digest)
    folder, part = os.path.dirname(path), ""
    sizes = {os.path.basename(path): size - sum(weights.values()), **weights}
    if not all(map(inside, sizes)) or min(sizes.values()) < 0:
        raise Fault("plan", f"not the files of a model: {str(sizes)[:200]}")
    try:
        for made in (cache(), folder):
            os.makedirs(made, exist_ok=True)
            os.chmod(made, 0o700)
        make_room(folder, size)
        part = tempfile.mkdtemp(".part", dir=folder)
        receive_model(part, digest, sizes, payload)
        for made, _, _ in os.walk(part):
            sync(made)
        remove(path)
        os.replace(part if weights else os.path.join(part, os.path.basename(path)), path)
        sync(folder)
        touch(path)
    except OSError as error:
        reason = f"cannot store a model of {size} bytes in {folder}: {error.strerror}"
        raise Fault("disk", f"{reason}; {disk_free_bytes()} bytes are free there") from error
    finally:
        remove(part)
    return graph_of(path)


def inside(name: str) -> bool:
    """Whether the name of a file stays in its folder."""
    return all(part not in ("", ".", "..") for part in name.split("/")) and "\0" not in name


def remove(path: str) -> None:
    """Removes a model, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.remove(path)


def make_room(folder: str, size: int) -> None:
    """Removes partial uploads, then the least recently used models until `size` bytes fit."""
    for _, _, left in used_files(folder, ".part"):
        remove(left)
    kept = used_files(folder, ".onnx")
    if size > MAX_CACHE_BYTES:
        text = f"a model of {size} bytes exceeds the limit of {MAX_CACHE_BYTES} bytes for {folder}"
        raise Fault("disk", text)
    # The newest may be needed by the same measurement: it is removed last.
    while kept and (
        size + sum(each[1] for each in kept) > MAX_CACHE_BYTES
        or size + (MIN_FREE_BYTES if kept[1:] else 0) > shutil.disk_usage(folder).free
    ):
        remove(kept.pop(0)[2])


def used_files(folder: str, suffix: str) -> list[tuple[float, int, str]]:
    """(time of use, bytes, path) of files and folders, the least recently used first."""
    named = [each for each in os.scandir(folder) if each.name.endswith(suffix)]
    return sorted((each.stat().st_mtime, bytes_of(each), each.path) for each in named)


def bytes_of(entry: os.DirEntry[str]) -> int:
    if not entry.is_dir(follow_symlinks=False):
        return entry.stat().st_size
    return sum(bytes_of(each) for each in os.scandir(entry.path))


def receive_model(
    folder: str, digest: str, sizes: dict[str, int], payload: Iterator[bytes]
) -> None:
    """Writes the files of a model in the order of `sizes`. Raises Fault for another digest."""
    rest = bytearray()
    found = [
        receive_file(os.path.join(folder, name), size, payload, rest)
        for name, size in sizes.items()
    ]
    lines = zip(found, ["", *list(sizes)[1:]])  # noqa: B905
    text = "".join(f"{each} {name}\n" for each, name in lines)
    total = found[0] if len(found) == 1 else hashlib.sha256(text.encode()).hexdigest()
    if total != digest:
        text = f"the upload has the digest {total}, not {digest}; send it again"
        raise Fault("machine", text)


def receive_file(path: str, size: int, payload: Iterator[bytes], rest: bytearray) -> str:
    """Writes one of several files and returns its digest; `rest` is what came of the next one."""
    found = hashlib.sha256()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        while size > 0:
            chunk = bytes(rest) or next(payload, b"")
            if not chunk:
                raise Fault("plan", f"the upload ended {size} bytes early")
            rest[:], chunk = chunk[size:], chunk[:size]
            size -= len(chunk)
            found.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def touch(path: str) -> None:
    # The clock of many boards is in the past after a boot; a used file must still be the newest.
    newest = used_files(os.path.dirname(path), ".onnx")[-1][0]
    now = max(time.time(), newest + 0.001)
    os.utime(path, (now, now))


# ---- The child: sessions


class Model(NamedTuple):
    session: Any
    feeds: dict[str, Any]
    declared: dict[str, list[int | str]]

    def run(self) -> None:
        try:
            self.session.run(None, self.feeds)
        except Exception as error:
            text = f"the model fails when fed {json.dumps(self.fed())}"
            raise fault_of("input", text, error) from error

    def fed(self) -> list[dict[str, Any]]:
        """The inputs as they are fed, and the sizes that the model declares."""
        return [
            {
                "name": name[:MAX_NAME_CHARS],
                "dtype": str(array.dtype),
                "shape": list(array.shape),
                "declared": self.declared[name],
            }
            for name, array in self.feeds.items()
        ]


class FrameModel:
    """A model between both resizes: from a random picture to a class map of its size.

    `parts_ms` holds what the resize, the model and the resize back took, by run.
    """

    def __init__(self, model: Model, hw: Sequence[int], resize: str) -> None:
        (node, *others), numpy = model.session.get_inputs(), library("numpy")
        if others or node.type != "tensor(uint8)" or len(node.shape) != 4:
            text = f"the model takes {node.type} {node.shape}"
            raise Fault("plan", f"{text}; a frame needs one uint8 [1, H, W, C] input")
        library("PIL.Image", "pillow")
        self.names: dict[str, Any] = {}
        exec(compile(resize, "resize.py", "exec"), self.names)
        self.model, self.input = model, node.name
        _, self.height, self.width, self.channels = model.feeds[node.name].shape
        self.picture = numpy.random.RandomState(0).randint(0, 256, (*hw, 3), dtype="uint8")
        self.parts_ms: list[tuple[float, float, float]] = []

    def run(self) -> None:
        clock, hw = time.perf_counter_ns, self.picture.shape[:2]
        at = [clock()]
        size = self.height, self.width
        frame = self.names["resize_frame"](self.picture, size, self.channels)
        at.append(clock())
        try:
            (class_map,) = self.model.session.run(None, {self.input: frame[None]})
        except Exception as error:
            raise fault_of("input", "the model fails when fed a frame", error) from error
        at.append(clock())
        self.names["resize_mask"](class_map[0], hw)
        at.append(clock())
        resized, ran, back = ((b - a) / 1e6 for a, b in zip(at, at[1:]))  # noqa: B905, RUF007
        self.parts_ms.append((resized, ran, back))

    def fed(self) -> list[dict[str, Any]]:
        return self.model.fed()

    def median_parts_ms(self) -> list[float]:
        return [sorted(each)[len(each) // 2] for each in zip(*self.parts_ms)]  # noqa: B905


Runnable = Union[Model, FrameModel]  # noqa: UP007 (Python 3.8)


class Worker:
    """The state of the child: the open models, and the name of the last one that ran."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.models: dict[str, Runnable] = {}
        self.last = ""

    def serve(self) -> None:
        while True:
            request = json.loads(self.pipe.recv_bytes())
            request["payload"] = bytearray()
            while len(request["payload"]) < request.get("bytes", 0):
                request["payload"] += self.pipe.recv_bytes()
            try:
                WORK[request["do"]](self, request)
            except Exception as error:
                self.pipe.send_bytes(LAST + error_message(error))

    def reply(self, facts: dict[str, Any], payload: bytes | None = None) -> None:
        data = message(facts, payload)
        self.pipe.send_bytes((MORE if facts.get("more") else LAST) + data)

    def pick(self, name: str) -> Runnable:
        if name not in self.models:
            raise Fault("plan", f"no open model {name!r}; open: {sorted(self.models)}")
        return self.models[name]


def work(pipe: Pipe) -> NoReturn:
    """Runs in the child: serves the requests that the parent forwards, until the parent exits."""
    # A collection during a run would be timed; sessions leave no garbage.
    gc.disable()
    end_with_parent()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # so that the parent survives and reports it
    with contextlib.suppress(EOFError, OSError):
        Worker(pipe).serve()
    os._exit(0)


def open_models(worker: Worker, request: dict[str, Any]) -> None:
    """Loads every file and runs each model once, as some faults appear only then."""
    plan, paths, frames = request["plan"], request["models"], request.get("frames") or {}
    pin(plan["affinity"])
    loaded = {path: load(path, plan) for path in dict.fromkeys(paths.values())}
    require_inputs([session for session, _ in loaded.values()], plan["shapes"])
    fed = {path: fed_model(session, plan) for path, (session, _) in loaded.items()}
    worker.models = {
        name: FrameModel(fed[path], **frames[name]) if name in frames else fed[path]
        for name, path in paths.items()
    }
    models = worker.models.items()
    opened = {
        "first_ms": {name: time_runs(model.run, 1, 0.0)[0][0] for name, model in models},
        "load_ms": {name: loaded[path][1] for name, path in paths.items()},
        "inputs": {name: model.fed() for name, model in models},
    }
    worker.reply({"opened": opened})


def warm(worker: Worker, request: dict[str, Any]) -> None:
    runs = warm_up(worker.pick(request["model"]).run, request["warmup_s"])
    worker.last = request["model"]
    worker.reply({"warm": {"runs": runs}})


def time_blocks(worker: Worker, request: dict[str, Any]) -> None:
    """Times the blocks in order; replies after each, so that a lost connection loses only one."""
    stops = quota_stops()
    for block in request["blocks"]:
        name, model = block["model"], worker.pick(block["model"])
        if name != worker.last:
            model.run()
        worker.last = name
        if isinstance(model, FrameModel):
            model.parts_ms = []
        times_ms, cpu_share = time_runs(model.run, block["runs"], block["max_s"])
        timed = {"model": name, "times_ms": times_ms, "cpu_share": cpu_share}
        if isinstance(model, FrameModel):
            timed["parts_ms"] = model.median_parts_ms()
        worker.reply({"block": timed, "more": True})
    stopped = {"quota_stops": max(0, quota_stops() - stops)}
    worker.reply({"timed": dict(clock_and_heat(), peak_rss_bytes=peak_rss_bytes(), **stopped)})


def class_map(worker: Worker, request: dict[str, Any]) -> None:
    """Runs a shipped graph on one frame uint8 `[H, W, C]`; the map is deflated."""
    numpy = library("numpy")
    model, shape = worker.pick(request["model"]), request["shape"]
    if isinstance(model, FrameModel):
        raise Fault("plan", "a model that was opened for whole frames takes no single input")
    session = model.session
    node = session.get_inputs()[0]
    if node.type != "tensor(uint8)" or len(node.shape) != 4 or len(session.get_inputs()) > 1:
        text = f"the model takes {node.type} {node.shape}"
        raise Fault("plan", f"{text}; predicting needs one uint8 [1, H, W, C] input")
    frame = numpy.frombuffer(request["payload"], numpy.uint8)
    if not fits([1, *shape], node.shape) or frame.size != numpy.prod(shape):
        text = f"a frame must be uint8 of shape {node.shape[1:]}, got {shape}; resize it first"
        raise Fault("plan", text)
    try:
        found = session.run(None, {node.name: frame.reshape([1, *shape])})[0]
    except Exception as error:
        raise fault_of("model", "onnxruntime cannot run the model", error) from error
    if found.ndim != 3 or found.dtype != numpy.uint8:
        text = f"the model gives {found.dtype} {list(found.shape)}"
        raise Fault("plan", f"a class map is uint8 [1, H, W], {text}")
    pixels = numpy.ascontiguousarray(found[0])
    worker.reply({"map": {"shape": list(pixels.shape)}}, zlib.compress(pixels.tobytes(), 1))


def time_nodes(worker: Worker, request: dict[str, Any]) -> None:
    """Mean ms per run and provider of every node, by onnxruntime's profiler."""
    plan, runs = request["plan"], max(1, min(50, request["runs"]))
    pin(plan["affinity"])
    os.makedirs(cache(), mode=0o700, exist_ok=True)
    for left in glob.glob(os.path.join(cache(), "profile-*")):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="profile-", dir=cache()) as folder:
        session, _ = load(request["path"], plan, profile=os.path.join(folder, "run"))
        require_inputs([session], plan["shapes"])
        model = fed_model(session, plan)
        for _ in range(1 + runs):
            model.run()
        with open(session.end_profiling()) as file:
            events = json.load(file)
    worker.reply({"nodes": node_rows(events, runs)})


def node_rows(events: list[dict[str, Any]], runs: int) -> list[dict[str, Any]]:
    """One row per node, in the order of the first run, which is the warm-up and not counted.

    The mean is over the middle half: one interruption of 10 ms would look like a slow node.
    """
    kernels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            node = name[: -len("_kernel_time")], event["args"].get("node_index", "")
            kernels.setdefault(node, []).append(event)
    return [
        {
            "name": name[:200],
            "op": found[0]["args"].get("op_name", "")[:80],
            "provider": found[0]["args"].get("provider", "")[:80],
            "ms": middle_mean([each["dur"] for each in found], runs) / 1e3,
            "output": first_shape(found[0]["args"].get("output_type_shape") or []),
        }
        for (name, _), found in list(kernels.items())[:MAX_NODES]
    ]


def middle_mean(durations: list[int], runs: int) -> float:
    """Mean time of a node per run: a node inside a loop has several durations in each."""
    each = max(1, len(durations) // (1 + runs))
    counted = sorted(durations[each:] or durations)
    middle = counted[len(counted) // 4 : len(counted) - len(counted) // 4]
    return each * sum(middle) / len(middle)


def first_shape(outputs: list[dict[str, list[int]]]) -> list[int]:
    return next((shape for each in outputs for shape in each.values()), [])


WORK: dict[str, Callable[[Worker, dict[str, Any]], None]] = {
    "open": open_models,
    "warm": warm,
    "time": time_blocks,
    "run": class_map,
    "nodes": time_nodes,
}


def pin(cores: list[int] | None) -> None:
    if cores is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise Fault("machine", "this system cannot pin a process to a core; remove affinity")
    try:
        os.sched_setaffinity(0, cores)
    except (OSError, ValueError) as error:
        text = f"affinity must be among the cores {allowed_cores()}, got {cores}"
        raise Fault("machine", text) from error


def load(path: str, plan: dict[str, Any], profile: str = "") -> tuple[Any, float]:
    """A session of one model, and the ms it took to open."""
    runtime = library("onnxruntime")
    known = runtime.get_available_providers()
    missing = sorted(set(plan["providers"]) - set(known))
    if missing:
        raise Fault("machine", f"onnxruntime here has no {missing}; it has: {known}")
    if not os.path.isfile(path):
        raise Fault("machine", f"no file at {path}")
    options = session_options(plan["threads"])
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    start = time.perf_counter_ns()
    try:
        session = runtime.InferenceSession(path, options, providers=plan["providers"])
    except Exception as error:  # onnxruntime has a dozen exception classes without a base class
        raise fault_of("model", f"onnxruntime cannot load {path}", error) from error
    return session, (time.perf_counter_ns() - start) / 1e6


def session_options(threads: int) -> Any:
    """How models are opened: all graph optimizations, one operator after the other."""
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    return options


def session_settings() -> list[str]:
    """The settings of a session that a latency depends on; the threads are the plan's."""
    options = session_options(1)
    names = "execution_mode graph_optimization_level enable_cpu_mem_arena enable_mem_pattern"
    read = {name: getattr(options, name) for name in names.split()}
    return [f"{name}={getattr(value, 'name', value)}" for name, value in read.items()]


def fault_of(kind: str, what: str, error: Exception) -> Fault:
    text = " ".join(str(error).split())
    signs = ("bad_alloc", "Failed to allocate", "out of memory")
    memory = isinstance(error, MemoryError) or any(sign in text for sign in signs)
    return Fault("memory" if memory else kind, f"{what}: {text}")


def require_inputs(sessions: Sequence[Any], shapes: dict[str, Any]) -> None:
    """Raises Fault (plan) for a shape that is for no input of any of the models."""
    known = {node.name for session in sessions for node in session.get_inputs()}
    unknown = sorted(set(shapes) - known - {""})
    if unknown:
        raise Fault("plan", f"no model has an input {unknown}; there are: {sorted(known)}")
    if "" in shapes and not any(map(open_inputs, sessions)):
        raise Fault("plan", f"the shape {shapes['']} is for no input: all sizes are fixed")


def fed_model(session: Any, plan: dict[str, Any]) -> Model:
    """A session with seeded random arrays for every input; the plan's `shapes` fill open sizes."""
    numpy, shapes, inputs = library("numpy"), dict(plan["shapes"]), session.get_inputs()
    random, left = numpy.random.RandomState(0), open_inputs(session)
    if "" in shapes and len(left) > 1:
        text = f"the model leaves sizes of {left} open, got the shape {shapes['']} for one input"
        raise Fault("plan", f"{text}; name the input of each: NAME=SIZES")
    shapes.update({name: shapes[""] for name in left if "" in shapes})
    feeds = {
        each.name: random_array(numpy, random, each, fill(each.shape, shapes.get(each.name)))
        for each in inputs
    }
    return Model(session, feeds, {each.name: named_sizes(each.shape) for each in inputs})


def open_inputs(session: Any) -> list[str]:
    """The inputs of which a size is open."""
    return [each.name for each in session.get_inputs() if not all(map(fixed, each.shape))]


def fill(shape: list[Any], given: Sequence[int] | None = None) -> list[int]:
    """A shape with open sizes filled: as given, else batch 1, 3 channels, 224 elsewhere."""
    if given is not None:
        if not fits(given, shape):
            raise Fault("plan", f"shape {given} does not fit the model's {shape}")
        return list(given)
    last = len(shape) - 1
    channels = last if last >= 2 and shape[last] in (1, 3, 4) else 1
    defaults = [
        1 if at == 0 else 3 if at == channels and last == 3 else 224 for at in range(last + 1)
    ]
    return [own if fixed(own) else size for own, size in zip(shape, defaults)]  # noqa: B905


def fits(given: Sequence[int], shape: list[Any]) -> bool:
    pairs = zip(given, shape)  # noqa: B905
    return len(given) == len(shape) and all(size == own or not fixed(own) for size, own in pairs)


def fixed(size: Any) -> bool:
    return isinstance(size, int) and size >= 0


def named_sizes(shape: list[Any]) -> list[int | str]:
    """A shape whose open sizes are their names, or "?"."""
    return [own if fixed(own) else (isinstance(own, str) and own or "?")[:80] for own in shape]


def random_array(numpy: Any, random: Any, node: Any, shape: list[int]) -> Any:
    word = node.type[len("tensor(") : -1] if node.type.startswith("tensor(") else node.type
    try:
        dtype = numpy.dtype(DTYPES.get(word, word))
    except TypeError as error:
        raise Fault("input", f"cannot make input {node.name!r} of type {node.type}") from error
    if dtype.kind == "f":
        return random.random_sample(shape).astype(dtype)
    # Wide integers are mostly indices or lengths, where 0 and 1 are nearly always valid.
    top = 256 if dtype.itemsize == 1 and dtype.kind in "iu" else 2
    return random.randint(0, top, shape).astype(dtype)


def warm_up(run: Callable[[], None], warmup_s: float) -> int:
    """Runs until the medians of the last five and the five before agree; at most 3 x warmup_s."""
    clock = time.perf_counter_ns
    times: list[int] = []
    begin = clock()
    while True:
        start = clock()
        run()
        times.append(clock() - start)
        spent_s = (clock() - begin) / 1e9
        if spent_s >= warmup_s and (steady(times) or spent_s >= 3 * warmup_s):
            return len(times)


def steady(times: list[int]) -> bool:
    if len(times) < 10:
        return False
    old, new = sorted(times[-10:-5])[2], sorted(times[-5:])[2]
    return abs(new - old) <= MAX_WARM_CHANGE * old


def time_runs(run: Callable[[], None], runs: int, max_s: float) -> tuple[list[float], float]:
    """Milliseconds of each run, and the share of a core that this thread had.

    The share is below 1 where other processes had the core, or an accelerator computed.
    """
    clock = time.perf_counter_ns
    times: list[int] = []
    begin, cpu = clock(), time.thread_time_ns()
    end, latest = begin, begin + max_s * 1e9
    while not times or (len(times) < min(runs, MAX_RUNS) and end < latest):
        start = clock()
        run()
        end = clock()
        times.append(end - start)
    cpu_share = (time.thread_time_ns() - cpu) / (clock() - begin)
    return [round(ns / 1e6, 6) for ns in times], cpu_share


def peak_rss_bytes() -> int:
    # ru_maxrss survives exec: a child of a large process would report its parent's size.
    found = re.search(r"^VmHWM:\s*(\d+)", read_text("/proc/self/status"), re.M)
    if found:
        return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


if __name__ == "__main__":
    os.umask(0o077)
    if sys.argv[1:]:  # started anew by a runner, which has imported these
        for needed in ("numpy", "onnxruntime"):
            importlib.import_module(needed)
        work(multiprocessing.connection.Connection(int(sys.argv[1])))
    # Before numpy is imported: its threads would compete with the timed ones.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    # Output of native libraries would corrupt the replies: stdout becomes stderr for them.
    replies = os.dup(1)
    os.dup2(2, 1)
    Server(replies).serve()
