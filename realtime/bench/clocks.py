"""Clocks, temperatures and throttling, as Linux reports them below `root`, which tests replace. Of a Jetson and of a PC.

Everything is readable without root's rights, except for a Jetson's memory clock (EMC) up to JetPack 6.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from realtime.process.jetson import ROOT, text_of

GPU_NAMES = ("gpu", "ga10b", "gv11b", "gp10b", "gm20b")
"""In names of /sys/class/devfreq: "17000000.gpu" (JetPack 6), "17000000.ga10b" (5), "gpu-gpc-0" (7)."""

EMC_NAMES = ("bwmgr", "emc")
EMC_FOLDER = "sys/kernel/debug/bpmp/debug/clk/emc"
"""Readable by root only. JetPack 7 has /sys/class/devfreq/bwmgr besides."""

THROTTLES = ("cpufreq", "thermal-cpufreq", "devfreq", "thermal-devfreq", "Processor")
"""How the types of cooling devices begin that lower clocks. Fans are cooling devices as well, and no sign of throttling."""

ALERT = "-alert"
"""How a Jetson's types end: "gpu-throttle-alert", "hot-surface-alert". Their state is above 0 while the hardware throttles."""

LOWERING_TRIPS = ("passive", "hot", "critical")
TRIP_LIMITS_C = (40.0, 130.0)
"""Firmware of PCs also reports trip points of 0 or -274."""

SENSIBLE_C = (-40.0, 150.0)
"""A part that is switched off reports -256."""

CPU_SENSORS = ("coretemp", "k10temp", "zenpower")
"""PCs' processors under /sys/class/hwmon."""

MOST_CORES = 14
"""To be looked at, evenly spread: some kernels take 10 ms for the clock of an idle one. No Jetson has more."""

OVER_CURRENT = "over-current"
HOT_PACKAGE = "CPU thermal throttling"


class Clock(NamedTuple):
    """In MHz. limit, least: the governor's range; None where it is not reported.

    Of a CPU the largest of each: its cores may differ, and which of them is the fastest changes from look to look.
    """

    now_mhz: float
    limit_mhz: float | None = None
    least_mhz: float | None = None

    @property
    def is_locked(self) -> bool:
        """Whether there is no range, as after `jetson_clocks`."""
        return self.limit_mhz is not None and self.limit_mhz == self.least_mhz


def clocks(root: Path = ROOT) -> dict[str, Clock]:
    """The clocks of "GPU" (a Jetson's), "EMC" (a Jetson's memory) and "CPU", as far as they can be read."""
    found = {"GPU": _devfreq(root, GPU_NAMES), "EMC": _devfreq(root, EMC_NAMES) or _debug_clock(root / EMC_FOLDER)}
    folders = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    cores = [_cpu(folder) for folder in folders[:: math.ceil(len(folders) / MOST_CORES) or 1]]
    found["CPU"] = _fastest([core for core in cores if core is not None])
    return {name: clock for name, clock in found.items() if clock is not None}


def temperatures(root: Path = ROOT) -> dict[str, float]:
    """Sensor → degrees Celsius: "gpu-thermal", "tj-thermal", "x86_pkg_temp", "k10temp"."""
    found = {text_of(zone / "type").strip(): _number(zone / "temp", 1000) for zone in _zones(root)}
    for monitor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = text_of(monitor / "name").strip()
        if name in CPU_SENSORS:
            found.setdefault(name, _number(monitor / "temp1_input", 1000))
    low_c, high_c = SENSIBLE_C
    return {name: value for name, value in found.items() if name and value is not None and low_c < value < high_c}


def throttling(root: Path = ROOT) -> tuple[str, ...]:
    """What lowers clocks at this moment because of heat: cooling devices that are active, trip points that are reached."""
    return (*_cooling(root), *_trips(root))


def reports_throttling(root: Path = ROOT) -> bool:
    """Whether this machine has anything that `throttling` and `throttle_counts` could read."""
    return bool(_coolers(root)) or any(_trip_points(zone) for zone in _zones(root)) or bool(throttle_counts(root))


def throttle_counts(root: Path = ROOT) -> dict[str, int]:
    """How often clocks have been lowered since the start: by a Jetson's over-current protection, by an Intel processor's heat."""
    cores = (root / "sys/devices/system/cpu").glob("cpu*/thermal_throttle/package_throttle_count")
    found = {OVER_CURRENT: _numbers((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")), HOT_PACKAGE: _numbers(cores)}
    # Every core of a package reports the package's count.
    return {name: int(max(counts) if name == HOT_PACKAGE else sum(counts)) for name, counts in found.items() if counts}


def _devfreq(root: Path, names: tuple[str, ...]) -> Clock | None:
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        if any(name in folder.name for name in names):
            clock = _clock(*(_number(folder / f"{kind}_freq", 1e6) for kind in ("cur", "max", "min")))
            if clock is not None:
                return clock
    return None


def _debug_clock(folder: Path) -> Clock | None:
    return _clock(*(_number(folder / name, 1e6) for name in ("rate", "max_rate", "min_rate")))


def _cpu(folder: Path) -> Clock | None:
    return _clock(*(_number(folder / f"scaling_{kind}_freq", 1e3) for kind in ("cur", "max", "min")))


def _fastest(cores: list[Clock]) -> Clock | None:
    known = [[value for value in values if value is not None] for values in zip(*cores, strict=True)]
    return _clock(*(max(values, default=None) for values in known)) if cores else None


def _clock(now_mhz: float | None, limit_mhz: float | None, least_mhz: float | None) -> Clock | None:
    return None if now_mhz is None else Clock(now_mhz, limit_mhz, least_mhz)


def _zones(root: Path) -> list[Path]:
    return sorted((root / "sys/class/thermal").glob("thermal_zone*"))


def _coolers(root: Path) -> list[tuple[str, float]]:
    """Type and state of every cooling device that lowers clocks."""
    devices = sorted((root / "sys/class/thermal").glob("cooling_device*"))
    found = [(text_of(device / "type").strip(), _number(device / "cur_state")) for device in devices]
    return [(kind, state) for kind, state in found if state is not None and (kind.startswith(THROTTLES) or kind.endswith(ALERT))]


def _cooling(root: Path) -> Iterator[str]:
    yield from dict.fromkeys(kind for kind, state in _coolers(root) if state > 0)


def _trips(root: Path) -> Iterator[str]:
    for zone in _zones(root):
        now_c = _number(zone / "temp", 1000)
        reached = [trip_c for trip_c in _trip_points(zone) if now_c is not None and now_c >= trip_c]
        if reached:
            yield f"{text_of(zone / 'type').strip()} above {max(reached):g} °C"


def _trip_points(zone: Path) -> list[float]:
    """The temperatures at which clocks are lowered, or the machine is switched off."""
    low_c, high_c = TRIP_LIMITS_C
    kinds = [path for path in sorted(zone.glob("trip_point_*_type")) if text_of(path).strip() in LOWERING_TRIPS]
    points = [_number(path.with_name(path.name.replace("_type", "_temp")), 1000) for path in kinds]
    return [point for point in points if point is not None and low_c < point < high_c]


def _numbers(paths: Iterable[Path]) -> list[float]:
    return [number for path in paths if (number := _number(path)) is not None]


def _number(path: Path, divisor: float = 1.0) -> float | None:
    """The first number in a file; None where there is none."""
    try:
        return float(text_of(path).split()[0]) / divisor
    except (ValueError, IndexError):
        return None
