"""Real-time video segmentation. `python run.py` opens a webcam or plays a clip; `python run.py --help` lists the rest."""

import sys

from realtime.cli import main

if __name__ == "__main__":
    sys.exit(main())
