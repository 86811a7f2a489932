"""Model: an ONNX file together with its card. The card is made from the graph, and from what card.toml adds to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.errors import CardError, ModelFileError
from engines.families import class_count
from engines.families.common.ranges import coarse_output
from engines.files import sha256_of
from engines.models.asking import ask, class_lines, or_known
from engines.models.card import ModelCard, card_from_dict, read_toml
from engines.models.class_sets import void_among, with_usual_keys
from engines.models.guess import assumed, card_name, guess
from engines.onnx_graph.reading import NetworkFacts, TensorFacts, read_network

if TYPE_CHECKING:
    from engines.models.fitting import Fitting


@dataclass(frozen=True, slots=True)
class Model:
    """A card and the ONNX file it describes."""

    card: ModelCard
    path: Path
    precision: str = "fp32"
    """What most of its weights are in: "fp32", "fp16", "bf16" or "int8"."""
    typed: str = ""
    """The name or path that the user gave; empty where there is none."""
    inputs: tuple[TensorFacts, ...] = ()
    """The network's, as its file declares them."""
    operators: frozenset[str] = frozenset()
    """The types of its graph's nodes."""
    assumed: tuple[str, ...] = ()
    """The facts of the card that neither the file nor a written card says, in words: "channels rgb"."""
    fitting: "Fitting | None" = None
    """An input size for the pictures of a run, which it takes where none is asked for and it can."""
    streams: int = 1
    """How many sources it is to serve at a time: an engine for batches of so many is then preferred."""

    @property
    def lacks_names(self) -> bool:
        """Whether its classes are numbers, since neither the file nor a written card names them."""
        return "names of the classes" in self.assumed


def load_model(onnx_path: Path, keys: Mapping[str, Any] | None = None) -> Model:
    """Make the card of an ONNX file from its graph, its metadata and the card beside it, and check that they agree.

    keys: of a card, in place of those that the card beside it has.
    Raises ModelFileError (missing, corrupt, wrong hash) or CardError (unsupported, contradictory, or a fact is missing).
    """
    facts = read_network(onnx_path)
    card_path = find_card(onnx_path)
    written = read_toml(card_path, keys) if card_path else with_usual_keys(keys or {}, str(onnx_path))
    guessed = guess(facts, onnx_path, written)
    merged = {**guessed, **written}
    if "things" in guessed and "things" not in written:
        void = merged.get("void", void_among(guessed["things"]))
        merged["things"] = [name for name in guessed["things"] if not (isinstance(void, list) and name in void)]
    merged["input"] = {**guessed["input"], **_table(written, "input", onnx_path)}
    merged["outputs"] = {**_table(guessed, "outputs", onnx_path), **_table(written, "outputs", onnx_path)}
    ask(merged, facts, onnx_path, card_path or onnx_path.with_suffix(".toml"))
    card = card_from_dict(merged, str(card_path or onnx_path))
    _compare(card, facts, onnx_path)
    if card.sha256:
        _check_hash(onnx_path, card.sha256)
    return Model(
        card,
        onnx_path,
        facts.precision,
        inputs=facts.inputs,
        operators=facts.operators,
        assumed=assumed(merged, written, facts, onnx_path),
    )


def ask_for_names(model: Model, onnx_path: Path) -> tuple[str, str, str]:
    """What to say of a model that lacks names, the cure, and the line of a card."""
    count = len(model.card.classes)
    cure = f'Write in {card_name(onnx_path)}: classes = ["first", "second", ...]{or_known(count)}'
    cure += ", or put a labels.txt beside it, one name a line"
    return f"{onnx_path}: names none of its {count} classes", cure, "\n".join(class_lines(count))


def find_card(onnx_path: Path) -> Path | None:
    """The card beside an ONNX file: NAME.toml, else a card.toml whose `file` is this one."""
    own = onnx_path.with_suffix(".toml")
    if own.is_file():
        return own
    shared = onnx_path.parent / "card.toml"
    if shared.is_file() and read_toml(shared).get("file", "model.onnx") == onnx_path.name:
        return shared
    return None


def _table(facts: dict[str, Any], key: str, onnx_path: Path) -> dict[str, Any]:
    table = facts.get(key, {})
    if not isinstance(table, dict):
        raise CardError(f"{onnx_path}: `{key}` in its card is not a table", f"Write it as [{key}]")
    return table


def _compare(card: ModelCard, facts: NetworkFacts, onnx_path: Path) -> None:
    """The card must name tensors that exist, and as many classes as the network has."""
    shapes = {tensor.name: tensor.shape for tensor in facts.outputs}
    inputs = [tensor.name for tensor in facts.inputs]
    named = [("output", f"{role} = ", tensor, shapes) for role, tensor in card.outputs.items()]
    for kind, role, tensor, known in [*named, ("input", "", card.input.tensor, inputs)]:
        if tensor not in known:
            what = f'{onnx_path}: its card names the {kind} {role}"{tensor}", which is not in the network'
            raise CardError(what, f"It has: {', '.join(known)}")
    _compare_side_inputs(card, facts, onnx_path)
    coarse = coarse_output(card, facts.scales)
    if coarse:
        cure = "Quantise it again without its last nodes: boxes and scores need a scale each, or floats"
        raise ModelFileError(f"{onnx_path}: {coarse}", cure)
    count = class_count(card, shapes) or facts.label_counts.get(card.outputs.get("labels", "")) or None
    if count is not None and count != len(card.classes):
        raise CardError(
            f"{onnx_path}: the network has {count} classes but {len(card.classes)} names are given "
            f"({', '.join(card.classes[:3])}, ...)",
            f"Correct `classes` in {card_name(onnx_path)}{or_known(count)}",
        )


def _compare_side_inputs(card: ModelCard, facts: NetworkFacts, onnx_path: Path) -> None:
    """Every input of the network must be fed, and nothing else can be."""
    inputs, outputs = ({tensor.name for tensor in tensors} for tensors in (facts.inputs, facts.outputs))
    for table, tensors, there in (
        ("states", card.states, inputs),
        ("constants", card.constants, inputs),
        ("states", card.states.values(), outputs),
    ):
        for tensor in tensors:
            if tensor not in there:
                raise CardError(
                    f'{onnx_path}: [{table}] in its card names "{tensor}", which is not in the network',
                    f"It has: {', '.join(sorted(there))}",
                )
    missing = inputs - {card.input.tensor, *card.states, *card.constants}
    if missing:
        raise CardError(
            f"{onnx_path}: nothing is fed into {', '.join(sorted(missing))}",
            f'Write in {card_name(onnx_path)}: [states] INPUT = "OUTPUT that comes back at the next frame", '
            "or [constants] INPUT = number",
        )


def _check_hash(onnx_path: Path, sha256: str) -> None:
    found = sha256_of(onnx_path)
    if found != sha256.lower():
        raise ModelFileError(
            f"{onnx_path}: SHA-256 is {found[:12]}..., its card says {sha256[:12]}...: the file was changed or damaged",
            "Download or export it again",
        )
