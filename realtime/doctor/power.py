"""Power: a Jetson's release and mode, a PC's governor and battery, and whether heat lowers the clocks."""

from collections.abc import Iterator

from realtime.bench import clocks
from realtime.doctor.common.finding import Finding, absent, ok, problem, warning
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import numbers
from realtime.process import jetson

RANK = 170

OLDEST_JETPACK = (6, 1)
"""The first with TensorRT 10.3."""

FASTEST = ("MAXN_SUPER", "MAXN")
"""Names of the modes without a power budget, the fastest first. Source: NVIDIA's Jetson Linux Developer Guide."""

OWN_SCALING = ("intel_pstate", "amd-pstate", "amd-pstate-epp")
"""Drivers whose governor "powersave" raises clocks on demand; with others it holds them at the lowest."""

CPU0, PROFILE = "/sys/devices/system/cpu/cpu0/cpufreq", "/sys/firmware/acpi/platform_profile"

PERFORMANCE = "powerprofilesctl set performance"


def check(machine: Machine) -> Iterator[Finding]:
    if machine.is_jetson:
        yield _release(machine)
        yield _mode(machine)
    else:
        yield from _pc(machine)
    reasons = clocks.throttling(machine.root)
    if reasons:
        cure = (
            "tegrastats  # shows temperatures: a fan, or a lower mode" if machine.is_jetson else "sensors  # shows temperatures"
        )
        yield warning("throttling", f"clocks are lowered now, because of heat: {', '.join(reasons)}", cure)
    if count := clocks.throttle_counts(machine.root).get(clocks.OVER_CURRENT, 0):
        found = f"clocks were lowered {count} times since the start, since the board drew too much current"
        yield warning("power supply", found, "sudo nvpmodel -q  # a stronger power supply, or a lower mode: sudo nvpmodel -m N")


def _release(machine: Machine) -> Finding:
    release, version = jetson.l4t_release(machine.root), jetson.jetpack(machine.root)
    if not release:
        return absent("jetpack", f"{machine.board}: its release is unknown in this container")
    text = f"{machine.board or 'a Jetson'}, JetPack {version or 'of unknown version'} (Jetson Linux {release})"
    known = numbers(version)  # (6,) where only the generation is known
    if known and known < OLDEST_JETPACK[: len(known)]:
        oldest = ".".join(map(str, OLDEST_JETPACK))
        return problem("jetpack", f"{text}: JetPack {oldest} or newer is required", "sdkmanager  # on a PC, to flash the board")
    return ok("jetpack", text)


def _mode(machine: Machine) -> Finding:
    mode, modes = jetson.power_mode(machine.root), jetson.power_modes(machine.root)
    if mode is None:
        return absent("power mode", "unknown: nvpmodel does not answer here", "sudo nvpmodel -q")
    fastest = next((each for name in FASTEST for each in modes if each.name == name), None)
    if fastest is not None and fastest.number != mode.number:
        found = f"{mode}: clocks and cores are limited; {fastest} is the fastest"
        return warning("power mode", found, f"sudo nvpmodel -m {fastest.number}  # may ask for a restart; needs a fan and power")
    gpu = clocks.clocks(machine.root).get("GPU")
    note = ""
    if gpu is not None:
        note = (
            ", the GPU at its highest clock" if gpu.is_locked else ", clocks on demand (sudo jetson_clocks: the highest at once)"
        )
    return ok("power mode", f"{mode}{note}")


def _pc(machine: Machine) -> Iterator[Finding]:
    faults = list(_slow(machine))
    yield from faults
    if not faults:
        is_told = any(machine.read(path) for path in (f"{CPU0}/scaling_governor", PROFILE))
        yield (
            ok("power", "nothing lowers the clocks") if is_told else absent("power", "this machine reports no settings of power")
        )


def _slow(machine: Machine) -> Iterator[Finding]:
    governor, driver = machine.read(f"{CPU0}/scaling_governor"), machine.read(f"{CPU0}/scaling_driver")
    if governor == "powersave" and driver not in OWN_SCALING:
        found = "the governor powersave holds the processor at its lowest clock"
        yield warning("governor", found, "sudo cpupower frequency-set -g performance  # or: schedutil")
    elif machine.read(f"{CPU0}/energy_performance_preference") == "power" or (machine.read(PROFILE) in ("low-power", "quiet")):
        yield warning("power profile", "set to save power: clocks rise late", PERFORMANCE)
    supplies = [path.name for path in sorted(machine.at("/sys/class/power_supply").glob("*"))]
    kinds = {name: machine.read(f"/sys/class/power_supply/{name}/type") for name in supplies}
    mains = [name for name, kind in kinds.items() if kind == "Mains"]
    is_off = mains and all(machine.read(f"/sys/class/power_supply/{name}/online") == "0" for name in mains)
    if is_off and "Battery" in kinds.values():
        yield warning("battery", "this machine runs on its battery, and may lower its clocks", f"{PERFORMANCE}  # or plug it in")
