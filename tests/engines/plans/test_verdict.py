"""The errors: one line each, with the differences and the command that helps."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engines.plans import verdict
from engines.plans.passport import BuildRequest, Environment

from .examples import ORIN, ROAD, RTX_3060, passport_of

AGAIN = ". Build it again: run.py build road (about 4 min)"


def other(**facts: Any) -> BuildRequest:
    return msgspec.structs.replace(ROAD, **facts)


def here(**facts: Any) -> Environment:
    return msgspec.structs.replace(RTX_3060, **facts)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (ORIN, "for NVIDIA GeForce RTX 3060 with TensorRT 10.3.0; this is Orin with TensorRT 10.3.0"),
        (here(runtime_version="10.13.3"), "with TensorRT 10.3.0; this machine has TensorRT 10.13.3"),
        (here(driver_version="580.65.06"), "with driver 560.35.03; this machine has driver 580.65.06"),
        (here(cuda_version="13.0"), "with CUDA 12.6; this machine has CUDA 13.0"),
        (here(compute_capability="8.9"), "with compute capability 8.6; this machine has compute capability 8.9"),
        (
            here(driver_version="580.65.06", cuda_version="13.0"),
            "with driver 560.35.03, CUDA 12.6; this machine has driver 580.65.06, CUDA 13.0",
        ),
        (here(driver_version=""), "for another machine; this is NVIDIA GeForce RTX 3060"),
    ],
)
def test_another_machine_is_described_by_the_differences(environment: Environment, sentence: str) -> None:
    assert str(verdict.outdated(passport_of(), ROAD, environment)) == f"the engine of road was built {sentence}{AGAIN}"


@pytest.mark.parametrize(
    ("request_now", "what"),
    [
        (other(onnx_sha256="c3" * 32), "model file"),
        (other(card_sha256="c3" * 32), "card"),
        (other(onnx_sha256="c3" * 32, card_sha256="c3" * 32), "model file and card"),
    ],
)
def test_a_changed_model_is_reported(request_now: BuildRequest, what: str) -> None:
    error = verdict.outdated(passport_of(), request_now, RTX_3060)
    assert str(error) == f"the {what} of road changed since its engine was built{AGAIN}"


def test_a_changed_model_on_another_machine_is_reported_in_the_same_error() -> None:
    assert str(verdict.outdated(passport_of(), other(onnx_sha256="c3" * 32), ORIN)) == (
        "the engine of road was built for NVIDIA GeForce RTX 3060 with TensorRT 10.3.0; this is Orin with TensorRT 10.3.0, "
        f"and the model file changed{AGAIN}"
    )


def test_without_any_engine_no_time_is_guessed() -> None:
    error = verdict.missing(ROAD, RTX_3060, [])
    assert (error.what, error.cure) == ("no engine for road (fp16, 384x640) yet", "Build it: run.py build road")


@pytest.mark.parametrize(
    ("asked", "only", "options"),
    [
        (other(precision="bf16"), "fp16", " --precision bf16"),
        (other(size_px=(1280, 736)), "384x640", ""),
        (other(batch=4), "single images", " --batch 4"),
        (other(runtime="tensorrt-rtx"), "TensorRT", " --runtime tensorrt-rtx"),
        (other(target="86"), "this machine's GPU", " --target 86"),
        (other(dla_core=1), "the GPU", " --dla 1"),
        (other(precision="fp32", batch=2), "fp16, single images", " --precision fp32 --batch 2"),
    ],
)
def test_an_engine_for_another_request_is_named(asked: BuildRequest, only: str, options: str) -> None:
    wanted = f"{asked.precision}, {asked.size_px[1]}x{asked.size_px[0]}"  # as in --size
    wanted += f", {asked.batch} images at a time" if asked.batch > 1 else ""
    error = verdict.missing(asked, RTX_3060, [passport_of()])
    assert error.what == f"no engine for road ({wanted}) yet, only one for {only}"
    assert error.cure == f"Build it: run.py build road{options} (about 4 min)"


@pytest.mark.parametrize(
    ("built", "only"),
    [
        (other(batch=4), "batches of 4"),
        (other(target="120"), "compute capability 12.0"),
        (other(dla_core=0), "DLA core 0"),
        (other(runtime="tensorrt-rtx"), "TensorRT-RTX"),
    ],
)
def test_the_purpose_of_the_other_engine_is_named(built: BuildRequest, only: str) -> None:
    assert verdict.missing(ROAD, RTX_3060, [passport_of(request=built)]).what.endswith(f"only one for {only}")


def test_the_request_is_compared_with_the_nearest_engine() -> None:
    far = passport_of(environment=ORIN)
    near = passport_of(environment=here(driver_version="550.1"))
    other_precision = passport_of(request=other(precision="fp32"))
    for siblings in ([far, near, other_precision], [other_precision, near, far]):
        assert "driver 550.1" in verdict.missing(ROAD, RTX_3060, siblings).what
    also_small = passport_of(request=other(precision="fp32", size_px=(320, 192)))
    assert verdict.missing(ROAD, RTX_3060, [also_small, other_precision]).what.endswith("only one for fp32")


def test_the_time_is_that_of_the_last_build() -> None:
    old = passport_of(request=other(precision="fp32"), build_seconds=600.0, built_at="2026-01-01T00:00:00+00:00")
    new = passport_of(request=other(precision="bf16"), build_seconds=29.6, built_at="2026-10-01T00:00:00+00:00")
    for siblings in ([old, new], [new, old]):
        assert verdict.missing(ROAD, RTX_3060, siblings).cure.endswith("run.py build road (about 30 s)")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "about 1 s"), (89.0, "about 89 s"), (90.0, "about 2 min"), (3600.0, "about 60 min")]
)
def test_times_are_rounded(seconds: float, words: str) -> None:
    assert verdict.how_to_build(ROAD, [passport_of(build_seconds=seconds)]) == f"run.py build road ({words})"


def test_a_broken_engine_is_reported_with_the_cure() -> None:
    assert str(verdict.broken(passport_of(), "is an empty file")) == f"the engine of road is an empty file{AGAIN}"


def test_a_name_with_line_breaks_stays_on_one_line() -> None:
    request = other(model_name="ro\nad\r\n\tx")
    strange = passport_of(request=request, environment=here(gpu_name="GPU\nX"))
    for error in (
        verdict.missing(request, ORIN, [strange]),
        verdict.missing(request, ORIN, []),
        verdict.broken(strange, "is an empty file"),
        verdict.outdated(strange, other(model_name=request.model_name, card_sha256="c3" * 32), strange.environment),
    ):
        assert "ro ad x" in error.what
        assert len(str(error).splitlines()) == 1


def test_the_cure_builds_exactly_what_was_requested() -> None:
    """A file by its path, another size by its option: otherwise the same error would follow the build."""
    asked = other(size_px=(512, 256))
    error = verdict.missing(asked, RTX_3060, [], typed="mine/y.onnx --size 256x512")
    assert error.cure == "Build it: run.py build mine/y.onnx --size 256x512"
    error = verdict.outdated(passport_of(), ROAD, here(driver_version="1"), typed="mine/y.onnx")
    assert "run.py build mine/y.onnx (about" in error.cure
