"""From a model and a machine to what is looked up: which engine is wanted, and where it is to run."""

from __future__ import annotations

import hashlib

import msgspec

from engines.errors import BuildError
from engines.gpu.driver import GpuFacts
from engines.models.model import Model
from engines.plans.passport import BuildRequest, Environment, canonical_json
from engines.plans.verdict import ANY_GPU
from engines.types import Size


def request_for(
    model: Model,
    *,
    precision: str,
    runtime: str,
    size: Size | None = None,
    batch: int = 1,
    target: str = "",
    dla_core: int | None = None,
) -> BuildRequest:
    """The request for an engine of `model`. size: of its input; None: the model's own.

    Raises BuildError for a network that is fed more than an image, such as its own states.
    """
    if model.card.side_inputs:
        raise BuildError(
            f"{model.card.name}: is fed {', '.join(model.card.side_inputs)} beside the image, and an engine the image alone; "
            "it runs on the CPU: run.py view --backend auto"
        )
    size = size or model.card.input.size
    return BuildRequest(
        model_name=model.card.name,
        onnx_sha256=hashlib.sha256(model.path.read_bytes()).hexdigest(),
        card_sha256=_card_sha256(model),
        precision=precision,
        size_px=(size.width, size.height),
        batch=batch,
        runtime=runtime,
        target=target,
        dla_core=dla_core,
    )


def environment_of(runtime: str, version: str, facts: GpuFacts) -> Environment:
    """This machine."""
    return Environment(
        runtime=runtime,
        runtime_version=version,
        cuda_version=facts.cuda_version,
        driver_version=facts.driver_version,
        gpu_name=facts.name,
        compute_capability=facts.compute_capability,
    )


def environment_of_target(runtime: str, version: str, target: str) -> Environment:
    """Any machine with a GPU of compute capability `target` ("86")."""
    return Environment(
        runtime=runtime,
        runtime_version=version,
        cuda_version="",
        driver_version="",
        gpu_name=ANY_GPU,
        compute_capability=f"{target[:-1]}.{target[-1]}",
    )


def _card_sha256(model: Model) -> str:
    """Of what decides how an engine is built and read; words about the model may change without a new engine."""
    card = model.card
    words = dict.fromkeys(("name", "file", "sha256", "description", "licence", "source", "data", "recipe", "limits"), "")
    facts = msgspec.structs.replace(card, **words, figures={}, palette={})
    return hashlib.sha256(canonical_json(facts)).hexdigest()
