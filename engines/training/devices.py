"""The device of a training run: its native half precision, and whether its memory is large enough."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.training import TrainingError
from engines.training.model import normalised
from engines.training.recipe import Recipe

STATES = 5
"""Copies of the weights in a run: weights, gradients, AdamW's two means, running mean."""
TRANSIENT = 1.5
"""Peak memory of an image relative to the tensors that autograd keeps: the loss and gradients of maps come on top. Measured with
`road` in float32 on a CPU, by the growth of the process: 44 MB per image, 29 of them kept."""
CPUINFO, MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")


def open_device(name: str) -> torch.device:
    """ "cpu", "cuda" or "cuda:1". Raises TrainingError for a device that this machine does not have."""
    if name == "cpu":
        return torch.device("cpu")
    if not (number := re.fullmatch(r"cuda(?::([0-9]+))?", name)):
        raise TrainingError(f'no device "{name}"', "Known: cpu, cuda (cuda:1 for the second GPU)")
    if not torch.cuda.is_available():
        cure = "Install a CUDA build of PyTorch (pytorch.org)" if torch.version.cuda is None else "Check nvidia-smi"
        raise TrainingError(f"device {name}: PyTorch {torch.__version__} finds no GPU here", f"{cure}, or leave out --device")
    if int(number[1] or 0) >= torch.cuda.device_count():
        what = f"device {name}: this machine has {torch.cuda.device_count()} GPU(s)"
        raise TrainingError(what, "Count from 0: the first is cuda:0")
    return torch.device(name)


def use_threads(count: int) -> None:
    """Set the number of CPU threads to compute on."""
    torch.set_num_threads(count)


def half_type(device: torch.device, cpuinfo: Path = CPUINFO) -> torch.dtype | None:
    """The half precision that `device` computes natively, for mixed precision; None without one."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    flags = cpuinfo.read_text(encoding="utf-8", errors="replace").split() if cpuinfo.is_file() else []
    return torch.bfloat16 if {"avx512_bf16", "amx_bf16"} & set(flags) else None


def check_memory(net: nn.Module, recipe: Recipe, free: int | None) -> None:
    """Raise TrainingError when a step needs more memory than `free` bytes; None is not checked. Images are loaded already."""
    needed = step_bytes(net, recipe)
    if free is not None and needed > free:
        step = f"a step with batch {recipe.schedule.batch} at {'x'.join(map(str, recipe.augmentation.crop_px))}"
        what = f"{step} needs about {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
        raise TrainingError(what, "Lower schedule.batch or augmentation.crop_px")


def step_bytes(net: nn.Module, recipe: Recipe) -> int:
    """Estimated memory of a step: the tensors that autograd keeps for one image, measured, times the batch, plus all weights."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    width, height = recipe.augmentation.crop_px
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()  # measuring must not change the norms' statistics
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = net(normalised(torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device)))
    net.train(was_training)
    for parameter in net.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)  # counted once, below
    weights = sum(parameter.numel() * 4 for parameter in net.parameters())
    of_image = sum(kept.values()) + sum(value.numel() * 4 for value in maps.values())
    return round(of_image * TRANSIENT) * recipe.schedule.batch + weights * STATES


def free_bytes(device: torch.device, meminfo: Path = MEMINFO) -> int | None:
    """Free memory of the device; None where it is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    for line in meminfo.read_text(encoding="utf-8").splitlines() if meminfo.is_file() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
