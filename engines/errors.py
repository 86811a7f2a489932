"""What can go wrong on the way from an image to a segmentation.

SegmentationError
└── EngineError
    ├── ModelNotFoundError, ModelFileError, CardError
    ├── BackendUnavailableError ── NoGpuError, EngineNotBuiltError
    ├── BuildError ── BuildCancelledError, NoKernelError
    ├── CollectionError ── DownloadError
    ├── DataError ── PictureError
    └── EvaluationError, NoHomeError, WrongThreadError, InferenceError
"""

import difflib
import errno
import unicodedata
from collections.abc import Iterable


class SegmentationError(Exception):
    """Base of every error this project raises on purpose. Its text is one line: what is wrong, then the cure.

    what: the problem, without a full stop at its end. cure: what to do about it, as a sentence of its own; may be empty.
    to_copy: lines that the cure asks for, such as a card; shown below the text, not in it.
    """

    def __init__(self, what: str, cure: str = "", to_copy: str = "") -> None:
        what, cure = (printable(" ".join(text.split()) if "\n" in text else text) for text in (what, cure))
        text = f"{what}. {cure}" if cure else what
        super().__init__(text)
        self.what, self.cure, self.to_copy, self._text = what, cure, printable(to_copy, "\n"), text

    def __str__(self) -> str:
        return self._text  # not that of OSError, which some of these errors are as well


class EngineError(SegmentationError):
    """Base of the errors raised by `engines`."""


class ModelNotFoundError(EngineError, LookupError):
    """No model has that name and no file has that path."""


class ModelFileError(EngineError, ValueError):
    """The ONNX file cannot be read, or is not the file that its card describes."""


class CardError(EngineError, ValueError):
    """A model card lacks a fact, or contradicts the network it describes."""


class DataError(EngineError, ValueError):
    """A folder of labelled images cannot be used as it is."""


class PictureError(DataError):
    """A picture file cannot be read: it is damaged, incomplete or larger than anybody's pictures."""


class EvaluationError(EngineError, ValueError):
    """A model cannot be scored on a data set: they share no class, or a library is missing."""


class BackendUnavailableError(EngineError):
    """The runtime or the GPU is missing here, or refuses this model."""


class NoGpuError(BackendUnavailableError):
    """No NVIDIA driver or GPU, or a driver too old. `.what` names the problem, `.cure` the fix."""


class EngineNotBuiltError(BackendUnavailableError):
    """No engine for this model and this machine yet, or none that may be trusted: run.py build makes one."""


class BuildError(EngineError):
    """An engine could not be built, or differs from the request."""


class BuildCancelledError(BuildError):
    """The build was stopped on request."""


class NoKernelError(BuildError):
    """TensorRT has no kernel for some layers in their precision. labels: how it names them. timing_cache: of the others."""

    def __init__(self, what: str, cure: str, labels: tuple[str, ...], timing_cache: bytes | None = None) -> None:
        super().__init__(what, cure)
        self.labels, self.timing_cache = labels, timing_cache


class CollectionError(EngineError):
    """A model cannot become, or is not, one of the user's own: because of its name, its file or the folder."""


class DownloadError(CollectionError):
    """A model cannot be downloaded, or differs from what the manifest promises; nothing of it is kept."""


class NoHomeError(EngineError):
    """The user has no home folder, and nothing names another place for models, engines and keys."""


class WrongThreadError(EngineError, RuntimeError):
    """A part of the GPU was used on a thread that did not open it."""


class InferenceError(EngineError):
    """The network failed while running, or its outputs make no sense."""


JOINERS = "\u200c\u200d"
"""Without a width of their own, but part of words in Persian and in Indian scripts, and of emoji."""


def printable(text: str, kept: str = "") -> str:
    """`text`, its control characters as escapes that do nothing: what a file says must not steer a terminal, nor reverse a line.

    These are ASCII's and Unicode's controls and formats (bidirectional ones too), line separators and lone surrogates, but for
    those in `kept`.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter in kept or _is_harmless(letter) else _escaped(letter) for letter in text)


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escaped(letter: str) -> str:
    byte = ord(letter) - 0xDC00  # of a file name that is not UTF-8: Python keeps its bytes as these letters
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else letter.encode("unicode_escape").decode("ascii")


def choices(wrong: str, known: Iterable[str]) -> str:
    """The cure for a wrong word: 'Did you mean "x"?' for the nearest of `known`, or else all of them."""
    known = tuple(known)
    near = nearest(wrong, known)
    return f'Did you mean "{near}"?' if near else f"Known: {', '.join(known) or 'none'}"


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """The nearest of `known`, upper and lower case being one; None when none is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(wrong.lower(), list(by_lower), 1)
    return by_lower[near[0]] if near else None


def cure_of(error: OSError, elsewhere: str) -> str:
    """The cure for a file or folder that cannot be read or written. elsewhere: how to take another one, as "use --out DIR"."""
    sentence = elsewhere[:1].upper() + elsewhere[1:]
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"Free some space, or {elsewhere}"
    if error.errno == errno.ENOMEM:
        return "Close other programs: there is not enough memory"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "Too many files are open: close other programs, or raise the limit (ulimit -n)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{sentence}, where you may read and write"
    return sentence
