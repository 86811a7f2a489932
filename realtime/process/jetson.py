"""Facts about a Jetson: its Jetson Linux release, its JetPack, its power mode. All are read below `root`, which tests replace.

None of it needs root's rights. What cannot be read is "" or None, never a guess.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")

TIMEOUT_S = 5.0

JETPACKS = {
    "36.2.0": "6.0", "36.3.0": "6.0", "36.4.0": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1", "36.4.7": "6.2.1",
    "36.5.0": "6.2.2", "36.5.2": "6.2.3",
    "38.2.0": "7.0", "38.2.1": "7.0", "38.4.0": "7.1", "39.2.0": "7.2", "39.2.1": "7.2.1",
}  # fmt: skip
"""Release of Jetson Linux → JetPack, where the package nvidia-jetpack, which knows it, is not installed. Source: NVIDIA's JetPack
archive."""

JETPACK_GENERATIONS = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7", "39": "7"}
"""First number of a release → JetPack."""

# "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: ..."
_RELEASE = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)")
# "NV Power Mode: MAXN_SUPER", and its number on the next line; warnings may stand before it.
_MODE = re.compile(r"NV Power Mode:\s*(\S+)\s*\n\s*(\d+)\b")
# /var/lib/nvpmodel/status: "pmode:0002 fmode:quiet"
_STATUS = re.compile(r"\bpmode:(\d+)")
_DEFINITION = re.compile(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([^\s>]+)", re.MULTILINE)


class PowerMode(NamedTuple):
    """A mode of nvpmodel: the limits of clocks and cores that keep the board within a power budget."""

    number: int
    name: str
    """ "MAXN_SUPER"; the number as text where the configuration does not name it."""

    def __str__(self) -> str:
        return f"{self.name} ({self.number})"


def is_jetson(root: Path = ROOT) -> bool:
    """In a container, too, which sees neither the release nor the device tree, but the node of the GPU's memory."""
    named = f"{board(root)} {text_of(root / 'proc/device-tree/compatible')}".lower()
    return "jetson" in named or "nvidia,tegra" in named or (root / "dev/nvmap").exists() or bool(l4t_release(root))


def board(root: Path = ROOT) -> str:
    """ "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"; of any board with a device tree, else ""."""
    return text_of(root / "proc/device-tree/model").strip("\0\n ")


def l4t_release(root: Path = ROOT) -> str:
    """The release of Jetson Linux (L4T): "36.4.3"; "" where this is not a Jetson."""
    found = _RELEASE.search(text_of(root / "etc/nv_tegra_release"))
    if found is None:  # minimal images leave the file out
        return package_version("nvidia-l4t-core", root).partition("-")[0]
    numbers = f"{found[1]}.{found[2]}"
    return numbers if numbers.count(".") > 1 else f"{numbers}.0"


def jetpack(root: Path = ROOT) -> str:
    """The version of JetPack: "6.2.1"; "6" where only the generation is known; "" where this is not a Jetson."""
    release = l4t_release(root)
    if not release:
        return ""
    installed = package_version("nvidia-jetpack", root).partition("+")[0]
    return installed or JETPACKS.get(release, "") or JETPACK_GENERATIONS.get(release.partition(".")[0], "")


def power_mode(root: Path = ROOT) -> PowerMode | None:
    """The power mode that is set, as `nvpmodel -q` reports it, or else the files that it writes. None where there is none."""
    found = _MODE.search(_output(nvpmodel(root), "-q"))
    if found is not None:
        return PowerMode(int(found[2]), found[1])
    status = _STATUS.search(text_of(root / "var/lib/nvpmodel/status"))
    if status is None:
        return None
    names = dict(power_modes(root))
    return PowerMode(int(status[1]), names.get(int(status[1]), str(int(status[1]))))


def power_modes(root: Path = ROOT) -> tuple[PowerMode, ...]:
    """All power modes of this board, by number; () where there are none."""
    found = _DEFINITION.findall(text_of(root / "etc/nvpmodel.conf"))
    return tuple(sorted({PowerMode(int(number), name) for number, name in found}))


def nvpmodel(root: Path = ROOT) -> Path | None:
    """The program that shows and sets the power mode; None where there is none."""
    return next((path for folder in ("usr/sbin", "usr/bin") if (path := root / folder / "nvpmodel").is_file()), None)


def text_of(path: Path) -> str:
    """The content of a file of the system's; "" where it cannot be read, as of a sensor whose part is switched off."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def package_version(name: str, root: Path = ROOT) -> str:
    """Of an installed Debian package, held ones too; "" where it is not installed. name: a pattern."""
    for paragraph in text_of(root / "var/lib/dpkg/status").split("\n\n"):
        if re.match(rf"\n*Package: {name}\n", paragraph) and re.search(r"\nStatus: \w+ ok installed\n", paragraph):
            return paragraph.partition("\nVersion: ")[2].partition("\n")[0].strip()
    return ""


def _output(program: Path | None, *arguments: str) -> str:
    """What a program prints, errors too; "" where there is none, or it hangs."""
    if program is None:
        return ""
    words: Sequence[str] = [str(program), *arguments]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")
