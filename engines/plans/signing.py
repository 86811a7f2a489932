"""The key of this machine. Engines are native code: only those that were signed here are loaded without asking."""

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
import shlex
import stat
import tempfile
from pathlib import Path

from engines.errors import BackendUnavailableError, cure_of
from engines.system.places import user_folder

KEY_BYTES = 32

SIGNATURE_BYTES = 64
"""Of a signature, in hex digits."""

_DELETE = "Delete it: a new one is made, and engines are built again"
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class MachineKey:
    """HMAC-SHA256 with a random key in one file, which never leaves this machine."""

    def __init__(self, path: Path | None = None) -> None:
        """path: of the key; None uses the user's state folder. The first `sign` creates the file."""
        self.path = path or user_folder("state") / "engine.key"

    def sign(self, message: bytes) -> str:
        """64 hex digits. Creates a missing key. Raises BackendUnavailableError if the key cannot be created or trusted."""
        if not self._exists():
            self._create()
        return self._digest(message)

    def verify(self, message: bytes, signature: str) -> bool:
        """Whether this machine signed `message`. Raises BackendUnavailableError if its key cannot be trusted."""
        if not self._exists():
            return False  # without a key nothing was signed
        return hmac.compare_digest(self._digest(message).encode(), signature.encode())

    def _exists(self) -> bool:
        try:
            return self.path.exists()
        except OSError as error:
            what = f"{self.path}: the key that signs engines cannot be reached ({error.strerror})"
            raise BackendUnavailableError(what, cure_of(error, "choose another folder with XDG_STATE_HOME")) from error

    def _digest(self, message: bytes) -> str:
        return hmac.new(self._load(), message, hashlib.sha256).hexdigest()

    def _load(self) -> bytes:
        self._check_folders()
        try:
            # Not through a link, which others may have put here, and not waiting for what writes into a pipe.
            with os.fdopen(os.open(self.path, os.O_RDONLY | _NO_LINKS), "rb") as file:
                self._check_owner(os.fstat(file.fileno()))
                key = file.read(KEY_BYTES + 1)
        except OSError as error:
            if error.errno == errno.ELOOP:
                what = f"{self.path}: the key that signs engines is a link to another file"
                raise BackendUnavailableError(what, _DELETE) from error
            what = f"{self.path}: the key that signs engines cannot be read ({error.strerror})"
            raise BackendUnavailableError(what, "Make it readable, or delete it: engines are then built again") from error
        if len(key) != KEY_BYTES:
            raise BackendUnavailableError(
                f"{self.path}: the key that signs engines is damaged ({len(key)} bytes, not {KEY_BYTES})", _DELETE
            )
        return key

    def _check_owner(self, facts: os.stat_result) -> None:
        if os.name != "posix":
            return  # mode bits mean nothing there
        if not stat.S_ISREG(facts.st_mode):
            raise BackendUnavailableError(f"{self.path}: the key that signs engines is not a file", _DELETE)
        if stat.S_IMODE(facts.st_mode) & 0o077:  # made private now, it would still be known to those who have read it
            raise BackendUnavailableError(
                f"{self.path}: other users may read the key that signs engines, and could sign their own", _DELETE
            )
        if facts.st_uid != os.geteuid():
            raise BackendUnavailableError(
                f"{self.path}: the key that signs engines belongs to another user", "Run as that user, or delete it"
            )

    def _check_folders(self) -> None:
        """Whoever may write into the key's folder, or into one above it, could exchange the key."""
        if os.name != "posix":
            return
        try:
            folder = self.path.parent.resolve(strict=True)
            for place in (folder, *folder.parents):
                facts = place.stat()
                is_own = place == folder
                is_shared = bool(facts.st_mode & (0o022 if is_own else 0o002))
                if is_shared and (is_own or not facts.st_mode & stat.S_ISVTX):
                    what = f"{self.path}: other users may write into {place}, and could exchange the key that signs engines"
                    cure = f"Run: chmod go-w {shlex.quote(str(place))} and delete the key, or choose a folder with XDG_STATE_HOME"
                    raise BackendUnavailableError(what, cure)
                if is_own and facts.st_uid != os.geteuid():
                    what = f"{place}: the folder of the key that signs engines belongs to another user"
                    raise BackendUnavailableError(what, "Run as that user, or choose another folder with XDG_STATE_HOME")
        except OSError as error:
            what = f"{self.path}: the folder of the key that signs engines cannot be read ({error.strerror})"
            raise BackendUnavailableError(what, "Choose another with XDG_STATE_HOME") from error

    def _create(self) -> None:
        """Write the key under another name, then link it: of two processes, the second one uses the first one's key."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_folders()
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
                f"{self.path}: the key that signs engines cannot be created ({error.strerror})",
                "Make its folder writable, or choose another with XDG_STATE_HOME",
            ) from error
