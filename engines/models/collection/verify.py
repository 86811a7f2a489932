"""Verifies that a model's file is the one that its card describes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engines.errors import CardError
from engines.models import zoo

CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one model. problem: the fault of its file or card; "" for none."""

    name: str
    path: Path
    problem: str = ""


def verify(name: str) -> Verdict:
    """Read the whole file of a bundled or own model and compare its hash with the card's. Raises ModelNotFoundError."""
    folder = zoo.folder_of(name)
    try:
        card, path = zoo.card_of(name)
    except CardError as error:
        return Verdict(name, folder, f"its card cannot be read: {error}")
    if not card.sha256:
        return Verdict(name, path, "its card has no sha256 to compare with")
    try:
        found = sha256_of(path)
    except OSError as error:
        return Verdict(name, path, f"{path} cannot be read ({error.strerror})")
    if found != card.sha256.lower():
        return Verdict(name, path, f"{path} was changed or damaged: SHA-256 {found[:12]}..., not {card.sha256[:12]}...")
    return Verdict(name, path)


def sha256_of(path: Path) -> str:
    """The hash in hex, without loading the whole file into memory. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
