"""NVIDIA's hardware, as the system sees it whatever drivers it has: whether a missing driver or library is a problem here."""

from pathlib import Path

from realtime.process.jetson import ROOT, board, is_jetson, text_of

_NVIDIA, _DISPLAY_CLASS = "0x10de", "0x03"
"""Of PCI devices: the maker, and how the classes of graphics cards begin (VGA, 3D). Source: pci.ids."""

WSL_LIBRARY = "usr/lib/wsl/lib/libcuda.so.1"
"""What Windows' driver of an NVIDIA GPU brings. /dev/dxg is there with any maker's GPU."""


def seen(root: Path = ROOT) -> str:
    """What kind of NVIDIA GPU the system sees, in a few words; "" for none."""
    if is_jetson(root):
        return board(root) or "an NVIDIA Jetson"
    cards = _cards(root)
    if cards:
        return f"an NVIDIA GPU (PCI {', '.join(cards)})"
    if (root / WSL_LIBRARY).exists():
        return "an NVIDIA GPU (of Windows)"
    if (root / "proc/driver/nvidia/version").exists():
        return "an NVIDIA GPU (its kernel module is loaded)"
    return ""


def _cards(root: Path) -> list[str]:
    """Their places on the bus, such as "0000:01:00.0"."""
    devices = sorted((root / "sys/bus/pci/devices").glob("*"))
    return [
        path.name
        for path in devices
        if text_of(path / "vendor").strip() == _NVIDIA and text_of(path / "class").startswith(_DISPLAY_CLASS)
    ]
