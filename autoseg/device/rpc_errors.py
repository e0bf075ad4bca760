"""What can go wrong between us and a runner, below the public errors."""

from autoseg.core.errors import DeviceError


class ConnectionLost(Exception):
    """The connection or the runner ended; the text says how (exit status, last output)."""


class RunnerExited(ConnectionLost):
    """The runner ended by itself, over a connection that lived on."""


class NoHeartbeat(Exception):
    """No byte came for HEARTBEAT_TIMEOUT_S, not even a pong: the board hangs."""


class RpcTimeout(Exception):
    """Pongs came, but the reply did not come in time."""


class ProtocolError(Exception):
    """The reply is none of a runner: too long, no JSON, wrong fields."""


class Unreachable(DeviceError):
    """A machine that answered before no longer does, after a minute of retries."""


class NotRetryable(DeviceError):
    """Retrying would not help: another program or another machine answers."""


class DeviceBusy(DeviceError):
    """Another process holds the machine; the text names it."""
