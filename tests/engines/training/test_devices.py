# ruff: noqa: E402
"""Device, precision and memory of a run, as far as they can be tested without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason='needs torch: pip install -e ".[train]"')

from engines.datasets.folder import open_set
from engines.training import TrainingError
from engines.training.checkpoint import new_net
from engines.training.devices import STATES, check_memory, free_bytes, half_type, open_device, step_bytes
from engines.training.recipe import Recipe, recipe_from_dict
from engines.training.train import train

Facts = Callable[..., dict[str, Any]]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def recipe(street_facts: Facts) -> Recipe:
    return recipe_from_dict(street_facts(), "street")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_an_existing_gpu_is_opened(two_gpus: None, name: str) -> None:
    assert str(open_device(name)) == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:²", "mps", ""])
def test_an_unknown_device_is_refused_with_the_list(two_gpus: None, name: str) -> None:
    with pytest.raises(TrainingError, match=f'no device "{name}". Known: cpu, cuda'):
        open_device(name)


def test_a_gpu_beyond_the_last_is_refused(two_gpus: None) -> None:
    with pytest.raises(TrainingError, match=r"device cuda:2: this machine has 2 GPU\(s\)\. Count from 0: the first is cuda:0"):
        open_device("cuda:2")


@pytest.mark.parametrize(
    ("built_with", "cure"), [(None, r"Install a CUDA build of PyTorch \(pytorch.org\)"), ("12.8", "Check nvidia-smi")]
)
def test_without_a_gpu_the_message_names_the_cure(monkeypatch: pytest.MonkeyPatch, built_with: str | None, cure: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_with)
    with pytest.raises(TrainingError, match=f"device cuda: PyTorch .* finds no GPU here. {cure}, or leave out --device"):
        open_device("cuda")
    assert open_device("cpu") == CPU


@pytest.mark.parametrize(("natively", "wanted"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_s_half_precision_is_the_one_it_computes_natively(
    monkeypatch: pytest.MonkeyPatch, natively: bool, wanted: Any
) -> None:
    """Before Ampere, PyTorch emulates bfloat16: it works, and is slower than float32."""

    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return natively or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert half_type(CUDA) is wanted


@pytest.mark.parametrize(
    ("flags", "wanted"), [("fpu avx512_bf16 amx_tile", torch.bfloat16), ("amx_bf16", torch.bfloat16), ("fpu avx2", None)]
)
def test_a_processor_s_half_precision_is_read_from_its_flags(tmp_path: Path, flags: str, wanted: Any) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags\t: {flags}\n")
    assert half_type(CPU, cpuinfo) is wanted
    cpuinfo.unlink()
    assert half_type(CPU, cpuinfo) is None, "not Linux"


def test_memory_grows_with_the_batch_and_the_crop(recipe: Recipe) -> None:
    def needed(**augmentation: Any) -> int:
        crops = msgspec.structs.replace(recipe.augmentation, **augmentation)
        return step_bytes(new_net(recipe), msgspec.structs.replace(recipe, augmentation=crops))

    def in_batches_of(batch: int) -> int:
        schedule = msgspec.structs.replace(recipe.schedule, batch=batch)
        return step_bytes(new_net(recipe), msgspec.structs.replace(recipe, schedule=schedule))

    assert in_batches_of(3) - in_batches_of(2) == in_batches_of(2) - in_batches_of(1)
    small, large, larger = (needed(crop_px=(width, 64)) for width in (96, 192, 288))
    # Each column costs the same, but for the mean over the image, and the states are the same for all.
    assert larger - large == pytest.approx(large - small, rel=0.01)
    assert large - small == pytest.approx(2 * (in_batches_of(2) - in_batches_of(1)), rel=0.02), "of two images"


def test_weights_are_counted_once_however_large_the_batch(recipe: Recipe) -> None:
    """The memory of a wide net on tiny crops is mostly weights."""
    wide = msgspec.structs.replace(
        recipe,
        net=msgspec.structs.replace(recipe.net, width=3.0),
        augmentation=msgspec.structs.replace(recipe.augmentation, crop_px=(32, 32)),
        schedule=msgspec.structs.replace(recipe.schedule, batch=10),
    )
    net = new_net(wide)
    weights = 4 * sum(parameter.numel() for parameter in net.parameters())
    assert STATES * weights < step_bytes(net, wide) < (STATES + 2) * weights


def test_measuring_the_memory_does_not_change_the_net(recipe: Recipe) -> None:
    net = new_net(recipe).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    step_bytes(net, recipe)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_too_little_memory_ends_a_run_before_the_first_step(recipe: Recipe, toy_set: Path, tmp_path: Path) -> None:
    huge = msgspec.structs.replace(recipe, schedule=msgspec.structs.replace(recipe.schedule, batch=10**9))
    message = r"batch 1000000000 at 96x64 needs about .* GiB, .* are free\. Lower schedule\.batch or augmentation\.crop_px"
    with pytest.raises(TrainingError, match=message):
        train(huge, [open_set(toy_set, recipe.sets[0])], tmp_path / "run")
    assert not (tmp_path / "run" / "last.pt").exists()


def test_unknown_free_memory_is_not_checked(recipe: Recipe) -> None:
    check_memory(new_net(recipe), recipe, None)
    with pytest.raises(TrainingError, match=r"0\.0 GiB are free"):
        check_memory(new_net(recipe), recipe, 1_000_000)


def test_free_memory_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (123, 456))
    assert free_bytes(CUDA) == 123
    meminfo = tmp_path / "meminfo"
    assert free_bytes(CPU, meminfo) is None, "not Linux"
    meminfo.write_text("MemTotal: 900 kB\nMemAvailable:    500 kB\n")
    assert free_bytes(CPU, meminfo) == 500 * 1024
    meminfo.write_text("")
    assert free_bytes(CPU, meminfo) is None
