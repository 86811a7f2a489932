"""Where `facts` was before `run.py bench` told them as well."""

from realtime.bench.machine import facts

__all__ = ["facts"]
