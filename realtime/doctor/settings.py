"""Settings: whether the presets can be read."""

from collections.abc import Iterator

from realtime.doctor.common.finding import Finding, ok, problem
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import restored

RANK = 240


def check(machine: Machine) -> Iterator[Finding]:
    from engines.models.zoo import assets_dir
    from realtime.errors import SettingsError
    from realtime.settings import load_settings, preset_names

    folder = assets_dir() / "presets"
    names, fine = preset_names(folder), []
    for name in names:
        try:
            load_settings(folder, name, {})
        except SettingsError as error:
            yield problem(name, f"the preset cannot be read: {error.what}", restored(machine, f"presets/{name}.toml"))
        else:
            fine.append(name)
    if not names:
        yield problem("presets", f"{folder} holds none", restored(machine, "presets"))
    elif fine:
        yield ok("presets", f"{', '.join(fine)} can be read")
