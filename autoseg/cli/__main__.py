"""`python -m autoseg.cli` is `autoseg`."""

from __future__ import annotations

from autoseg.cli import main

main()
