"""The folder is the registry: every file in it keeps the rules of its room, so a new file is tested by existing."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from engines import backends, families
from engines.errors import CardError
from engines.models import zoo
from engines.models.card import InputSpec, ModelCard
from engines.types import Instances, Segmentation, Size
from realtime import sinks, sources, tracking
from realtime.commands import commands
from realtime.errors import SinkError, SourceOpenError
from realtime.sinks import StreamFacts
from realtime.sources.common.uri import Form, SourceUri


@pytest.mark.parametrize("name", families.names())
def test_a_family_reads_a_card_and_refuses_one_without_its_outputs(name: str) -> None:
    family = importlib.import_module(f"engines.families.{name}").Family
    assert list(inspect.signature(family.decode).parameters) == ["self", "outputs", "geometry", "settings"]
    image = InputSpec("image", (64, 48), "nchw", "float32", "rgb", "letterbox")
    with pytest.raises(CardError):
        families.open_family(ModelCard("empty", name, image, {}, ("thing",)))


@pytest.mark.parametrize("name", backends.names())
def test_a_backend_opens_an_engine_from_a_model(name: str) -> None:
    module = importlib.import_module(f"engines.backends.{name.replace('-', '_')}")
    assert list(inspect.signature(module.open_engine).parameters) == ["model", "options"]
    assert list(inspect.signature(module.missing).parameters) == []
    assert set(module.OPTIONS) <= {field.name for field in dataclasses.fields(backends.EngineOptions)}
    assert isinstance(module.TAKES_SIDE_INPUTS, bool)


def test_no_two_backends_share_a_rank() -> None:
    ranks = {name: importlib.import_module(f"engines.backends.{name.replace('-', '_')}").RANK for name in backends.names()}
    assert len(set(ranks.values())) == len(ranks), f"auto tries them in no fixed order: {ranks}"


@pytest.mark.parametrize("name", ["ort", "openvino"])
def test_an_engine_runs_and_says_what_it_is(name: str, tiny_model: Path) -> None:
    engine = backends.open_engine(zoo.find(str(tiny_model)), name).engine
    inference = engine.infer(np.full((30, 40, 3), 120, np.uint8))
    assert (np.asarray(inference.outputs["labels"]) == 1).all()
    assert inference.geometry.frame == Size(40, 30)
    assert "CPU" in engine.description
    engine.close()


@pytest.mark.parametrize("name", tracking.names())
def test_a_tracker_has_settings_with_defaults_and_gives_tuples(name: str) -> None:
    module = importlib.import_module(f"realtime.tracking.{name}")
    assert dataclasses.is_dataclass(module.Settings)
    assert module.Settings.__dataclass_params__.frozen
    assert module.Settings() == module.Settings()
    tracker = tracking.open_tracker(name)
    nothing = Segmentation(Instances.none(Size(64, 48)))
    assert tracker.update(nothing, 0.0, np.zeros((48, 64, 3), np.uint8)) == ()


@pytest.mark.parametrize("name", sinks.names())
def test_a_sink_describes_itself_and_leaves_nothing_when_nothing_was_written(name: str, tmp_path: Path) -> None:
    kind = sinks.kinds()[name]
    assert kind.suffixes
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in kind.suffixes)
    assert kind.option.startswith("--")
    assert kind.help
    (sink,) = sinks.open_sinks({name: tmp_path / f"out{kind.suffixes[0]}"}, StreamFacts())
    assert list(inspect.signature(sink.write).parameters) == ["result", "canvas"]
    sink.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(SinkError):
        sinks.check_outputs({name: tmp_path / "out.nonsense"})


def test_no_two_sinks_share_an_option_or_a_suffix() -> None:
    kinds = sinks.kinds().values()
    every = [suffix for kind in kinds for suffix in kind.suffixes]
    assert len(every) == len(set(every)), "or one file could be named twice on a command line"
    assert len({kind.option for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("scheme", sources.schemes())
def test_a_source_module_opens_uris_and_refuses_unknown_options(scheme: str) -> None:
    module = importlib.import_module(f"realtime.sources.{scheme}")
    assert list(inspect.signature(module.open_uri).parameters) == ["uri"]
    form = getattr(module, "FORM", "path")
    assert form in get_args(Form)
    if form == "text":
        return
    target = f"{scheme}://127.0.0.1:9/x" if form == "url" else "x"
    with pytest.raises(SourceOpenError, match=f'{scheme}:// has no option "nonsense"'):  # before it looks at the target
        module.open_uri(SourceUri(scheme, target, {"nonsense": "1"}, f"{scheme}://x"))


@pytest.mark.parametrize("name", commands())
def test_a_command_describes_itself_and_takes_its_options(name: str) -> None:
    command = commands()[name]
    for one in (command, *command.actions):
        assert one.line
        assert "\n" not in one.line
        assert issubclass(one.options, tuple)
        assert one.run is None or list(inspect.signature(one.run).parameters) == ["options"]
    assert command.run is not None or command.actions
    assert command.rank < 1000, "give it a place in the list of commands"
