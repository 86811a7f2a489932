"""Energy of the processor by its RAPL counters (Intel, AMD), which Linux has under /sys/class/powercap."""

from __future__ import annotations

from pathlib import Path


class Rapl:
    """Counters of all CPU packages: of all programs together, without the rest of the board.

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
        return sum(self._spent_uj(zone, before[zone], now[zone]) for zone in now) / 1e6

    def _spent_uj(self, zone: str, before: int, now: int) -> int:
        """Counters wrap around at the end of their range: every few minutes under load, where it is small."""
        if now >= before:
            return now - before
        return now - before + int((self._root / zone / "max_energy_range_uj").read_text(encoding="ascii"))
