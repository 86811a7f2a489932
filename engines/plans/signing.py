"""The key of this machine: engines are native code, so only what was signed here is loaded unasked."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from pathlib import Path

import platformdirs

from engines.errors import BackendUnavailableError

KEY_BYTES = 32


class MachineKey:
    """HMAC-SHA256 under a random key that lies in one file and leaves this machine never."""

    def __init__(self, path: Path | None = None) -> None:
        """path: of the key; the user's state folder when None. The file is made by the first `sign`."""
        self.path = path or platformdirs.user_state_path("realtime-segmentation") / "engine.key"

    def sign(self, message: bytes) -> str:
        """64 hex digits, of a new key if there is none. Raises BackendUnavailableError when the key can't be made or trusted."""
        if not self.path.exists():
            self._create()
        return self._digest(message)

    def verify(self, message: bytes, signature: str) -> bool:
        """Whether this machine signed `message`. Raises BackendUnavailableError when its key cannot be trusted."""
        if not self.path.exists():
            return False  # who has no key has signed nothing
        return hmac.compare_digest(self._digest(message).encode(), signature.encode())

    def _digest(self, message: bytes) -> str:
        return hmac.new(self._load(), message, hashlib.sha256).hexdigest()

    def _load(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                self._check_owner(os.fstat(file.fileno()))
                key = file.read(KEY_BYTES + 1)
        except OSError as error:
            raise BackendUnavailableError(f"{self.path}: the key that signs engines cannot be read ({error.strerror})") from error
        if len(key) != KEY_BYTES:
            raise BackendUnavailableError(
                f"{self.path}: the key that signs engines is damaged ({len(key)} bytes, not {KEY_BYTES}); "
                "delete it, and engines are built again"
            )
        return key

    def _check_owner(self, facts: os.stat_result) -> None:
        if os.name != "posix":
            return  # mode bits say nothing there
        if stat.S_IMODE(facts.st_mode) & 0o077:
            raise BackendUnavailableError(
                f"{self.path}: others may read the key that signs engines, so they could sign their own: chmod 600 {self.path}"
            )
        if facts.st_uid != os.geteuid():
            raise BackendUnavailableError(
                f"{self.path}: the key that signs engines belongs to another user; run as that user, or delete it"
            )

    def _create(self) -> None:
        """Write the key whole under another name, then link it: whoever links second finds the first one's key."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".key-")  # mode 0600 from the start
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(KEY_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(temporary, self.path)
            finally:
                Path(temporary).unlink()
        except OSError as error:
            raise BackendUnavailableError(
                f"{self.path}: the key that signs engines cannot be made ({error.strerror}); "
                "free the folder, or name another with XDG_STATE_HOME"
            ) from error
