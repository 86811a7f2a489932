"""Switcher: sets a Jetson's power modes one after the other, and the first one again at the end.

`nvpmodel -m N` needs root's rights, and some modes need a restart: it asks whether to restart at once. The answer is always no.
"""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from realtime.bench.clocks import clocks
from realtime.errors import BenchError
from realtime.process.jetson import ROOT, PowerMode, nvpmodel, power_mode, power_modes

SET_TIMEOUT_S = 30.0
"""Some cores are started or stopped, one after the other."""

STEADY_S, SETTLE_S, LOOK_S = 1.0, 10.0, 0.2
"""Clocks have settled when their limits stay the same for so long; waited for at most so long."""

KEEP_S = 60.0
"""Between two uses of sudo while a mode is measured: it forgets its user after some minutes, and is needed at the end."""

NO = b"no\n"
"""The answer to "DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm"."""

NEEDS_RESTART = "needs a restart, which you can do by hand: sudo nvpmodel -m {number}"


class Switcher:
    """Of one machine. In a `with`, at whose end the mode is what it was: also after an error."""

    def __init__(self, root: Path = ROOT) -> None:
        """Raises BenchError where there are no power modes, or where they may not be set."""
        program, present = nvpmodel(root), power_mode(root)
        if program is None or present is None:
            raise BenchError("--modes: this machine has no power modes (nvpmodel)", "Leave it out; a Jetson has them")
        self._root, self._program = root, program
        self.present = present
        others = [mode for mode in power_modes(root) if mode.number != present.number]
        self.modes = (present, *others)
        """The present one first."""
        self.is_changed = False
        """Whether the mode may be another than it was."""
        self._sudo = self._rights()
        self._is_over = threading.Event()
        self._keeper = threading.Thread(target=self._keep_rights, name="sudo", daemon=True)

    def __enter__(self) -> "Switcher":
        if self._sudo:
            self._keeper.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()
        if self._sudo:
            self._keeper.join()
        self.restore()

    def set(self, mode: PowerMode) -> str:
        """Set a mode, and wait until clocks have settled; "", or else why it is not set."""
        self.is_changed = True
        text = self._run("-m", str(mode.number))
        now = power_mode(self._root)
        if "reboot required" in text.lower():
            return NEEDS_RESTART.format(number=mode.number)
        if now is None or now.number != mode.number:
            errors = [line.partition("NVPM ERROR:")[2].strip() for line in text.splitlines() if "NVPM ERROR:" in line]
            return (errors or [" ".join(text.split())[-200:]])[0] or "nvpmodel did not set it, and gave no reason"
        self._settle()
        return ""

    def has_locked_clocks(self) -> bool:
        """Whether the GPU has one clock only, as after `jetson_clocks`."""
        gpu = clocks(self._root).get("GPU")
        return gpu is not None and gpu.is_locked

    def restore(self) -> None:
        """Set the mode that there was at first, if another may be set. Raises BenchError where that fails."""
        if not self.is_changed:
            return
        reason = self.set(self.present)
        if reason:
            by_hand = f"Set it: sudo nvpmodel -m {self.present.number}"
            raise BenchError(f"the power mode is not {self.present} again: {reason}", by_hand)
        self.is_changed = False

    def _rights(self) -> tuple[str, ...]:
        """What to put before `nvpmodel -m`: nothing for root."""
        if os.geteuid() == 0:
            return ()
        sudo = shutil.which("sudo")
        if sudo is None:
            raise BenchError("--modes: only root may set power modes", "Run it as root")
        self._sudo = (sudo, "-n")
        text = self._run("-q")
        if "NV Power Mode" not in text:
            raise BenchError(
                f"--modes: only root may set power modes ({' '.join(text.split()) or 'sudo refused'})",
                "Run sudo -v, which asks for your password, and then this again",
            )
        return self._sudo

    def _keep_rights(self) -> None:
        while not self._is_over.wait(KEEP_S):
            self._run("-q")

    def _run(self, *arguments: str) -> str:
        """What nvpmodel prints, errors too."""
        try:
            process = subprocess.Popen(
                [*self._sudo, str(self._program), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # Ctrl-C must not interrupt it half-way. A group, not a session: sudo knows its user by the terminal.
                preexec_fn=os.setpgrp,
            )
        except OSError as error:
            return f"NVPM ERROR: it cannot be started ({error.strerror})"
        with process:
            try:
                output, _ = process.communicate(NO, SET_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(PermissionError):  # sudo runs as root
                    process.kill()
                return f"NVPM ERROR: it did not end within {SET_TIMEOUT_S:g} s"
        return output.decode(errors="replace")

    def _settle(self) -> None:
        begin_s = steady_s = time.monotonic()
        limits = self._limits()
        while (now_s := time.monotonic()) - steady_s < STEADY_S and now_s - begin_s < SETTLE_S:
            time.sleep(LOOK_S)
            if (seen := self._limits()) != limits:
                limits, steady_s = seen, time.monotonic()

    def _limits(self) -> dict[str, float | None]:
        return {name: clock.limit_mhz for name, clock in clocks(self._root).items()}
