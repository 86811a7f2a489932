"""NVIDIA's hardware, as the system sees it without its driver: whether a missing driver or library is a problem here."""

from realtime.doctor.common.machine import Machine

_NVIDIA = "0x10de"
_DISPLAY_CLASSES = ("0x0300", "0x0302")
"""VGA and 3D controllers. Source: pci.ids."""

WSL_LIBRARY = "/usr/lib/wsl/lib/libcuda.so.1"


def seen(machine: Machine) -> str:
    """What kind of NVIDIA GPU the system sees, in a few words; "" for none."""
    if machine.is_jetson:
        return machine.board or "an NVIDIA Jetson"
    cards = _cards(machine)
    if cards:
        return f"an NVIDIA GPU (PCI {', '.join(cards)})"
    if machine.is_wsl and machine.at(WSL_LIBRARY).exists():
        return "an NVIDIA GPU (of Windows)"
    return ""


def _cards(machine: Machine) -> list[str]:
    """Their places on the bus, such as "0000:01:00.0"."""
    devices = sorted(machine.at("/sys/bus/pci/devices").glob("*"))
    folder = "/sys/bus/pci/devices"
    return [
        path.name
        for path in devices
        if machine.read(f"{folder}/{path.name}/vendor") == _NVIDIA
        and machine.read(f"{folder}/{path.name}/class").startswith(_DISPLAY_CLASSES)
    ]
