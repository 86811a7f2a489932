"""Power and temperature while a benchmark runs: a Jetson through jtop or tegrastats, a desktop GPU through nvidia-smi.

    with PowerMeter() as meter:
        work()
    print(meter.reading() or meter.why_not)

What is measured is not the same everywhere, so the source stands in the reading: a Jetson's figure is the whole module's,
nvidia-smi's is the graphics card alone. Alone, `python benchmarks/power.py [SECONDS]` shows what this machine can tell.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

INTERVAL_MS = 200
_STOP_S = 2.0
_JTOP_SILENCE_S = 5.0

# Rails that carry everything the module takes, by board; where none is there, these parts of it are added up.
_INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
_PART_RAILS = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDD_GPU", "VDD_CPU_SOC_MSS")

# "VDD_IN 4654mW/4601mW" since JetPack 5, "POM_5V_IN 2345/2310" before; now / mean since it started.
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?=\s|$)")
_TEMPERATURE = re.compile(r"\b([A-Za-z][A-Za-z0-9_]*)@(-?\d+(?:\.\d+)?)C\b")
_GPU_LOAD = re.compile(r"\bGR3D_FREQ (\d+)%")
_NOT_SENSORS = frozenset({"PMIC"})  # Tegra's reports 50 or 100 C always
_COLDEST_C = -40.0  # a part that is switched off reports -256


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: power in W, the hottest sensor in degrees Celsius, GPU load in percent. None where it is not told."""

    power_w: float | None
    temperature_c: float | None
    gpu_percent: float | None = None
    rails: str = ""


@dataclass(frozen=True, slots=True)
class PowerReading:
    """What was drawn between enter and exit. samples: how many looks the figures rest on."""

    mean_w: float
    max_w: float
    max_temperature_c: float | None
    source: str
    samples: int


def parse_tegrastats(line: str) -> Sample | None:
    """One line of tegrastats, of any JetPack since 4; None when it tells neither power nor temperature."""
    rails_mw = {name: int(now) for name, now, _ in _RAIL.findall(line)}
    names: tuple[str, ...] = next(((rail,) for rail in _INPUT_RAILS if rail in rails_mw), ())
    names = names or tuple(rail for rail in _PART_RAILS if rail in rails_mw)
    power_w = sum(rails_mw[name] for name in names) / 1000 if names else None
    sensors = {name: float(value) for name, value in _TEMPERATURE.findall(line) if name not in _NOT_SENSORS}
    temperature_c = max((value for value in sensors.values() if value > _COLDEST_C), default=None)
    load = _GPU_LOAD.search(line)
    if power_w is None and temperature_c is None:
        return None
    return Sample(power_w, temperature_c, float(load[1]) if load else None, " + ".join(names))


def parse_nvidia_smi(line: str) -> Sample | None:
    """One CSV line of power.draw,temperature.gpu,utilization.gpu without units; None when no figure is in it."""
    power_w, temperature_c, load = (*(_number(cell) for cell in line.split(",")), None, None, None)[:3]
    return None if power_w is None and temperature_c is None else Sample(power_w, temperature_c, load, "GPU 0")


def _number(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:  # "[N/A]", "[Not Supported]"
        return None
    return value if value == value and abs(value) != float("inf") else None


def read_jtop(power: Mapping[str, Any], temperature: Mapping[str, Any], stats: Mapping[str, Any]) -> Sample:
    """One look at jtop's dictionaries: the board's total in mW, each sensor as {"temp": C, "online": bool}."""
    milliwatts = _number(power.get("tot", {}).get("power"))
    values = [_number(sensor.get("temp")) for sensor in temperature.values() if sensor.get("online", True)]
    hottest_c = max((value for value in values if value is not None and value > _COLDEST_C), default=None)
    return Sample(None if milliwatts is None else milliwatts / 1000, hottest_c, _number(stats.get("GPU")), "total")


class PowerMeter:
    """Samples on a thread from enter to exit. It never raises into what is measured: `why_not` says what is missing."""

    def __init__(self, interval_ms: int = INTERVAL_MS) -> None:
        self.why_not = "the meter has not run"
        self._interval_ms = interval_ms
        self._samples: list[Sample] = []
        self._source = ""
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)  # jtop cannot be woken

    def __enter__(self) -> PowerMeter:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        for stop in (subprocess.Popen.terminate, subprocess.Popen.kill):
            with self._lock:
                if self._process is not None:
                    stop(self._process)
            self._thread.join(_STOP_S / 2)

    def reading(self) -> PowerReading | None:
        """The figures so far, or None when no power was told; `why_not` then says why."""
        samples = list(self._samples)
        powers_w = [sample.power_w for sample in samples if sample.power_w is not None]
        if not powers_w:
            return None
        temperatures_c = [sample.temperature_c for sample in samples if sample.temperature_c is not None]
        rails = next((sample.rails for sample in samples if sample.rails), "")
        return PowerReading(
            mean_w=statistics.fmean(powers_w),
            max_w=max(powers_w),
            max_temperature_c=max(temperatures_c, default=None),
            source=f"{self._source} ({rails})" if rails else self._source,
            samples=len(powers_w),
        )

    def _run(self) -> None:
        reasons = []
        for name, look in (("jtop", self._jtop), ("tegrastats", self._tegrastats), ("nvidia-smi", self._nvidia_smi)):
            self._source = name
            try:
                for sample in look():
                    self._samples.append(sample)
                    if self._stopping.is_set():
                        return
                reasons.append(f"{name} told no power")
            except Exception as error:  # whatever a monitor does, the benchmark goes on
                reasons.append(f"{name}: {' '.join(str(error).split()) or type(error).__name__}")
            if self._stopping.is_set() or any(sample.power_w is not None for sample in self._samples):
                break
            self._samples.clear()
        self.why_not = "no power figure here (" + "; ".join(reasons) + ")"

    def _jtop(self) -> Iterator[Sample]:
        from jtop import jtop  # type: ignore[import-not-found, unused-ignore]

        with jtop(interval=self._interval_ms / 1000) as board:
            quiet_since_s = time.monotonic()
            while time.monotonic() - quiet_since_s < _JTOP_SILENCE_S and board.ok():
                sample = read_jtop(board.power, board.temperature, board.stats)
                if sample.power_w is not None:
                    quiet_since_s = time.monotonic()
                yield sample

    def _tegrastats(self) -> Iterator[Sample]:
        for line in self._lines("tegrastats", "--interval", str(self._interval_ms)):
            sample = parse_tegrastats(line)
            if sample is not None:
                yield sample

    def _nvidia_smi(self) -> Iterator[Sample]:
        query = "--query-gpu=power.draw,temperature.gpu,utilization.gpu"
        for line in self._lines("nvidia-smi", query, "--format=csv,noheader,nounits", "--id=0", f"--loop-ms={self._interval_ms}"):
            sample = parse_nvidia_smi(line)
            if sample is not None:
                yield sample

    def _lines(self, program: str, *arguments: str) -> Iterator[str]:
        """What the program prints until the meter stops. Raises OSError when it is not there or prints nothing but an error."""
        path = shutil.which(program)
        if path is None:
            raise FileNotFoundError("not installed")
        with self._lock:
            if self._stopping.is_set():
                return
            self._process = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        process, last = self._process, ""
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last = line.strip() or last
                yield line
            if not self._stopping.is_set() and process.wait() != 0:
                raise OSError(last or f"ended with {process.returncode}")
        finally:
            with self._lock:
                self._process = None
            process.terminate()
            try:
                process.wait(_STOP_S / 2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with PowerMeter() as meter, contextlib.suppress(KeyboardInterrupt):
        time.sleep(seconds)
    print(meter.reading() or meter.why_not)


if __name__ == "__main__":
    main()
