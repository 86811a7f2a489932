"""Where training runs: the device, the precision it computes natively, and whether the run will fit into its memory."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.training.errors import TrainingError
from engines.training.model import normalised
from engines.training.recipe import Recipe

STATES = 5
"""Copies of the weights that a run keeps: they themselves, gradients, AdamW's two means, the averaged ones."""
TRANSIENT = 1.5
"""What an image takes at the most, relative to what is kept of it: the loss, and gradients of maps. Measured with `road` in
float32 on a CPU, by how the process grew: 44 MB an image, of which 29 are kept."""

CPUINFO = Path("/proc/cpuinfo")


def open_device(name: str) -> torch.device:
    """ "cpu", "cuda" or "cuda:1". Raises TrainingError where it is not there."""
    if name == "cpu":
        return torch.device("cpu")
    asked = re.fullmatch(r"cuda(?::([0-9]+))?", name)
    if asked is None:
        raise TrainingError(f'no device "{name}"; there are: cpu, cuda (cuda:1 for the second GPU)')
    if not torch.cuda.is_available():
        cure = "install a CUDA build of PyTorch (pytorch.org)" if torch.version.cuda is None else "check nvidia-smi"
        raise TrainingError(f"device {name}: PyTorch {torch.__version__} finds no GPU here; {cure}, or leave out --device")
    if int(asked[1] or 0) >= torch.cuda.device_count():
        raise TrainingError(f"device {name}: this machine has {torch.cuda.device_count()} GPU(s); the first is cuda:0")
    return torch.device(name)


def use_threads(count: int) -> None:
    """Compute on so many threads of the CPU."""
    torch.set_num_threads(count)


def half_type(device: torch.device) -> torch.dtype | None:
    """The half precision that `device` computes natively and training may use; None where there is none."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    flags = CPUINFO.read_text(encoding="utf-8", errors="replace").split() if CPUINFO.is_file() else []
    return torch.bfloat16 if {"avx512_bf16", "amx_bf16"} & set(flags) else None


def check_memory(net: nn.Module, recipe: Recipe, device: torch.device) -> None:
    """Raises TrainingError where `device` has less memory free than a step will need; the images are in memory already."""
    needed = step_bytes(net, recipe)
    free = free_bytes(device)
    if free is not None and needed > free:
        raise TrainingError(
            f"a step with batch {recipe.schedule.batch} at {'x'.join(map(str, recipe.augmentation.crop_px))} needs about "
            f"{needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free; lower schedule.batch or augmentation.crop_px"
        )


def step_bytes(net: nn.Module, recipe: Recipe) -> int:
    """About what a step needs: what autograd keeps for one image, measured, times the batch, and the states of the weights."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    width, height = recipe.augmentation.crop_px
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()  # so that looking does not move the norms' statistics
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = net(normalised(torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device)))
    net.train(was_training)
    for parameter in net.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)  # kept too, but once for all images
    weights = sum(parameter.numel() * 4 for parameter in net.parameters())
    of_image = sum(kept.values()) + sum(value.numel() * 4 for value in maps.values())
    return round(of_image * TRANSIENT) * recipe.schedule.batch + weights * STATES


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device; None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_ram(_lines(Path("/proc/meminfo")), os.name)


def available_ram(lines: Sequence[str], system: str) -> int | None:
    """MemAvailable of Linux's /proc/meminfo, in bytes; None elsewhere."""
    for line in lines:
        if line.startswith("MemAvailable:") and system == "posix":
            return int(line.split()[1]) * 1024
    return None


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
