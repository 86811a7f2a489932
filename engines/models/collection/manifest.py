"""The manifest of models to download: URL, size, hash and licence of each. It is checked as a whole."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engines.errors import CollectionError, DownloadError, choices
from engines.models import zoo
from engines.models.card import to_toml
from engines.models.collection.folders import check_name
from engines.onnx_graph.reading import MAX_MODEL_BYTES
from engines.tables import checked, read_table

MAX_TABLE_BYTES = 256 * 1024
"""Of a manifest, or of a card to add: long lists of classes are possible."""

WRITTEN_HERE = ("name", "file", "sha256", "licence", "source")
"""Card keys that the manifest has elsewhere."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ONNX file that can be downloaded."""

    url: str
    size_bytes: int
    sha256: str
    licence: str
    """Shown to the user for acceptance: its name, and the copyright holder."""
    licence_url: str = ""
    notice: str = ""
    """What the licence asks for, where people may not expect it; shown before everything else."""
    description: str = ""
    """What it is for, on one line."""
    card: dict[str, Any] = {}
    """Card keys that are not in the file."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The models to download. hosts: all allowed servers, also for redirects, as "name" or "name:port"."""

    hosts: tuple[str, ...] = ()
    models: dict[str, Entry] = {}

    def entry(self, name: str, others: Iterable[str] = ()) -> Entry:
        """The model with that name. Raises DownloadError that names the nearest one, or the alternative where none is listed.

        others: further names that the user could have meant.
        """
        if name in self.models:
            return self.models[name]
        if not self.models:
            what = f'"{name[:80]}" cannot be downloaded: this version lists no downloads'
            raise DownloadError(what, "Add any .onnx file: run.py models add FILE.onnx")
        if name in zoo.names():
            raise DownloadError(
                f'"{name}" is here already', f"Use it with --model {name}; run.py models info {name} shows its card"
            )
        raise DownloadError(f'no model "{name[:80]}" to download', choices(name, (*self.models, *others)))


def bundled_manifest() -> Path:
    """The bundled manifest."""
    return zoo.assets_dir() / "models" / "manifest.toml"


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises DownloadError that names the file and the wrong entry."""
    if not path.is_file():
        raise DownloadError(f"{path}: no such manifest of models")
    manifest = checked(read_table(path, DownloadError, MAX_TABLE_BYTES), Manifest, str(path), DownloadError)
    for name, entry in manifest.models.items():
        with listed_as(name, path):
            _check(entry, manifest.hosts)
    return manifest


@contextmanager
def listed_as(name: str, path: Path) -> Iterator[None]:
    """While entered, errors about a listed model name its entry; the first of them is its name's. Raises DownloadError."""
    try:
        check_name(name)
        yield
    except CollectionError as error:
        raise DownloadError(f"{path}: [models.{name}] {error.what}", error.cure) from error


def check_url(url: str, hosts: tuple[str, ...]) -> None:
    """Raises DownloadError for anything but https to one of `hosts`: no other scheme, port, user name or host in disguise."""
    if re.search(r"[^\x21-\x7e]|\\", url):  # before parsing, which drops line ends silently
        raise DownloadError(f'"{_short(url)}" is not a URL: it has characters that a URL cannot have')
    try:
        parts = urlsplit(url)
        server = parts.netloc.lower().removesuffix(":443")
    except ValueError as error:
        raise DownloadError(f'"{_short(url)}" is not a URL ({error})') from error
    if parts.scheme != "https":
        raise DownloadError(f'"{_short(url)}" is not https', "Models are downloaded over https only")
    if server not in {host.lower() for host in hosts}:
        raise DownloadError(f'"{_short(url)}" leads to {server or "no server"}, which the manifest does not list under hosts')


def _check(entry: Entry, hosts: tuple[str, ...]) -> None:
    check_url(entry.url, hosts)
    if not urlsplit(entry.url).path.endswith(".onnx"):
        raise DownloadError(f'"{_short(entry.url)}" is not an .onnx file', "Archives and other files are not accepted")
    if not 0 < entry.size_bytes <= MAX_MODEL_BYTES:
        raise DownloadError(f"size_bytes {entry.size_bytes} is not in 1..{MAX_MODEL_BYTES} (2 GiB)")
    if not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
        raise DownloadError(f'sha256 "{_short(entry.sha256)}" is not 64 lower-case hex digits')
    if not entry.licence.strip():
        raise DownloadError("licence is empty", "Write the terms that users have to accept")
    try:
        to_toml(entry.card)
    except (TypeError, ValueError) as error:
        raise DownloadError(f"card has values that a card cannot have ({error})") from error
    given = [key for key in WRITTEN_HERE if key in entry.card]
    if given:
        raise DownloadError(f"card.{given[0]} is set by the entry itself", "Remove it")


def _short(text: str) -> str:
    """For an error of one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:120])
