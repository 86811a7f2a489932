"""Fixtures of the rooms whose faults are injected here."""

from ..engines.plans.conftest import store

__all__ = ["store"]
