"""Settings of the whole process, tested in one of its own, since they would stay in this one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PICTURES = """
import resource, sys
import numpy as np
if "prepared" in sys.argv:
    from realtime.process.tuning import prepare
    prepare()
if "run" in sys.argv:
    from realtime.app import Run
    from realtime.settings import Settings
    Run(Settings(), lambda: None, []).start()

def draw():
    parts = [np.ones((720, 1280, 3), np.float32) for _ in range(3)]
    return parts[0].nbytes

for _ in range(3):
    draw()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    draw()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments: str) -> int:
    run = subprocess.run([sys.executable, "-c", PICTURES, *arguments], capture_output=True, text=True, check=True, timeout=50)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is set up")
def test_memory_of_pictures_is_kept_for_the_next_ones() -> None:
    """20 times 33 MB: each page that the kernel zero-fills again is a fault."""
    plain, prepared, running = page_faults(), page_faults("prepared"), page_faults("run")
    assert plain > 100, "fewer, and larger ones, where the kernel gives pages of 2 MB"
    assert prepared < plain / 5
    assert running < plain / 5, "a Python program that starts a run, and prepares nothing"
