"""EngineUpgrade: builds the GPU engine that a model lacks, while the model already runs on something slower."""

import logging
import threading
import time
from collections.abc import Callable

from engines.backends import EngineOptions
from engines.backends.trt import batch_for, first_runtime
from engines.building.builder import EngineBuilder, environment_for
from engines.building.job import CLOSING_GRACE_S
from engines.errors import BuildCancelledError, BuildError, SegmentationError
from engines.models.model import Model
from engines.plans.requests import request_for
from engines.plans.store import Store
from engines.segmenter import Segmenter
from engines.types import Size
from realtime.process.redact import one_line, redact
from realtime.streams.work import Swap

log = logging.getLogger(__name__)

FAILURE_SHOWN_S = 20.0
"""How long a failure is shown: long enough to be read. The stream goes on without the engine."""


class EngineUpgrade:
    """One build in the background; when it is done, it asks for the engine to be exchanged. The caller closes it."""

    def __init__(self, model: Model, options: EngineOptions, size: Size, reason: str, swap: Callable[[Swap], None]) -> None:
        """Starts at once; a failure shows in `text` and the log. size: of the input. reason: why there is no engine yet.

        swap: takes the request.
        """
        log.warning("%s. It is being built; until then the model runs without it", redact(" ".join(reason.split())))
        self.size = size
        self._model, self._options, self._swap = model, options, swap
        self._builder: EngineBuilder | None = None
        self._error, self._failed_s = "", 0.0
        self._is_cancelled = False
        self._thread = threading.Thread(target=self._build, name="upgrade")
        self._thread.start()

    @property
    def text(self) -> str:
        """The state of the build in a few words; empty when there is nothing to report."""
        if self._error:
            is_news = time.monotonic() - self._failed_s < FAILURE_SHOWN_S
            return f"No TensorRT engine: {self._error}" if is_news else ""
        builder = self._builder
        if builder is None or not self._thread.is_alive():
            return ""
        progress = builder.progress
        done = "" if progress.fraction is None else f", {progress.fraction:.0%}"
        return f"Building a TensorRT engine: {progress.phase}{done} ({progress.seconds:.0f} s)"

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
                size=self.size,
                batch=batch_for(self._model, options),
                runtime=options.runtime or first_runtime(),
                dla_core=options.dla_core,
            )
            self._builder = EngineBuilder(self._model, request, environment_for(request), Store())
            if not self._is_cancelled:
                self._builder.run()
                self._swap(Swap(self._open, self._finished))
        except BuildCancelledError:
            pass
        except SegmentationError as error:
            self._finished(error)
        except OSError as error:  # the model's file is gone
            self._finished(BuildError(f"{self._model.path} cannot be read ({error.strerror})"))

    def _open(self) -> Segmenter:
        if self._is_cancelled:  # the pictures have another size by now
            raise BuildCancelledError("the engine is not needed any more")
        return Segmenter(self._model, "trt", self._options)

    def _finished(self, error: SegmentationError | None) -> None:
        if error is not None and not isinstance(error, BuildCancelledError):
            self._error, self._failed_s = str(error), time.monotonic()
            log.warning("no TensorRT engine: %s", one_line(error))
