"""The one tree of errors.

Foreign exceptions are translated into it at the seam where they arise, and nowhere else.
"""

from __future__ import annotations


class AutosegError(Exception):
    """Anything that autoseg raises on purpose."""


class InputError(AutosegError):
    """The user's: one message with the rule, the value and the way out."""


class DeviceError(AutosegError):
    """A machine's fault (board gone, runtime missing): the run stops, resumable."""


class CandidateError(AutosegError):
    """One candidate's fault (export fails, NaN loss): recorded as failed, the search goes on."""
