"""The error classes of autoseg.

Other exceptions are translated into them where they arise, and nowhere else.
"""

from __future__ import annotations


class AutosegError(Exception):
    """Anything that autoseg raises on purpose."""


class InputError(AutosegError):
    """A user's mistake: the message names the rule, the value and a solution."""


class DeviceError(AutosegError):
    """A machine's fault (lost board, missing runtime): the run stops and can be resumed."""


class CandidateError(AutosegError):
    """One candidate's fault (failed export, NaN loss): it is recorded, and the search goes on."""


class OutOfMemory(CandidateError):
    """A training did not fit into the memory that is left: its pool may make room for it."""
