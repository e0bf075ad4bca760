"""The time that a user waits for begins with the process."""

import subprocess
import sys

PROGRAM = """
import time
time.sleep(0.3)
from autoseg.core.process import process_began_at
print(time.monotonic() - process_began_at())
"""


def test_process_began_at_counts_what_was_before_it():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert 0.3 <= float(done.stdout) < 100
