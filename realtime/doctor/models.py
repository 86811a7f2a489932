"""Models: whether the files are those that their cards describe."""

import time
from collections.abc import Iterator

from realtime.doctor.common.finding import Finding, ok, problem, warning
from realtime.doctor.common.machine import Machine
from realtime.doctor.common.packages import restored

RANK = 230
LIMIT_S = 20.0

HASHING_S = 4.0
"""Time for reading the files; larger collections are for `run.py models verify`."""


def check(machine: Machine) -> Iterator[Finding]:
    from engines.models import zoo
    from engines.models.collection.folders import fault_of

    bundled = zoo.bundled_names()
    if not bundled:
        found = f"no model in {zoo.assets_dir()}: the program's own files are missing"
        yield problem("models", found, restored(machine, "models"))
    fine, late, until_s = [], [], time.monotonic() + HASHING_S
    for name in zoo.names():
        if time.monotonic() > until_s:
            late.append(name)
            continue
        machine.step(f"reading the model {name}")
        fault = fault_of(name)
        if not fault:
            fine.append(name)
        elif name in bundled:
            yield problem(name, fault, restored(machine, f"models/{name}"))
        elif fault.endswith("no sha256 to compare with"):
            fine.append(name)
        else:
            again = f"{machine.run} models remove {name} && {machine.run} models add FILE.onnx --name {name}"
            yield problem(name, fault, again)
    if fine:
        yield ok("models", f"{', '.join(fine)} match their cards")
    if late:
        yield warning("models", f"not read, for lack of time: {', '.join(late)}", f"{machine.run} models verify")
