"""Real-time video segmentation. `python run.py` opens a webcam or plays a clip; `python run.py --help` lists the rest."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  # before anything that an older one cannot read
    here = ".".join(map(str, sys.version_info[:2]))
    sys.exit("error: this is Python " + here + ", and 3.10 or newer is required. On a Jetson: JetPack 6 or newer")

from realtime.cli import program

if __name__ == "__main__":
    program()
