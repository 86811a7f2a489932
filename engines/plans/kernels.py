"""Kernels that TensorRT-RTX compiled for an engine on this machine, kept for the next start: native code, signed like a plan."""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from engines.errors import BackendUnavailableError
from engines.files import write_whole
from engines.plans.passport import Environment, canonical_json, read_file
from engines.plans.signing import SIGNATURE_BYTES, MachineKey

log = logging.getLogger(__name__)

MAX_KERNEL_BYTES = 2**29
SUFFIX = ".kernels"


@dataclass(frozen=True, slots=True)
class KernelFile:
    """The file of one plan's kernels. environment: the machine that they run on; other kernels are not signed for it."""

    path: Path
    key: MachineKey
    plan_sha256: str
    environment: Environment

    def read(self) -> bytes | None:
        """The kernels; None if there are none that this machine signed for this plan, GPU, driver and version."""
        try:
            data, size_bytes = read_file(self.path, MAX_KERNEL_BYTES)
        except OSError:
            return None
        signature, kernels = data[:SIGNATURE_BYTES].decode("latin-1"), data[SIGNATURE_BYTES:]
        with contextlib.suppress(BackendUnavailableError):  # a key that cannot be trusted
            if size_bytes == len(data) and self.key.verify(self._signed(kernels), signature):
                return kernels
        log.warning("%s was not written by this machine for this engine, and is not used: kernels are compiled again", self.path)
        return None

    def write(self, kernels: bytes) -> None:
        """Sign and write them whole, or log why not: without them the next start only takes longer."""
        if SIGNATURE_BYTES + len(kernels) > MAX_KERNEL_BYTES:
            log.debug("%s: %d bytes of kernels are not kept", self.path, len(kernels))
            return
        try:
            signature = self.key.sign(self._signed(kernels)).encode()
            write_whole(self.path, signature + kernels)
            for older in self.path.parent.glob(f"{self.path.name.partition('.')[0]}.*{SUFFIX}"):
                if older != self.path:  # of an earlier driver
                    older.unlink(missing_ok=True)
        except (OSError, BackendUnavailableError) as error:
            log.warning("%s cannot be written, so the next start compiles kernels again (%s)", self.path, error)

    def _signed(self, kernels: bytes) -> bytes:
        """Not only the kernels: those of another engine or driver are not for this one, nor is a plan or a timing cache."""
        return b"\n".join((b"kernels", self.plan_sha256.encode(), canonical_json(self.environment), kernels))
