"""The GPU as the CUDA driver reports it, for checks that need no more. What is wrong with it, the check of the GPU says."""

from typing import TYPE_CHECKING

from realtime.doctor.common.machine import Machine

if TYPE_CHECKING:
    from engines.gpu.driver import GpuFacts


def gpu_facts(machine: Machine) -> "GpuFacts | None":
    """None without a driver, or a GPU that it can use."""
    from engines.errors import NoGpuError
    from engines.gpu.driver import Driver

    machine.step("starting the CUDA driver")
    try:
        return Driver().facts()
    except NoGpuError:
        return None
