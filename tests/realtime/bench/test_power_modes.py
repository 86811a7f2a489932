"""`bench --modes` with an nvpmodel that behaves like a Jetson's: it sets modes, refuses, and asks before it restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from realtime.bench import power_modes
from realtime.bench.card import Card, ClockRange, Conditions, Temperature
from realtime.bench.power import PowerReading
from realtime.bench.power_modes import Switcher
from realtime.commands.bench import Options
from realtime.commands.common.bench_modes import Row, _report, bench_in_modes
from realtime.commands.common.options import parsed
from realtime.commands.common.words import words_of
from realtime.errors import BenchError, SettingsError
from realtime.process.jetson import PowerMode, power_mode

NVPMODEL = """#!/bin/sh
root={root}
if [ "$1" = -q ]; then
    id=$(sed 's/pmode:0*\\([0-9]\\)/\\1/' $root/var/lib/nvpmodel/status)
    echo "NVPM WARN: fan mode is not set!" >&2
    sed -n "s/< POWER_MODEL ID=$id NAME=\\(.*\\) >/NV Power Mode: \\1/p" $root/etc/nvpmodel.conf
    echo $id
    exit 0
fi
echo "$2" >>$root/calls
case " {restarts} " in *" $2 "*)
    echo "NVPM WARN: Golden image context is already created"
    echo "NVPM WARN: Reboot required for changing to this power mode: $2"
    echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
    read answer
    case $answer in YES|yes) echo "$2" >$root/rebooted; exit 0;; esac
    echo "NVPM ERROR: bad input!"
    echo "NVPM ERROR: optMask is 1, no request for power mode"
    exit 255
esac
if [ "$2" = {refused} ]; then echo "NVPM ERROR: failed to write PARAM GPU: ARG MAX_FREQ"; exit 255; fi
echo "pmode:000$2" >$root/var/lib/nvpmodel/status
"""
CONF = "".join(f"< POWER_MODEL ID={number} NAME={name} >\n" for number, name in enumerate(("15W", "25W", "MAXN_SUPER", "7W")))

Board = Callable[..., Path]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """Makes the folders of a board in mode 1, 25W."""
    monkeypatch.setattr(power_modes, "STEADY_S", 0.05)
    monkeypatch.setattr(power_modes, "LOOK_S", 0.01)

    def make(restarts: str = "", refused: str = "none") -> Path:
        root = tmp_path / "root"
        for folder in ("usr/sbin", "etc", "var/lib/nvpmodel"):
            (root / folder).mkdir(parents=True)
        (root / "etc/nvpmodel.conf").write_text(CONF)
        (root / "var/lib/nvpmodel/status").write_text("pmode:0001\n")
        program = root / "usr/sbin/nvpmodel"
        program.write_text(NVPMODEL.format(root=root, restarts=restarts, refused=refused))
        program.chmod(0o755)
        return root

    return make


def calls(root: Path) -> list[str]:
    return (root / "calls").read_text().split() if (root / "calls").exists() else []


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_the_present_mode_comes_first_and_is_set_again(board: Board) -> None:
    root = board()
    with Switcher(root) as switcher:
        assert [mode.name for mode in switcher.modes] == ["25W", "15W", "MAXN_SUPER", "7W"]
        assert switcher.set(PowerMode(2, "MAXN_SUPER")) == ""
        assert power_mode(root) == PowerMode(2, "MAXN_SUPER")
    assert power_mode(root) == PowerMode(1, "25W")
    assert calls(root) == ["2", "1"]


def test_it_is_set_again_after_an_error_and_only_if_another_was(board: Board) -> None:
    root = board()
    with Switcher(root):
        pass
    assert calls(root) == []
    switcher = Switcher(root)
    assert switcher.set(PowerMode(3, "7W")) == ""
    with pytest.raises(ZeroDivisionError), switcher:
        _ = 1 / 0
    assert power_mode(root) == PowerMode(1, "25W")


def test_the_question_for_a_restart_is_answered_with_no(board: Board) -> None:
    root = board(restarts="0 2")
    with Switcher(root) as switcher:
        assert switcher.set(PowerMode(2, "MAXN_SUPER")) == "needs a restart, which you can do by hand: sudo nvpmodel -m 2"
    assert not (root / "rebooted").exists()
    assert calls(root) == ["2", "1"], "whatever it has noted, the present mode is asked for again"


def test_a_refusal_is_reported_and_one_to_go_back_names_the_command(board: Board) -> None:
    root = board(refused="2")
    with Switcher(root) as switcher:
        assert switcher.set(PowerMode(2, "MAXN_SUPER")) == "failed to write PARAM GPU: ARG MAX_FREQ"
    program = root / "usr/sbin/nvpmodel"
    program.write_text(NVPMODEL.format(root=root, restarts="", refused="1"))
    with (
        pytest.raises(BenchError, match=r"the power mode is not 25W \(1\) again: failed .* sudo nvpmodel -m 1"),
        Switcher(root) as switcher,
    ):
        switcher.set(PowerMode(3, "7W"))


def test_one_that_hangs_is_left(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_modes, "SET_TIMEOUT_S", 0.2)
    root = board()
    switcher = Switcher(root)
    (root / "usr/sbin/nvpmodel").write_text(
        '#!/bin/sh\n[ "$1" = -q ] && { echo "NV Power Mode: 25W"; echo 1; exit; }\nexec sleep 30\n'
    )
    assert switcher.set(PowerMode(3, "7W")) == "it did not end within 0.2 s"


def test_others_go_through_sudo_which_may_ask_for_nothing(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = board()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sudo = tmp_path / "sudo"
    sudo.write_text(f'#!/bin/sh\n[ "$1" = -n ] || exit 1\nshift\necho sudo >>{root}/calls\nexec "$@"\n')
    sudo.chmod(0o755)
    with Switcher(root) as switcher:
        assert switcher.set(PowerMode(3, "7W")) == ""
    assert calls(root) == ["sudo", "sudo", "3", "sudo", "1"]
    monkeypatch.setattr(power_modes, "KEEP_S", 0.02)
    with Switcher(root):
        deadline_s = time.monotonic() + 20
        while calls(root)[5:].count("sudo") <= 2 and time.monotonic() < deadline_s:
            time.sleep(0.02)
    assert calls(root)[5:].count("sudo") > 2, "sudo forgets its user after some minutes unless it is used"
    assert calls(root)[5:].count("1") == 0
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    with pytest.raises(BenchError, match=r"only root may set power modes \(sudo: a password is required\)\. Run sudo -v"):
        Switcher(root)
    monkeypatch.setenv("PATH", "/nothing")
    with pytest.raises(BenchError, match="Run it as root"):
        Switcher(root)


def test_a_machine_without_power_modes_and_a_baseline_are_errors(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="this machine has no power modes"):
        bench_in_modes(parsed(Options, ["--modes"]), tmp_path)
    with pytest.raises(SettingsError, match="--baseline with --modes"):
        bench_in_modes(parsed(Options, ["--modes", "--baseline", "card.json"]), tmp_path)


def test_the_table_has_a_row_of_each_mode_and_says_what_is_unknown(
    make_card: Callable[..., Card], make_repeat: Callable[..., object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from realtime.bench.making import mode_of

    power = PowerReading(10.0, 12.0, None, "tegrastats (VDD_IN)", 9)
    maximum = mode_of([make_repeat(power=power)], "as fast as can be", is_live=False)  # type: ignore[list-item]
    warm = Conditions({"GPU": ClockRange(1020, 306, 1020, 1020)}, {"tj": Temperature(50, 60, 66.6)}, (), {})
    rows = [Row("25W", make_card(maximum=maximum, conditions=warm)), Row("MAXN", make_card()), Row("7W", None, "needs a restart")]
    _report(rows, 30.0, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["25W", "1020", "?", "?", "25.0", "25.0", "64.0", "10.0", "0.400", "67"], "not throttled"
    assert lines[2].split() == ["MAXN", "?", "?", "?", "25.0", "25.0", "64.0", "?", "?", "?", "throttling", "unknown"]
    assert lines[3].split() == ["7W", "left", "out:", "needs", "a", "restart"]
    assert "| 25W | 1020 | ? | ? | 25.0 | 25.0 | 64.0 | 10.0 | 0.400 | 67 |  |" in (tmp_path / "modes.md").read_text()


WORDS = [
    [],
    ["clip.mp4", "--quick", "--modes", "--rate", "25", "--repeats", "2", "--out", "here"],
    ["0", "--backend", "trt", "--precision", "int8-qdq", "--size", "384x640", "--no-smooth", "--threshold", "0.25"],
    ["0", "--smooth", "--decode", "cpu", "--size", "model", "--width", "640", "--background", "#202830", "--tolerance", "7.5"],
]


@pytest.mark.parametrize("words", WORDS)
def test_the_command_line_of_some_options_gives_them_again(words: list[str]) -> None:
    options = parsed(Options, words)
    assert parsed(Options, words_of(options)) == options


RUN = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
from realtime.bench import power_modes
from realtime.commands.bench import Options
from realtime.commands.common.bench_modes import bench_in_modes
from realtime.commands.common.options import parsed
from realtime.process import ending
from realtime.process.logs import logging_to

power_modes.STEADY_S = 0.05
ending.listen()
with logging_to(None, verbose=False):
    ending.leave(bench_in_modes(parsed(Options, sys.argv[3:]), Path(sys.argv[2])))
"""


def test_sigterm_in_the_middle_sets_the_mode_again_and_keeps_what_was_measured(
    board: Board, tiny_model: Path, tmp_path: Path, repo_root: Path
) -> None:
    """The whole command: a child for each mode, one that needs a restart, and a signal in the third."""
    root = board(restarts="0")
    source = "synthetic://street?width=96&height=72&objects=3&seconds=0.5"
    words = [source, "--model", str(tiny_model), "--backend", "ort", "--seconds", "0.2", "--repeats", "1", "--quick", "--modes"]
    path = json.dumps([str(repo_root), *filter(None, sys.path)])
    command = [sys.executable, "-c", RUN, path, str(root), *words, "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        deadline_s = time.monotonic() + 50
        while calls(root) != ["0", "2"]:
            assert time.monotonic() < deadline_s
            assert run.poll() is None
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 128 + signal.SIGTERM
    assert (calls(root), power_mode(root)) == (["0", "2", "1"], PowerMode(1, "25W"))
    assert "measures in the present power mode, 25W (1), and then sets, with nvpmodel: 15W (0), MAXN_SUPER (2), 7W (3)" in err
    assert "power mode 15W (0) left out: needs a restart" in err
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["mode", "25W", "15W"]
    assert (tmp_path / "out/25W/card.json").exists()
    assert "| 15W |" in (tmp_path / "out/modes.md").read_text()
