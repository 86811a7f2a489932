"""The manifest: which models can be downloaded, from where, how large, with what hash, under what licence. Checked whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engines.errors import CardError, CollectionError, DownloadError, did_you_mean
from engines.models import zoo
from engines.models.card import read_toml
from engines.models.card_text import to_toml
from engines.models.collection.names import check_name
from engines.onnx_graph.reading import MAX_MODEL_BYTES

WRITTEN_HERE = ("name", "file", "sha256", "licence", "source")
"""Card keys that come from elsewhere in the manifest."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ONNX file that can be downloaded."""

    url: str
    size_bytes: int
    sha256: str
    licence: str
    """As people are to read it before they accept it: its name, and whose."""
    licence_url: str = ""
    description: str = ""
    card: dict[str, Any] = {}
    """Card keys that the file does not tell."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be downloaded. hosts: every server that may be asked, redirects included, as "name" or "name:port"."""

    hosts: tuple[str, ...] = ()
    models: dict[str, Entry] = {}

    def entry(self, name: str) -> Entry:
        """The model with that name. Raises DownloadError, naming the nearest, or what to do where there is none at all."""
        if name in self.models:
            return self.models[name]
        if not self.models:
            raise DownloadError(
                f'"{name[:80]}" cannot be downloaded: this version lists no downloads; run.py models add takes any .onnx file'
            )
        raise DownloadError(
            f'no model "{name[:80]}" can be downloaded; there are: {", ".join(self.models)}{did_you_mean(name, self.models)}'
        )


def bundled_manifest() -> Path:
    """The manifest that comes with the program."""
    return zoo.assets_dir() / "models" / "manifest.toml"


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises DownloadError, naming the file and the entry that cannot be as it is."""
    if not path.is_file():
        raise DownloadError(f"{path}: no such manifest of models")
    try:
        manifest = msgspec.convert(read_toml(path), Manifest)
    except msgspec.ValidationError as error:
        raise DownloadError(f"{path}: {str(error).replace('`', '')}") from error
    except CardError as error:
        raise DownloadError(str(error)) from error
    for name, entry in manifest.models.items():
        try:
            check_name(name)
            _check(entry, manifest.hosts)
        except CollectionError as error:
            raise DownloadError(f"{path}: [models.{name}] {error}") from error
    return manifest


def check_url(url: str, hosts: tuple[str, ...]) -> None:
    """Raises DownloadError for anything but https to one of `hosts`: no other scheme, port, user name or host in disguise."""
    if re.search(r"[^\x21-\x7e]|\\", url):  # before parsing, which drops line ends silently
        raise DownloadError(f'"{_short(url)}" is no URL: it holds characters that no URL has')
    try:
        parts = urlsplit(url)
        server = parts.netloc.lower().removesuffix(":443")
    except ValueError as error:
        raise DownloadError(f'"{_short(url)}" is no URL ({error})') from error
    if parts.scheme != "https":
        raise DownloadError(f'"{_short(url)}" is not https; models are downloaded over https only')
    if server not in {host.lower() for host in hosts}:
        raise DownloadError(f'"{_short(url)}" leads to {server or "no server"}, which the manifest does not list under hosts')


def _check(entry: Entry, hosts: tuple[str, ...]) -> None:
    check_url(entry.url, hosts)
    if not urlsplit(entry.url).path.endswith(".onnx"):
        raise DownloadError(f'"{_short(entry.url)}" is no .onnx file; archives and other files are not taken')
    if not 0 < entry.size_bytes <= MAX_MODEL_BYTES:
        raise DownloadError(f"size_bytes {entry.size_bytes} must lie in 1..{MAX_MODEL_BYTES} (2 GiB)")
    if not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
        raise DownloadError(f'sha256 "{_short(entry.sha256)}" is not 64 hex digits in small letters')
    if not entry.licence.strip():
        raise DownloadError("licence is empty; write what people are to accept")
    try:
        to_toml(entry.card)
    except (TypeError, ValueError) as error:
        raise DownloadError(f"card holds what no card can hold ({error})") from error
    given = [key for key in WRITTEN_HERE if key in entry.card]
    if given:
        raise DownloadError(f"card.{given[0]} is not for the manifest: it comes from the entry itself")


def _short(text: str) -> str:
    """For an error of one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:120])
