"""A fake PyCUDA 2026.1 with the rules of the real one's signatures and source. See fake_gpu.py."""

import sys as _sys

if "fakegpu" not in _sys.modules:
    import fake_gpu as _fake_gpu  # noqa: F401

VERSION = (2026, 1)
VERSION_STATUS = ""
VERSION_TEXT = "2026.1"
