"""From a model and a machine to the keys of the store: the request for an engine and its environment."""

import hashlib

import msgspec

from engines.errors import BuildError, ModelFileError
from engines.files import sha256_of
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
    """The request for an engine of `model`. size: of its input; None for the model's own.

    Raises BuildError for a network with inputs besides the image, such as its own states; ModelFileError if the file is gone.
    """
    if model.card.side_inputs:
        raise BuildError(
            f"{model.card.name}: takes {', '.join(model.card.side_inputs)} in addition to the image, which an engine cannot",
            "Run it on the CPU: run.py view --backend auto",
        )
    size = size or model.card.input.size
    try:
        onnx_sha256 = sha256_of(model.path)
    except OSError as error:
        raise ModelFileError(f"{model.path}: cannot be read ({error.strerror})", "Check that the file still exists") from error
    return BuildRequest(
        model_name=model.card.name,
        onnx_sha256=onnx_sha256,
        card_sha256=_card_sha256(model),
        precision=precision,
        size_px=(size.width, size.height),
        batch=batch,
        runtime=runtime,
        target=target,
        dla_core=dla_core,
    )


def environment_of(runtime: str, version: str, facts: GpuFacts) -> Environment:
    """The environment of this machine."""
    return Environment(
        runtime=runtime,
        runtime_version=version,
        cuda_version=facts.cuda_version,
        driver_version=facts.driver_version,
        gpu_name=facts.name,
        compute_capability=facts.compute_capability,
    )


def environment_of_target(runtime: str, version: str, target: str) -> Environment:
    """The environment of any machine with a GPU of compute capability `target` ("86")."""
    return Environment(
        runtime=runtime,
        runtime_version=version,
        cuda_version="",
        driver_version="",
        gpu_name=ANY_GPU,
        compute_capability=f"{target[:-1]}.{target[-1]}",
    )


def _card_sha256(model: Model) -> str:
    """Hash of the card without its descriptive texts, which may change without a new engine."""
    card = model.card
    words = dict.fromkeys(("name", "file", "sha256", "description", "licence", "source", "data", "recipe", "limits"), "")
    facts = msgspec.structs.replace(card, **words, figures={}, palette={})
    return hashlib.sha256(canonical_json(facts)).hexdigest()
