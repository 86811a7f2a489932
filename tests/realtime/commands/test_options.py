"""Declared options: parsed to typed values, with defaults, groups and the engine's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from engines.backends import EngineOptions
from engines.types import Size
from realtime.commands import build, commands, evaluate
from realtime.commands.common.options import (
    Running,
    add_options,
    argument,
    engine_group,
    fields_of,
    flags_of,
    group,
    option,
    parsed,
    read_options,
    repeated,
    switch,
)
from realtime.commands.common.values import number, positive, size


class Look(NamedTuple):
    width: int = option("PX", "how wide", positive, 640)
    quiet_colours: bool = switch("grey")


class Options(NamedTuple):
    sources: tuple[str, ...] = argument("SOURCE", "what", nargs="*", default=())
    start_from: str | None = option("FILE", "where to begin", flag="--from")
    also: tuple[str, ...] = repeated("NAME", "more")
    smooth: bool | None = switch("no flicker", or_not=True)
    cut: tuple[int, int] | None = option("HxW", "how large", size)
    look: Look = group(Look, "how it looks")
    engine: dict[str, Any] = engine_group("engine", without=("inflight",))


def under_a_prefix(*words: str) -> Options:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, fields_of(Options), "toy.")
    return read_options(Options, fields_of(Options), vars(parser.parse_args(words)), "toy.")


def test_nothing_given_is_the_defaults() -> None:
    options = parsed(Options)
    assert options[:5] == ((), None, (), None, None)
    assert options.look == Look(640, False)
    assert options.engine == {}


def test_values_have_their_types() -> None:
    words = "a b --from x.pt --also 1 --also 2 --no-smooth --cut 48x64"
    look = "--width 320 --quiet-colours --precision fp32 --size 48x96"
    options = under_a_prefix(*words.split(), *look.split())
    assert options.sources == ("a", "b")
    assert (options.start_from, options.also, options.smooth, options.cut) == ("x.pt", ("1", "2"), False, (64, 48))
    assert options.look == Look(320, True)
    assert options.engine == {"precision": "fp32", "input_px": (96, 48)}


@pytest.mark.parametrize("words", [["--width", "0"], ["--precision", "fp17"], ["--dla", "x"]])
def test_wrong_values_are_refused(words: Sequence[str]) -> None:
    with pytest.raises(argparse.ArgumentError):
        under_a_prefix(*words)


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("0.5", 0.5), ("nan", None), ("2", None), ("x", None)])
def test_a_number_in_limits(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number from 0 to 1"):
            number(0, 1)(text)
    else:
        assert number(0, 1)(text) == value


@pytest.mark.parametrize("name", commands())
def test_every_command_s_options_have_flags_and_defaults(name: str) -> None:
    for command in (commands()[name], *commands()[name].actions):
        flags = flags_of(command.options)
        assert len(flags) == len(set(flags))
        assert all(flag.startswith("--") for flag in flags)


def test_running_options_default_to_the_preset_s() -> None:
    running = parsed(Running)
    assert running[:-1] == (None,) * 10
    assert running.engine == {}


@pytest.mark.parametrize(("text", "expected"), [("auto", "auto"), ("model", "model"), ("384x640", (640, 384))])
def test_a_size_is_a_word_or_height_x_width(text: str, expected: object) -> None:
    assert parsed(Running, ["--size", text]).engine == {"input_px": expected}
    assert EngineOptions(**parsed(Running, ["--size", text]).engine).size == (
        None if isinstance(expected, str) else Size(640, 384)
    )


def test_evaluate_and_build_say_that_their_size_is_the_models_own() -> None:
    for options in (evaluate.Options, build.Options):
        parser = argparse.ArgumentParser()
        add_options(parser, fields_of(options))
        text = " ".join(parser.format_help().split())
        assert "auto (default)" not in text
        assert "default: the model's own" in text


def test_where_video_is_decoded_and_encoded_reaches_the_settings() -> None:
    from realtime.commands.common.running import settings_of

    running = parsed(Running, ["--decode", "cpu", "--encoder", "gpu"])
    settings = settings_of(running, "sample://bikes")
    assert (settings.decode, settings.encoder) == ("cpu", "gpu")
    plain = settings_of(parsed(Running), "sample://bikes")
    assert (plain.decode, plain.encoder) == ("auto", "auto")
