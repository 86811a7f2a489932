"""Real-time video segmentation. `python run.py` opens a webcam or plays a clip; `python run.py --help` lists the rest."""

from realtime.cli import program

if __name__ == "__main__":
    program()
