"""Facts that results depend on (machine, versions, commit, date), and gauges: memory, CPU time, the processor's energy.

On other systems than Linux the gauges are None.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from engines.building.watch import resident_bytes
from realtime.process import jetson
from realtime.process.version import installed

PACKAGES = ("numpy", "opencv-python", "av", "scipy", "onnxruntime", "openvino", "PyQt6", "pycuda", "tensorrt", "tensorrt-rtx")

VECTORS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""The processor flags that matter for the speed of networks."""

TIMEOUT_S = 5.0

BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)
"""Columns of a line of /proc/stat: user, nice, system, irq, softirq, steal. Source: proc_stat(5)."""

SLOPE_SAMPLES = 200


def facts() -> dict[str, str]:
    """Machine, versions and commit, as one flat table for a benchmark's file."""
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        **hardware(),
        "load before": f"{os.getloadavg()[0]:.2f}",
        **versions(),
    }


def hardware(root: Path = jetson.ROOT) -> dict[str, str]:
    """Processor, cores, memory, and board, GPU, a Jetson's release and power mode where there are any."""
    release, mode = jetson.l4t_release(root), jetson.power_mode(root)
    version = jetson.jetpack(root)
    found = {
        "processor": _processor(),
        "cores": str(len(usable_cores())),
        "memory": _memory(),
        "board": jetson.board(root),
        "jetson linux": f"{release} (JetPack {version})" if version else release,
        "power mode": str(mode) if mode else "",
        "gpu": _nvidia_gpus(),
    }
    return {name: text for name, text in found.items() if text}


def versions() -> dict[str, str]:
    """Python, the system, and the installed ones of `PACKAGES`."""
    system = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    return {**system, **installed(PACKAGES)}


def commit() -> str:
    """The checkout's, with "-dirty" where files differ from it; "unknown" for an installed package."""
    folder = Path(__file__).parents[2]
    return _output("git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*") or "unknown"


def _nvidia_gpus() -> str:
    lines = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()
    return "; ".join(line.strip() for line in lines if "," in line)


def _output(program: str, *arguments: str) -> str:
    """The output of a program; "" where it is not installed, fails or hangs."""
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, *arguments], capture_output=True, check=False, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def _memory() -> str:
    try:
        total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{total_bytes / 2**30:.0f} GiB"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
        pairs = [line.split(":", 1) for line in text.splitlines() if ":" in line]
        facts = {key.strip(): value.strip() for key, value in pairs}
        flags = f"{facts.get('flags', '')} {facts.get('Features', '')}".split()
        wide = [flag for flag in VECTORS if flag in flags]
        name = facts.get("model name", "")
        return f"{name} ({', '.join(wide)})" if name and wide else name or platform.machine()
    return platform.processor() or platform.machine()


def rss_mb() -> float | None:
    """Resident memory of this process in megabytes."""
    return resident_bytes(os.getpid()) / 1e6 or None


def usable_cores() -> frozenset[int]:
    """The numbers of the cores that this process may use, which a container or `taskset` may limit."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def machine_cpu_s(stat: Path = Path("/proc/stat")) -> float | None:
    """CPU seconds of all programs on the `usable_cores` since the machine started, in steps of a hundredth."""
    names = {f"cpu{number}" for number in usable_cores()}
    try:
        lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        ticks = [[int(words[column + 1]) for column in BUSY_COLUMNS] for words in lines if words[0] in names]
        return sum(map(sum, ticks)) / os.sysconf("SC_CLK_TCK") if ticks else None
    except (OSError, ValueError, IndexError):
        return None


def slope_per_minute(times_s: Sequence[float], values: Sequence[float]) -> float | None:
    """The rise of values per minute: the median slope over all pairs of samples; None for fewer than 3 samples.

    Memory rises in steps, when a pool or a cache grows: one step tilts a least-squares line, but not this one. At most
    `SLOPE_SAMPLES` are used, evenly spread. Source: Theil (1950), Sen (1968).
    """
    if len(times_s) < 3 or times_s[-1] <= times_s[0]:
        return None
    used = np.unique(np.linspace(0, len(times_s) - 1, SLOPE_SAMPLES).astype(int))
    at_s, value = np.asarray(times_s)[used], np.asarray(values)[used]
    first, second = np.triu_indices(len(used), 1)
    passed_s = at_s[second] - at_s[first]
    differs = passed_s > 0
    return float(np.median((value[second] - value[first])[differs] / passed_s[differs]) * 60)


class Rapl:
    """Energy counters of the processor (Intel, AMD) under /sys/class/powercap: of all programs, without the rest of the board.

    why_not: why the last reading failed; "" after a successful one.
    """

    def __init__(self, root: Path = Path("/sys/class/powercap")) -> None:
        self.why_not = ""
        self._root = root

    def counters(self) -> dict[str, int]:
        """Zone → microjoules since some moment, of every package; {} where nothing can be read, with the reason in `why_not`."""
        found = {}
        try:
            # Top-level zones alone ("intel-rapl:0"): "intel-rapl:0:0" is a part of its package.
            for zone in sorted(self._root.glob("*-rapl:[0-9]*")):
                if zone.name.count(":") == 1 and (zone / "name").read_text(encoding="ascii").startswith("package"):
                    found[zone.name] = int((zone / "energy_uj").read_text(encoding="ascii"))
        except PermissionError:  # since 2020 (Platypus, CVE-2020-8694)
            self.why_not = f"{self._root}: readable by root only; sudo chmod -R a+r {self._root} allows it until the next start"
            return {}
        except (OSError, ValueError) as error:
            self.why_not = f"{self._root}: {error}"
            return {}
        self.why_not = "" if found else f"{self._root} has no counter of a CPU package"
        return found

    def joules_since(self, before: dict[str, int]) -> float | None:
        """The energy of all packages since `counters` returned `before`; None where nothing can be read."""
        now = self.counters()
        if not before or before.keys() != now.keys():
            return None
        spent_uj = sum(self._spent_uj(zone, before[zone], now[zone]) for zone in now)
        if not spent_uj:  # as in a virtual machine
            self.why_not = f"{self._root}: the counters do not move"
        return spent_uj / 1e6 or None

    def _spent_uj(self, zone: str, before: int, now: int) -> int:
        """Counters wrap around at the end of their range: every few minutes under load, where it is small."""
        if now >= before:
            return now - before
        return now - before + int((self._root / zone / "max_energy_range_uj").read_text(encoding="ascii"))
