"""pycuda.driver: the part of the real one that the fake supports."""

from __future__ import annotations

import enum as _enum
from typing import Any as _Any

from fakegpu.world import current as _current

if not _current().has_driver:
    raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")

from pycuda._base import (
    Context,
    Device,
    Error,
    LaunchError,
    LogicError,
    MemoryError,
    RuntimeError,
    device_attribute,
    get_driver_version,
    get_version,
    init,
)
from pycuda._memory import (
    DeviceAllocation,
    PagelockedHostAllocation,
    PointerHolderBase,
    from_device,
    mem_alloc,
    mem_get_info,
    memcpy_dtod,
    memcpy_dtod_async,
    memcpy_dtoh,
    memcpy_dtoh_async,
    memcpy_htod,
    memcpy_htod_async,
    memset_d8,
    memset_d8_async,
    memset_d16_async,
    memset_d32,
    memset_d32_async,
    pagelocked_empty,
    pagelocked_empty_like,
    pagelocked_zeros,
    pagelocked_zeros_like,
    to_device,
)
from pycuda._modules import Function, Module, module_from_buffer
from pycuda._streams import Event, Stream, event_flags

HostAllocation = PagelockedHostAllocation


class host_alloc_flags:
    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


class ctx_flags(_enum.IntEnum):
    SCHED_AUTO = 0
    SCHED_SPIN = 1
    SCHED_YIELD = 2
    SCHED_BLOCKING_SYNC = 4
    MAP_HOST = 8


def mem_alloc_like(ary: _Any) -> DeviceAllocation:
    return mem_alloc(ary.nbytes)


__all__ = [
    "Context", "Device", "DeviceAllocation", "Error", "Event", "Function", "HostAllocation", "LaunchError", "LogicError",
    "MemoryError", "Module", "PagelockedHostAllocation", "PointerHolderBase", "RuntimeError", "Stream", "ctx_flags",
    "device_attribute", "event_flags", "from_device", "get_driver_version", "get_version", "host_alloc_flags", "init",
    "mem_alloc", "mem_alloc_like", "mem_get_info", "memcpy_dtod", "memcpy_dtod_async", "memcpy_dtoh", "memcpy_dtoh_async",
    "memcpy_htod", "memcpy_htod_async", "memset_d8", "memset_d8_async", "memset_d16_async", "memset_d32", "memset_d32_async",
    "module_from_buffer", "pagelocked_empty", "pagelocked_empty_like", "pagelocked_zeros", "pagelocked_zeros_like", "to_device",
]  # fmt: skip
