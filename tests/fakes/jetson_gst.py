"""GStreamer as on a Jetson: programs that stand before the real ones on PATH, and put software where NVIDIA's elements are named.

The pipelines run as they are written, but for these elements; what they have no equal of, such as memory of the GPU, is left out.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

NEEDED = ("avdec_h264", "avdec_h265", "jpegdec", "openh264enc", "gdppay", "h264parse")

LAUNCH = """\
#!{python} -SE
import os, sys
words, codec = [], "avdec_h265 max-threads=1" if "h265parse" in sys.argv else "avdec_h264 max-threads=1"
swapped = dict(line.split("=", 1) for line in open({plan!r}).read().split("\\n") if line)
for word in sys.argv[1:]:
    if word == "nvv4l2decoder":
        words += swapped.get(word, "jpegdec" if "mjpeg=1" in sys.argv else codec).split()
    elif word == "nvv4l2h264enc":
        words += swapped.get(word, "videoconvert ! openh264enc gop-size=15 rate-control=bitrate bitrate=4000000").split()
    elif word == "nvvidconv":
        words += swapped.get(word, "videoconvert").split()
    else:
        words.append(word.replace("(memory:NVMM)", ""))
own = [at for at, word in enumerate(sys.argv) if word.startswith("nvv4l2")]
for at in own:  # their properties are not those of what replaces them
    for word in sys.argv[at + 1 : sys.argv.index("!", at)]:
        words.remove(word)
open({log!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
os.execv({launch!r}, [{launch!r}, *words])
"""

INSPECT = """\
#!/bin/sh
case "$*" in
    *{missing}*) exit 1 ;;
    *nvv4l2decoder*) echo "  disable-dpb         : no picture is held back"; exit 0 ;;
    *nvv4l2h264enc*) exit 0 ;;
    *nvvidconv*) exit 0 ;;
    "")
        {{ printf 'nv:  %s: of a Jetson\\n' nvv4l2decoder nvv4l2h264enc nvvidconv; {inspect}; }} | grep -v ':  {missing}: '
        exit 0 ;;
esac
exec {inspect} "$@"
"""


class JetsonGst:
    """`plan`: what stands for an element, by its name. `calls`: the pipelines as they were asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log, self._plan = folder, folder / "log", folder / "plan"
        self._log.touch()
        launch = shutil.which("gst-launch-1.0")
        self._write(
            "gst-launch-1.0", LAUNCH.format(python=sys.executable, launch=launch, log=str(self._log), plan=str(self._plan))
        )
        self._inspect = str(shutil.which("gst-inspect-1.0"))
        self.without("no-such-element")
        self.plan()

    def plan(self, **swapped: str) -> None:
        self._plan.write_text("".join(f"{name}={words}\n" for name, words in swapped.items()))

    def without(self, element: str) -> None:
        """As if it were not installed."""
        self._write("gst-inspect-1.0", INSPECT.format(inspect=self._inspect, missing=element))

    @property
    def calls(self) -> list[str]:
        return self._log.read_text().splitlines()

    def _write(self, name: str, text: str) -> None:
        program = self._folder / name
        program.write_text(text)
        program.chmod(0o755)


def jetson_gst(folder: Path, monkeypatch: pytest.MonkeyPatch) -> JetsonGst:
    """Put it first on PATH, of a Jetson. Skips where the elements are missing that do the work; .ci/run installs them."""
    import os

    from realtime.codecs import presence

    if lacking := presence.gstreamer_lacks(*NEEDED):
        pytest.skip(f"{lacking}: apt install gstreamer1.0-tools gstreamer1.0-plugins-base -good -bad gstreamer1.0-libav")
    gst = JetsonGst(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (folder / "etc").mkdir()
    (folder / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1\n")
    monkeypatch.setattr(presence, "ROOT", folder)
    presence.has_property.cache_clear()
    return gst
