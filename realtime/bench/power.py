"""Power, temperature and GPU load while a benchmark runs: a Jetson through jtop, tegrastats or its own files, a desktop GPU
through nvidia-smi.

    with PowerMeter() as meter:
        work()
    print(meter.reading() or meter.why_not)

What is measured depends on the machine, so the reading names its source: a Jetson's figure is of the whole module, nvidia-smi's
of the graphics card alone. `python benchmarks/power.py [SECONDS]` shows what this machine reports.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engines.system.unfinished import unfinished
from realtime.bench.samples import (
    SMI_QUERIES,
    SMI_UNKNOWN_FIELD,
    Sample,
    parse_nvidia_smi,
    parse_tegrastats,
    read_jtop,
    read_sysfs,
    throttles_of,
)

INTERVAL_MS = 200
_STOP_S = 2.0
_JTOP_SILENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class PowerReading:
    """Power between enter and exit. samples: the number of samples behind the figures."""

    mean_w: float
    max_w: float
    max_temperature_c: float | None
    source: str
    samples: int


@dataclass(frozen=True, slots=True)
class GpuReading:
    """GPU load between enter and exit. memory_mb: the card's peak memory in use by all programs; None where the GPU shares
    the machine's memory, or does not report it."""

    mean_percent: float | None
    memory_mb: float | None
    source: str
    samples: int


@dataclass(frozen=True, slots=True)
class StateReading:
    """Clocks in MHz by name, and the reasons for lower ones between enter and exit; None where they are not reported."""

    clocks_mhz: dict[str, tuple[float, ...]]
    throttles: tuple[str, ...] | None
    temperatures_c: tuple[float, ...]
    """Of a graphics card."""
    power_source: str = ""
    """Which power was measured, and through what; empty where none was."""


class PowerMeter:
    """Takes samples on a thread from enter to exit. Never raises into the measured work; `why_not` explains a missing reading."""

    def __init__(self, interval_ms: int = INTERVAL_MS, sys: Path = Path("/sys")) -> None:
        self.why_not = "the meter has not run"
        self._interval_ms, self._sys = interval_ms, sys
        self._samples: list[tuple[str, Sample]] = []  # with the monitor's name
        self._source = ""
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)  # jtop cannot be interrupted

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
        """The figures so far, or None when no power was reported, with the reason in `why_not`."""
        samples = [sample for name, sample in list(self._samples) if name == self._source]
        powers_w = [sample.power_w for sample in samples if sample.power_w is not None]
        if not powers_w or not any(powers_w):  # a sensor that reports 0 W is not connected
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

    def gpu(self) -> GpuReading | None:
        """The GPU's figures so far, or None when none were reported."""
        source = next((name for name, sample in list(self._samples) if _has_gpu(sample)), None)
        samples = [sample for name, sample in list(self._samples) if name == source and _has_gpu(sample)]
        if source is None or not samples:
            return None
        loads = [sample.gpu_percent for sample in samples if sample.gpu_percent is not None]
        memories_mb = [sample.gpu_memory_mb for sample in samples if sample.gpu_memory_mb is not None]
        mean_percent = statistics.fmean(loads) if loads else None
        return GpuReading(mean_percent, max(memories_mb, default=None), source, len(samples))

    def state(self) -> StateReading:
        """What the monitors have reported so far of clocks, throttling, and a graphics card's temperature."""
        samples = list(self._samples)
        names = dict.fromkeys(name for _, sample in samples for name in sample.clocks_mhz)
        clocks_mhz = {name: tuple(one.clocks_mhz[name] for _, one in samples if name in one.clocks_mhz) for name in names}
        bits = [sample.throttle_bits for _, sample in samples if sample.throttle_bits is not None]
        cards_c = tuple(one.temperature_c for name, one in samples if name == "nvidia-smi" and one.temperature_c is not None)
        reasons = tuple(dict.fromkeys(reason for one in bits for reason in throttles_of(one)))
        power = self.reading()
        return StateReading(clocks_mhz, reasons if bits else None, cards_c, power.source if power else "")

    def _run(self) -> None:
        reasons = []
        monitors: dict[str, Callable[[], Iterator[Sample]]] = {
            "jtop": self._jtop,
            "tegrastats": lambda: self._printed(parse_tegrastats, "tegrastats", "--interval", str(self._interval_ms)),
            "sysfs": self._sysfs,
            "nvidia-smi": self._nvidia_smi,
        }
        for name, read in monitors.items():
            self._source = name
            try:
                for sample in read():
                    self._samples.append((name, sample))
                    if self._stopping.is_set():
                        self.why_not = f"{name} reports no power"
                        return
                reasons.append(f"{name} reported no power{' in so short a time' if self._stopping.is_set() else ''}")
            except Exception as error:  # a monitor's error must not end the benchmark
                reasons.append(f"{name}: {' '.join(str(error).split()) or type(error).__name__}")
            if self._stopping.is_set() or any(sample.power_w is not None for _, sample in self._samples):
                break
        self.why_not = "no power figure here (" + "; ".join(reasons) + ")"

    def _jtop(self) -> Iterator[Sample]:
        from jtop import jtop  # type: ignore[import-not-found, unused-ignore]

        with jtop(interval=self._interval_ms / 1000) as board:
            quiet_since_s = time.monotonic()
            while time.monotonic() - quiet_since_s < _JTOP_SILENCE_S and board.ok():
                sample = read_jtop(board.power, board.temperature, board.stats, getattr(board, "memory", {}))
                if sample.power_w is not None:
                    quiet_since_s = time.monotonic()
                yield sample

    def _sysfs(self) -> Iterator[Sample]:
        while (sample := read_sysfs(self._sys)) is not None:
            yield sample
            if self._stopping.wait(self._interval_ms / 1000):
                return
        raise FileNotFoundError("no such files")

    def _nvidia_smi(self) -> Iterator[Sample]:
        """The samples of the first query that this driver knows."""
        how = ("--format=csv,noheader,nounits", "--id=0", f"--loop-ms={self._interval_ms}")
        for query in SMI_QUERIES:
            try:
                yield from self._printed(parse_nvidia_smi, "nvidia-smi", f"--query-gpu={query}", *how)
                return
            except OSError as error:
                if SMI_UNKNOWN_FIELD not in str(error):
                    raise

    def _printed(self, parse: Callable[[str], Sample | None], program: str, *arguments: str) -> Iterator[Sample]:
        """The samples in what the program prints until the meter stops. Raises OSError when it is not installed or fails."""
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
            with unfinished(process.kill):
                for line in process.stdout:
                    last = line.strip() or last
                    if (sample := parse(line)) is not None:
                        yield sample
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


def _has_gpu(sample: Sample) -> bool:
    return sample.gpu_percent is not None or sample.gpu_memory_mb is not None
