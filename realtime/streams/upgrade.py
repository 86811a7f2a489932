"""EngineUpgrade: builds the GPU engine that a model lacks, while the model already runs on something slower."""

from __future__ import annotations

import sys
import threading
import time

from engines.backends import EngineOptions
from engines.backends.trt import first_runtime
from engines.building.builder import EngineBuilder, environment_for
from engines.building.job import CLOSING_GRACE_S
from engines.errors import BuildCancelledError, BuildError, SegmentationError
from engines.models.model import Model
from engines.plans.requests import request_for
from engines.plans.store import Store
from realtime.process.redact import one_line, redact

FAILURE_SHOWN_S = 20.0
"""The picture goes on without it: long enough to be read."""


class EngineUpgrade:
    """One build in the background. `text`, `take` and `cancel` are for any thread; whoever starts it closes it."""

    def __init__(self, model: Model, options: EngineOptions, reason: str) -> None:
        """Starts at once. What goes wrong is told by `text`, and leaves things as they are. reason: why there is none yet."""
        why = redact(" ".join(reason.split()))
        print(f"note: {why}. It is built now; the model runs without it meanwhile", file=sys.stderr, flush=True)
        self._model, self._options = model, options
        self._builder: EngineBuilder | None = None
        self._error, self._failed_s = "", 0.0
        self._is_cancelled = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._build, name="upgrade")
        self._thread.start()

    def take(self) -> bool:
        """Whether an engine is there to be opened: True once."""
        if not self._ready.is_set():
            return False
        self._ready.clear()
        return True

    @property
    def text(self) -> str:
        """What to tell about it, in a few words; empty when there is nothing."""
        if self._error:
            is_news = time.monotonic() - self._failed_s < FAILURE_SHOWN_S
            return f"No TensorRT engine: {self._error}" if is_news else ""
        builder = self._builder
        if builder is None or not self._thread.is_alive():
            return ""
        progress = builder.progress
        done = "" if progress.fraction is None else f", {progress.fraction:.0%}"
        return f"Building a TensorRT engine meanwhile: {progress.phase}{done} ({progress.seconds:.0f} s)"

    def fail(self, error: SegmentationError) -> None:
        """Tell that there will be no engine. Called here, and by whoever could not run the one that was built."""
        self._error, self._failed_s = str(error), time.monotonic()
        print(f"warning: no TensorRT engine: {one_line(error)}", file=sys.stderr, flush=True)  # where it stays

    def cancel(self) -> None:
        """Stop building. Returns at once."""
        self._is_cancelled = True
        if self._builder is not None:
            self._builder.cancel(CLOSING_GRACE_S)

    def close(self) -> None:
        """Stop building and wait until nothing of it is left."""
        self.cancel()
        self._thread.join()

    def _build(self) -> None:
        options = self._options
        try:
            request = request_for(
                self._model,
                precision=options.precision,
                size=options.size,
                runtime=options.runtime or first_runtime(),
                dla_core=options.dla_core,
            )
            self._builder = EngineBuilder(self._model, request, environment_for(request), Store())
            if not self._is_cancelled:
                self._builder.run()
                self._ready.set()
        except BuildCancelledError:
            pass
        except SegmentationError as error:
            self.fail(error)
        except OSError as error:  # the model's file is gone
            self.fail(BuildError(f"{self._model.path} cannot be read ({error.strerror})"))
