"""Whether memory is what lacks: each library has its own words for that."""

import errno

WORDS = (
    "bad_alloc", "insufficient memory", "failed to allocate memory", "cannot allocate memory", "out of memory",
    "failed to map segment", "can't start new thread",
)  # fmt: skip
"""Of the C++ library, OpenCV, ONNX Runtime, Linux, CUDA, the loader of libraries, and Python."""

CLOSE_PROGRAMS = "There is not enough memory: close other programs, or let this one need less with a smaller --size or --model"


def is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return any(words in text for words in WORDS)
