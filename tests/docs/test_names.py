"""Names in texts are names of the code: modules, paths and links that documents, docstrings and comments mention exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXTS = [
    *(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(path for package in ("engines", "realtime", "benchmarks") for path in (ROOT / package).rglob("*.py")),
]

DOTTED = re.compile(r"(?<![\w./-])(?:engines|realtime)(?:\.\w+)+")
PATH = re.compile(r"(?<![\w./-])(?:engines|realtime|tests|benchmarks|docs|assets)/[\w./-]*\w/?")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def _is_known(name: str) -> bool:
    """Whether there is a module of this name, or one that it begins with and that mentions the rest."""
    folder = ROOT
    parts = name.split(".")
    for index, part in enumerate(parts):
        if (folder / part).is_dir():
            folder /= part
            continue
        file, rest = folder / f"{part}.py", parts[index + 1 :]
        if not file.is_file():
            file, rest = folder / "__init__.py", parts[index:]
        return not rest or re.search(rf"\b{rest[0]}\b", file.read_text(encoding="utf-8")) is not None
    return True


def test_modules_and_paths_that_texts_mention_exist() -> None:
    assert len(TEXTS) > 100
    missing = []
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        names = [name for name in DOTTED.findall(text) if not _is_known(name)]
        names += [name for name in PATH.findall(text) if not (ROOT / name).exists()]
        missing += [f"{path.relative_to(ROOT)}: {name}" for name in names]
    assert not missing, "\n".join(missing)


def test_links_of_pages_lead_to_files() -> None:
    pages = [path for path in TEXTS if path.suffix == ".md"]
    targets = [(page, target) for page in pages for target in LINK.findall(page.read_text(encoding="utf-8"))]
    assert not [f"{page.name}: {target}" for page, target in targets if not (page.parent / target).exists()]


def test_a_name_that_does_not_exist_is_found() -> None:
    assert _is_known("engines.models.card.ModelCard")
    assert not _is_known("engines.models.cart")
    assert not _is_known("engines.models.card.ModelCart")
