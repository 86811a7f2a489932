"""Reads power, temperature and GPU load as reported by tegrastats, jtop, nvidia-smi and a Jetson's own files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Rails of the whole module, by board; where there is none, these parts are added up.
_INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
_PART_RAILS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDD_GPU", "VDD_CPU_SOC_MSS")

# "VDD_IN 4654mW/4601mW" since JetPack 5, "POM_5V_IN 2345/2310" before; now / mean since it started.
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?=\s|$)")
_TEMPERATURE = re.compile(r"\b([A-Za-z][A-Za-z0-9_]*)@(-?\d+(?:\.\d+)?)C\b")
_GPU_LOAD = re.compile(r"\bGR3D_FREQ (\d+)%")
# "GR3D_FREQ 83%@[624,618]", one for each part of the GPU; "EMC_FREQ 11%@2133", without the clock where only root may know it.
_GPU_CLOCKS = re.compile(r"\bGR3D_FREQ \d+%@\[?(\d+(?:,\d+)*)")
_EMC_CLOCK = re.compile(r"\bEMC_FREQ \d+%@(\d+)")
_BITS = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
_NOT_SENSORS = frozenset({"PMIC"})  # Tegra's reports 50 or 100 C always
_COLDEST_C = -40.0  # a part that is switched off reports -256

_GPU_LOADS = ("devices/gpu.0/load", "devices/platform/gpu.0/load", "devices/platform/bus@0/17000000.gpu/load")
"""Files with a Jetson's GPU load, in thousandths, under /sys; by JetPack."""


SMI_FIELDS = "power.draw,temperature.gpu,utilization.gpu,memory.used"
SMI_QUERIES = (
    f"{SMI_FIELDS},clocks.sm,clocks.mem,clocks_event_reasons.active",
    f"{SMI_FIELDS},clocks.sm,clocks.mem,clocks_throttle_reasons.active",
    SMI_FIELDS,
)
"""What to ask nvidia-smi for, the best first. Older drivers have another name for the reasons; an unknown one fails the query."""

SMI_UNKNOWN_FIELD = "not a valid field"

THROTTLE_BITS = {
    0x04: "the GPU's power limit",
    0x08: "the GPU's hardware slowdown",
    0x20: "the GPU's temperature",
    0x40: "the GPU's temperature (hardware)",
    0x80: "the GPU's power brake",
}
"""Bits of the reasons for lower clocks; the others (idle, clocks that were set) are no throttling. Source: nvml.h."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Power in W, the hottest sensor in degrees Celsius, GPU load in per cent, the graphics card's memory in MB used by
    all programs, clocks in MHz by name, `THROTTLE_BITS`. None where not reported."""

    power_w: float | None
    temperature_c: float | None
    gpu_percent: float | None = None
    rails: str = ""
    gpu_memory_mb: float | None = None
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    throttle_bits: int | None = None


def parse_tegrastats(line: str) -> Sample | None:
    """One line of tegrastats, of any JetPack since 4; None when it has neither power nor temperature."""
    power_w, rails = _of_rails({name: float(now) for name, now, _ in _RAIL.findall(line)})
    sensors = {name: float(value) for name, value in _TEMPERATURE.findall(line) if name not in _NOT_SENSORS}
    temperature_c = max((value for value in sensors.values() if value > _COLDEST_C), default=None)
    load = _GPU_LOAD.search(line)
    if power_w is None and temperature_c is None:
        return None
    gpu, emc = _GPU_CLOCKS.search(line), _EMC_CLOCK.search(line)
    clocks_mhz = {"GPU": max(map(float, gpu[1].split(","))) if gpu else 0.0, "EMC": float(emc[1]) if emc else 0.0}
    running_mhz = {name: mhz for name, mhz in clocks_mhz.items() if mhz}
    return Sample(power_w, temperature_c, float(load[1]) if load else None, rails, clocks_mhz=running_mhz)


def parse_nvidia_smi(line: str) -> Sample | None:
    """One CSV line of `SMI_QUERIES` without units; None when it has no figure."""
    texts = [cell.strip() for cell in line.split(",")] + [""] * 7
    power_w, temperature_c, load, memory_mib, clock_mhz, memory_mhz = (_number(text) for text in texts[:6])
    if power_w is None and temperature_c is None and load is None and memory_mib is None:
        return None
    return Sample(
        power_w,
        temperature_c,
        load,
        "GPU 0",
        None if memory_mib is None else memory_mib * 2**20 / 1e6,
        {name: mhz for name, mhz in (("GPU", clock_mhz), ("GPU memory", memory_mhz)) if mhz is not None},
        int(texts[6], 16) if _BITS.fullmatch(texts[6]) else None,
    )


def throttles_of(bits: int) -> tuple[str, ...]:
    """`THROTTLE_BITS` in words."""
    return tuple(reason for bit, reason in THROTTLE_BITS.items() if bits & bit)


def read_jtop(
    power: Mapping[str, Any], temperature: Mapping[str, Any], stats: Mapping[str, Any], memory: Mapping[str, Any]
) -> Sample:
    """jtop's dictionaries: the board's total in mW, each sensor as {"temp": C, "online": bool}, the memory's clock in kHz."""
    milliwatts = _number(power.get("tot", {}).get("power"))
    values = [_number(sensor.get("temp")) for sensor in temperature.values() if sensor.get("online", True)]
    hottest_c = max((value for value in values if value is not None and value > _COLDEST_C), default=None)
    emc_khz = _number(memory.get("EMC", {}).get("cur"))
    clocks_mhz = {} if emc_khz is None else {"EMC": emc_khz / 1000}
    power_w = None if milliwatts is None else milliwatts / 1000
    return Sample(power_w, hottest_c, _number(stats.get("GPU")), "total", clocks_mhz=clocks_mhz)


def read_sysfs(sys: Path) -> Sample | None:
    """A Jetson's own files below `sys` ("/sys"): its INA3221 power monitor, and its GPU's load. None where there are none."""
    rails_mw: dict[str, float] = {}
    for monitor in sorted((sys / "class/hwmon").glob("hwmon*")):
        if _text(monitor / "name") != "ina3221":
            continue
        for label in sorted(monitor.glob("in*_label")):
            channel = label.name.removeprefix("in").removesuffix("_label")
            millivolts, milliamperes = (_number(_text(monitor / f"{kind}{channel}_input")) for kind in ("in", "curr"))
            if millivolts is not None and milliamperes is not None:
                rails_mw[_text(label)] = millivolts * milliamperes / 1000
    power_w, rails = _of_rails(rails_mw)
    loads = [_number(_text(sys / path)) for path in _GPU_LOADS]
    load = next((value / 10 for value in loads if value is not None), None)
    return None if power_w is None and load is None else Sample(power_w, None, load, rails)


def _of_rails(rails_mw: Mapping[str, float]) -> tuple[float | None, str]:
    """The power of the whole module in W, and the rails it was measured at."""
    names: tuple[str, ...] = next(((rail,) for rail in _INPUT_RAILS if rail in rails_mw), ())
    names = names or tuple(rail for rail in _PART_RAILS if rail in rails_mw)
    return (sum(rails_mw[name] for name in names) / 1000 if names else None), " + ".join(names)


def _text(path: Path) -> str:
    """The content of a file of the kernel's; "" where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:  # "[N/A]", "[Not Supported]"
        return None
    return value if value == value and abs(value) != float("inf") else None
