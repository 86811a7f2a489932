"""The driver reports facts about the GPU, or why there is no usable one."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import InferenceError, NoGpuError
from engines.gpu.driver import INIT_ERRORS, Driver, _kernel_driver_version

from ...fakes.gpu.fake_gpu import World, install


def test_a_gpu_is_described() -> None:
    orin = World(12060, gpu_name="NVIDIA Orin", compute_capability=(8, 7), total_bytes=8 << 30)
    with install(orin):
        facts = Driver().facts()
    assert (facts.name, facts.compute_capability, facts.cuda_version) == ("NVIDIA Orin", "8.7", "12.6")
    assert facts.total_bytes == 8 << 30


@pytest.mark.parametrize(("is_integrated", "maps"), [(True, True), (True, False), (False, True)])
def test_memory_is_shared_where_the_gpu_has_none_of_its_own_and_maps_the_hosts(is_integrated: bool, maps: bool) -> None:
    with install(World(is_integrated=is_integrated, can_map_host_memory=maps)):
        assert Driver().facts().shares_memory == (is_integrated and maps)


def test_a_missing_driver_is_reported_with_the_cure() -> None:
    with install(World(has_driver=False)), pytest.raises(NoGpuError, match=r"no NVIDIA driver here .*ubuntu-drivers install"):
        Driver()


@pytest.mark.parametrize("code", sorted(INIT_ERRORS))
def test_a_driver_that_does_not_start_is_explained(code: int) -> None:
    with install(World(init_result=code)), pytest.raises(NoGpuError, match=r"^no usable GPU: ") as caught:
        Driver()
    what, cure = INIT_ERRORS[code]
    assert (caught.value.what, caught.value.cure) == (f"no usable GPU: {what}", cure)


def test_an_unknown_error_is_named() -> None:
    with install(World(init_result=201)), pytest.raises(NoGpuError, match=r"CUDA_ERROR_INVALID_CONTEXT, 201"):
        Driver()


@pytest.mark.parametrize(("version", "is_fine"), [(12010, False), (11080, False), (12020, True), (13020, True)])
def test_the_driver_must_read_the_shipped_ptx(version: int, is_fine: bool) -> None:
    with install(World(driver_version=version)):
        if is_fine:
            Driver()
        else:
            with pytest.raises(NoGpuError, match=r"driver is too old: it supports CUDA 1\d\.\d+, and 12\.2 is required\. Update"):
                Driver()


@pytest.mark.parametrize(("devices", "number"), [(1, 1), (2, 7), (1, -1)])
def test_an_unknown_gpu_number_is_refused(devices: int, number: int) -> None:
    with install(World(devices=devices)):
        driver = Driver()
        with pytest.raises(NoGpuError, match=f"there is no number {number}, only {devices} in all"):
            driver.facts(number)


def test_a_gpu_older_than_the_kernels_is_refused() -> None:
    with (
        install(World(gpu_name="Tesla V100", compute_capability=(7, 0))),
        pytest.raises(NoGpuError, match=r"Tesla V100 has compute capability 7\.0\. Use a GPU with 7\.5 \(Turing\)"),
    ):
        Driver().facts()


def test_the_context_is_retained_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.gpu.driver._kept", set())
    world = World()
    with install(world):
        for _ in range(3):
            Driver().keep_context(0)
    assert world.calls["cuDevicePrimaryCtxRetain"] == 1


def test_failed_work_is_an_inference_error_with_the_name() -> None:
    world = World()
    with install(world):
        driver = Driver()
        world.fail("cuStreamBeginCapture_v2", 1, 700)
        with pytest.raises(InferenceError, match=r"could not begin a CUDA graph \(CUDA_ERROR_ILLEGAL_ADDRESS, 700\)"):
            driver.capture(1, lambda: None)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:02:11 UTC 2025\nGCC version: 12", "580.65.06"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain@host)", "540.4.0"),
        ("", ""),
        ("no figures here", ""),
    ],
)
def test_the_version_of_the_kernel_driver_is_read(tmp_path: Path, text: str, version: str) -> None:
    path = tmp_path / "version"
    path.write_text(text)
    assert _kernel_driver_version(path) == version


def test_a_missing_version_file_is_an_empty_version(tmp_path: Path) -> None:
    assert _kernel_driver_version(tmp_path / "nothing") == ""
