"""Passwords that are not on the command line: `${NAME}` in an address or a pipeline is replaced by what NAME holds.

Every user of a machine can read the arguments of a program. NAME is an environment variable; or NAME_FILE is one, with the path
of a file that only its owner may read.
"""

import os
import re
import shlex
import stat
from pathlib import Path
from urllib.parse import quote

from realtime.errors import SourceOpenError
from realtime.process.redact import remember

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ADDRESS_BEFORE = re.compile(r"://[^\s\"']*$")
_FILE = "_FILE"
_MAX_BYTES = 4096


def with_variables(text: str, name: str) -> str:
    """`text` with its variables replaced. In an address each value is percent-encoded, unless the address begins with it.

    name: begins the texts of errors. What is put in is hidden from all output. Raises SourceOpenError.
    """
    if "://" not in text and " ! " not in text and not _VARIABLE.match(text):
        return text  # a path

    def value(match: re.Match[str]) -> str:
        secret = _value_of(match[1], name)
        if match.start() == 0:
            return secret  # an address
        remember(secret)
        before = text[: match.start()]
        return quote(secret, safe="") if _ADDRESS_BEFORE.search(before) else shlex.quote(secret)

    return _VARIABLE.sub(value, text)


def _value_of(variable: str, name: str) -> str:
    if variable in os.environ:
        return os.environ[variable]
    file = os.environ.get(variable + _FILE)
    if file is None:
        cure = f"Set it, or {variable}{_FILE} to the path of a file that holds the value"
        raise SourceOpenError(f"{name}: there is no environment variable {variable}", cure)
    return _in_file(Path(file).expanduser(), f"{name}: {variable}{_FILE}")


def _in_file(path: Path, where: str) -> str:
    """The first line of a private file."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # reading a pipe could wait for ever
            raise SourceOpenError(f"{where}: {path} is not a file", "Name a file with the value in its first line")
        if facts.st_mode & 0o077:
            raise SourceOpenError(f"{where}: other users may read {path}", f"Forbid it: chmod 600 {shlex.quote(str(path))}")
        with path.open("rb") as opened:
            text = opened.read(_MAX_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise SourceOpenError(
            f"{where}: {path} cannot be read ({reason})", "Name a file with the value in its first line"
        ) from None
    value = text.splitlines()[0] if text else ""
    if not value:
        raise SourceOpenError(f"{where}: the first line of {path} is empty", "Write the value there")
    return value
