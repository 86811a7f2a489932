"""Prints what this machine reports of its power, temperature and GPU. `python benchmarks/power.py [SECONDS]`"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from realtime.bench.machine import Rapl
from realtime.bench.power import PowerMeter


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    rapl = Rapl()
    before = rapl.counters()
    with PowerMeter() as meter, contextlib.suppress(KeyboardInterrupt):
        time.sleep(seconds)
    print(meter.reading() or meter.why_not)
    print(meter.gpu() or "no GPU that reports its load here")
    joules = rapl.joules_since(before)
    print(f"CPU packages (RAPL): {joules / seconds:.1f} W" if joules is not None else rapl.why_not)


if __name__ == "__main__":
    main()
