"""First build: how long building an engine takes here, from the builds of this machine."""

from collections.abc import Iterator

from realtime.doctor.common.driver import gpu_facts
from realtime.doctor.common.finding import Finding, absent, ok
from realtime.doctor.common.machine import Machine

RANK = 220
LIMIT_S = 20.0


def check(machine: Machine) -> Iterator[Finding]:
    from engines.plans.store import Store

    try:
        builds = [found.passport for found in Store().engines() if not found.passport.request.target]
    except OSError:
        builds = []  # the check of the engines says why
    facts = gpu_facts(machine)
    if facts is None:
        yield absent("build time", "no GPU here that an engine could be built for")
        return
    here = [passport for passport in builds if passport.environment.gpu_name == facts.name]
    if not here:
        yield ok("build time", f"unknown: no engine was built on this {facts.short_name} yet; run.py build shows its progress")
        return
    seconds = sorted(passport.build_seconds for passport in here)
    newest = max(here, key=lambda passport: passport.built_at)
    span = _duration(seconds[0]) if len(seconds) == 1 else f"{_duration(seconds[0])} to {_duration(seconds[-1])}"
    last = f"{newest.request.model_name}, {newest.request.precision}: {_duration(newest.build_seconds)}"
    yield ok("build time", f"{span} in {len(seconds)} build{'s' * (len(seconds) != 1)} on this GPU (the last, {last})")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(1, round(seconds))} s"
