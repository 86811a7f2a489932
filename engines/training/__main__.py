"""`python -m engines.training`: train, export and evaluate the project's own models.

On a machine that other programs use too, set OMP_WAIT_POLICY=PASSIVE before training on the CPU: threads that wait for each
other actively burn the very time that the one they wait for needs. With the machine to itself it is faster without.
"""

from __future__ import annotations

import sys

from engines.training.cli import main

if __name__ == "__main__":
    sys.exit(main())
