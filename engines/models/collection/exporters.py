"""The table of models that their makers' own exporters make here: packages, licences, scripts. It is checked as a whole."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from engines.errors import DownloadError
from engines.models import zoo
from engines.models.collection.manifest import MAX_TABLE_BYTES, listed_as
from engines.tables import checked, read_table


class Maker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A package that exports ONNX."""

    steps: tuple[tuple[str, ...], ...]
    """What pip installs, in turn."""
    python: tuple[str, str]
    """The first and the last version of Python that its packages are known to have, such as "3.10"."""
    download_mb: int
    disk_mb: int
    """What the packages take to download, and on disk while the environment exists; with a PyTorch without CUDA."""
    licence: str
    """Shown to the user for acceptance."""
    licence_url: str
    script: str
    """Python code; its arguments are the ONNX file to write, and the `argument` of the model."""
    notice: str = ""
    """What the licence asks for, where people may not expect it; shown before everything else."""
    environment: dict[str, str] = {}
    """Variables of the export."""
    card: dict[str, Any] = {}
    """Card keys that are not in the files that it writes."""

    @property
    def package(self) -> str:
        """The maker's own one."""
        return self.steps[-1][0]


class Export(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model that its maker's package exports."""

    maker: str
    argument: str
    weights: str
    """Where the maker's package downloads them from."""
    size_mb: float
    """Of the ONNX file."""
    description: str


class Exporters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    makers: dict[str, Maker]
    models: dict[str, Export]

    def maker_of(self, name: str) -> Maker:
        return self.makers[self.models[name].maker]


def bundled_exporters() -> Path:
    return zoo.assets_dir() / "models" / "exporters.toml"


def read_exporters(path: Path) -> Exporters:
    """Read and check the table. Raises DownloadError that names the file and the wrong entry."""
    if not path.is_file():
        raise DownloadError(f"{path}: no such table of exporters")
    table = checked(read_table(path, DownloadError, MAX_TABLE_BYTES), Exporters, str(path), DownloadError)
    for name, maker in table.makers.items():
        loose = [package for step in maker.steps for package in step if "==" not in package]
        if loose or not maker.steps or not all(maker.steps):
            raise DownloadError(f"{path}: [makers.{name}] {loose[0] if loose else 'steps'} has no version", "Pin it with ==")
    for name, export in table.models.items():
        with listed_as(name, path):
            if export.maker not in table.makers:
                raise DownloadError(f'there is no maker "{export.maker}"')
    return table


def check_python(name: str, maker: Maker, version: Iterable[int] = sys.version_info[:2]) -> None:
    """Raises DownloadError where the maker's packages are not known to exist for this Python."""
    first, last = (tuple(map(int, text.split("."))) for text in maker.python)
    if not first <= tuple(version) <= last:
        is_here = ".".join(map(str, version))
        what = f"{name}: {maker.package} has packages for Python {maker.python[0]} to {maker.python[1]}, this is {is_here}"
        raise DownloadError(what, "Install this program with one of these, or export it elsewhere: run.py models add FILE.onnx")
