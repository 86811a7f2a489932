"""What happens on another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


def raised_elsewhere(call: Callable[[], object]) -> BaseException | None:
    """What `call` raises on another thread; None where it returns."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None
