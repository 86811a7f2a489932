"""What pip would install on a machine that is not this one, with a given architecture, glibc and Python.

pip applies environment markers of the interpreter that runs it, so `pip download --platform` cannot answer this: it would ask for
OpenVINO on a Jetson. Here pip only fetches; tags and markers are evaluated for the target.
"""

from __future__ import annotations

import io
import logging
import tarfile
import zipfile
from collections.abc import Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.parser import Parser
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

ROUNDS = 12
"""Rounds until versions no longer change; each applies the requirements that the versions of the one before have."""

AT_ONCE = 8
"""Files that are fetched at the same time."""

LOWEST_GLIBC = 17
"""manylinux_2_17, alias manylinux2014: what every Python from 3.10 on runs on."""


class Target(NamedTuple):
    """A machine: its architecture, the minor version of its glibc 2, and its Python."""

    machine: str
    glibc: int
    python: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.machine}-glibc2.{self.glibc}-python{self.python[0]}.{self.python[1]}"

    def tags(self) -> dict[Tag, int]:
        """The tags of wheels that run there, the best first."""
        newer = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, LOWEST_GLIBC - 1, -1)]
        older = [f"manylinux{name}_{self.machine}" for name in ("2014", "_2_12", "2010", "_2_5", "1")]
        platforms = [*newer, *older, f"linux_{self.machine}"]
        version = self.python[:2]
        interpreter = f"cp{version[0]}{version[1]}"
        found = [*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)]
        return {tag: place for place, tag in reversed(list(enumerate(found)))}

    def environment(self, extra: str) -> dict[str, str]:
        return {
            "platform_machine": self.machine, "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
            "python_version": "{}.{}".format(*self.python), "python_full_version": "{}.{}.{}".format(*self.python),
            "implementation_name": "cpython", "platform_python_implementation": "CPython", "extra": extra,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class File:
    """A file of the index. tags: of a wheel; empty for a source distribution, which is compiled on the user's machine."""

    name: str
    version: Version
    tags: frozenset[Tag]
    python: SpecifierSet
    link: Any

    @property
    def is_wheel(self) -> bool:
        return bool(self.tags)


class Index:
    """The package index that this pip is set up for. Pages and metadata are fetched once for all targets."""

    def __init__(self) -> None:
        from pip._internal.commands import create_command

        logging.getLogger("pip").setLevel(logging.ERROR)
        command: Any = create_command("index")
        options, _ = command.parse_args(["versions", "pip", "--timeout", "10", "--retries", "1"])
        self._session: Any = command._build_session(options)
        self._collector: Any = command._build_package_finder(options=options, session=self._session)._link_collector
        self._files: dict[str, list[File]] = {}
        self._requires: dict[str, tuple[str, ...]] = {}

    def prefetch_pages(self, names: Iterable[str]) -> None:
        """Fetch the pages of several packages at once."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.files, names))

    def prefetch_requirements(self, files: Iterable[File]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.requires, files))

    def files(self, name: str) -> list[File]:
        """Every file of a package, the newest version first, wheels before source distributions."""
        from pip._internal.index.collector import parse_links

        def links_of(page: Any) -> list[Any]:
            response = self._collector.fetch_response(page)
            return [] if response is None else list(parse_links(response))

        if name not in self._files:
            sources = self._collector.collect_sources(name, candidates_from_page=links_of)
            links = [
                link
                for source in (*sources.find_links, *sources.index_urls)
                if source is not None
                for link in (*source.page_candidates(), *source.file_links())
            ]
            found = [file for link in links if not link.is_yanked and (file := _file(name, link)) is not None]
            self._files[name] = sorted(found, key=lambda file: (file.version, file.is_wheel), reverse=True)
        return self._files[name]

    def choice(self, name: str, specifier: SpecifierSet, target: Target, refused: Set[tuple[str, Version]]) -> File | None:
        """The file that pip would take: of the newest release that is allowed, a wheel if there is one. None if none fits."""
        tags = target.tags()
        python = "{}.{}.{}".format(*target.python)

        def fits(file: File) -> bool:
            return (
                (not file.is_wheel or not tags.keys().isdisjoint(file.tags))
                and (name, file.version) not in refused
                and specifier.contains(file.version, prereleases=True)
                and file.python.contains(python)
            )

        final_first = sorted(self.files(name), key=lambda file: file.version.is_prerelease)
        best = next(filter(fits, final_first), None)
        if best is None or not best.is_wheel:
            return best
        wheels = [file for file in self.files(name) if file.version == best.version and file.is_wheel and fits(file)]
        return min(wheels, key=lambda file: min(tags[tag] for tag in file.tags if tag in tags))

    def requires(self, file: File) -> tuple[str, ...]:
        """The requirements of a release, with their markers."""
        if file.link.url not in self._requires:
            metadata = Parser().parsestr(self._metadata(file))
            self._requires[file.link.url] = tuple(metadata.get_all("Requires-Dist", []))
        return self._requires[file.link.url]

    def _metadata(self, file: File) -> str:
        beside = file.link.metadata_link() if file.is_wheel else None
        if beside is not None:
            return self._get(beside).decode()
        content = io.BytesIO(self._get(file.link))
        if file.is_wheel:
            with zipfile.ZipFile(content) as wheel:
                return wheel.read(next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))).decode()
        with tarfile.open(fileobj=content) as archive:
            info = archive.extractfile(next(member for member in archive if member.name.endswith("/PKG-INFO")))
            assert info is not None
            return info.read().decode()

    def _get(self, link: Any) -> bytes:
        response = self._session.get(link.url_without_fragment)
        response.raise_for_status()
        return bytes(response.content)


def _file(name: str, link: Any) -> File | None:
    """A link of the index as a file of `name`; None for what pip ignores."""
    try:
        python = SpecifierSet(link.requires_python or "")
        if link.filename.endswith(".whl"):
            found, version, _, tags = parse_wheel_filename(link.filename)
        else:
            found, version = parse_sdist_filename(link.filename)
            tags = frozenset()
    except (InvalidSpecifier, InvalidVersion, InvalidWheelFilename, InvalidSdistFilename):
        return None
    return File(name, version, tags, python, link) if found == name else None


def resolve(index: Index, requirements: Sequence[str], target: Target) -> dict[str, list[File]]:
    """The files that pip would take for `requirements` and all that they require, by package.

    The last file of each is the one installed. A source distribution before it was found not to be allowed later: pip would have
    tried to compile it, to learn what it requires. Raises AssertionError if a package has no release that fits.
    """
    limits: dict[str, SpecifierSet] = {}
    refused: set[tuple[str, Version]] = set()
    taken: dict[str, list[File]] = {}
    for _ in range(ROUNDS):
        chosen, found, stuck = _walk(index, requirements, target, limits, refused)
        for name, file in chosen.items():
            taken[name] = [*(earlier for earlier in taken.get(name, []) if not earlier.is_wheel and earlier is not file), file]
        if stuck:  # as pip does: an older release of what asked for it
            refused |= stuck
        elif found == limits:
            return {name: files for name, files in taken.items() if name in chosen}
        limits = {} if stuck else found
    raise AssertionError(f"{target}: the requirements do not settle: {limits}")


def _walk(
    index: Index, requirements: Sequence[str], target: Target, limits: dict[str, SpecifierSet], refused: set[tuple[str, Version]]
) -> tuple[dict[str, File], dict[str, SpecifierSet], set[tuple[str, Version]]]:
    """Choose a file for each package that is required, level by level.

    Returns the files, what all of them together allow, and the releases that require one that does not exist.
    """
    chosen: dict[str, File] = {}
    found: dict[str, SpecifierSet] = {}
    seen: set[tuple[str, str]] = set()
    level: list[tuple[Requirement, str, File | None]] = [(Requirement(text), "", None) for text in requirements]
    while level:
        level = [
            (requirement, extra, by)
            for requirement, extra, by in level
            if requirement.marker is None or requirement.marker.evaluate(target.environment(extra))
        ]
        index.prefetch_pages({canonicalize_name(requirement.name) for requirement, _, _ in level})
        for requirement, _, by in level:
            name = canonicalize_name(requirement.name)
            found[name] = found.get(name, SpecifierSet()) & requirement.specifier
            best = chosen.get(name) or index.choice(name, limits.get(name, requirement.specifier), target, refused)
            if best is None:
                assert by is not None, f"{target}: no release of {requirement} fits"
                return chosen, found, {(by.name, by.version)}
            chosen[name] = best
        names = {(canonicalize_name(requirement.name), "") for requirement, _, _ in level}
        names |= {(canonicalize_name(requirement.name), extra) for requirement, _, _ in level for extra in requirement.extras}
        index.prefetch_requirements({chosen[name] for name, _ in names - seen})
        level = [
            (Requirement(text), extra, file)
            for name, extra in sorted(names - seen)
            for file in (chosen[name],)
            for text in index.requires(file)
        ]
        seen |= names
    return chosen, found, set()
