"""The work of `run.py models get`: a listed model is shown, accepted, downloaded or made by its maker's exporter, and kept."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engines.files import PART
from engines.models import zoo
from engines.models.collection.add import add_downloaded
from engines.models.collection.download import download
from engines.models.collection.environment import brings_cuda, environments_folder, make, steps_of, takes_mb
from engines.models.collection.exporters import Exporters, bundled_exporters, check_python, read_exporters
from engines.models.collection.folders import check_free, check_name
from engines.models.collection.manifest import Entry, bundled_manifest, read_manifest
from engines.system.unfinished import unfinished
from realtime.commands.common.checking import PROGRESS_DELAY_S
from realtime.commands.common.listing import INDENT, print_downloads, print_fact
from realtime.commands.common.owning import check_trial, keep
from realtime.errors import SettingsError
from realtime.process.progress import Progress

if TYPE_CHECKING:
    from realtime.commands.models import Get

TRIED_ON = ("x86_64", "AMD64")
"""Machines that exporters were run on."""


def get(options: Get) -> int:
    """Get a model that is listed, or list these models."""
    listed = read_manifest(Path(options.manifest) if options.manifest else bundled_manifest())
    exporters = Exporters({}, {}) if options.manifest else read_exporters(bundled_exporters())
    if options.model is None:
        print_downloads(listed, exporters)
        return 0
    entry = None if options.model in exporters.models else listed.entry(options.model, exporters.models)
    name = options.name or options.model
    check_name(name)
    check_free(name)  # before the question about the licence, and all work
    if entry is None:
        return _make(exporters, name, options, options.model)
    return _download(entry, listed.hosts, name, options, options.model)


def _download(entry: Entry, hosts: tuple[str, ...], name: str, options: Get, listed_name: str) -> int:
    preview_path = check_trial(name, options.trial)  # before anything is downloaded
    if entry.notice:  # what people may not expect before everything else
        print_fact("notice", entry.notice)
    print(f"model    {listed_name}: {entry.description}" if entry.description else f"model    {listed_name}")
    print(f"from     {entry.url} ({entry.size_bytes / 1e6:.1f} MB)")
    print(f"licence  {entry.licence} {entry.licence_url}".rstrip())
    _accept(listed_name, "Accept this licence and download? [y/N] ", is_accepted=options.accept_licence)
    with Progress(name, "MB", delay_s=PROGRESS_DELAY_S) as progress:
        size_mb = entry.size_bytes / 1e6
        path = download(entry, hosts, zoo.own_dir() / ".downloads", on_progress=lambda done: progress.show(done / 1e6, size_mb))
    facts = {"description": entry.description, **entry.card, "licence": entry.licence, "source": entry.url}
    return keep(name, options.trial, preview_path, lambda folder: add_downloaded(path, name, facts, folder))


def _make(exporters: Exporters, name: str, options: Get, listed_name: str) -> int:
    export, maker = exporters.models[listed_name], exporters.maker_of(listed_name)
    check_python(listed_name, maker)
    preview_path = check_trial(name, options.trial)  # before minutes of work
    _show_steps(exporters, listed_name)
    _accept(listed_name, "Accept this licence and run these steps? [y/N] ", is_accepted=options.accept_licence)
    source = f"Made with {maker.package}, whose weights are from {export.weights}."
    facts = {"description": export.description, **maker.card, "licence": maker.licence, "source": source}
    onnx_path = zoo.own_dir() / ".downloads" / f"{listed_name}.{os.getpid()}.onnx{PART}"  # no other process's
    with unfinished(lambda: onnx_path.unlink(missing_ok=True)):
        try:
            with Progress(name, "s") as progress:
                make(listed_name, export, maker, onnx_path, lambda title, seconds: progress.show(seconds, None, title))
            return keep(name, options.trial, preview_path, lambda folder: add_downloaded(onnx_path, name, facts, folder))
        finally:
            onnx_path.unlink(missing_ok=True)


def _show_steps(exporters: Exporters, name: str) -> None:
    """What is about to be done, to the letter, and what it takes."""
    export, maker = exporters.models[name], exporters.maker_of(name)
    folder = environments_folder() / "environment-..."
    if maker.notice:
        print_fact("notice", maker.notice)
    print(f"model    {name}: {export.description}")
    print(f"licence  {maker.licence} {maker.licence_url}")
    print(f"steps    in {folder}, which is removed at the end:")
    for step in steps_of(maker, export.argument, Path("model.onnx"), folder):
        command = shlex.join(step.command).replace(f"{folder}/", "")
        print(f"{'':{INDENT}}" + command.replace("\n", f"\n{'':{INDENT + 2}}"))
    download_mb, disk_mb = takes_mb(maker)
    download = f"{download_mb / 1e3:.1f} GB" if download_mb >= 1000 else f"{download_mb} MB"
    print_fact(
        "takes",
        f"{download} of packages to download, and the weights, from {export.weights}; {disk_mb / 1e3:.1f} GB of disk for some "
        f"minutes, of which {export.size_mb:.0f} MB stay",
    )
    if brings_cuda(maker):
        cure = "PIP_EXTRA_INDEX_URL with the address of PyTorch's index for CPUs"
        print_fact("note", f"most of it is CUDA, which is not needed. {cure} gives a build without: {maker.download_mb} MB")
    if platform.machine() not in TRIED_ON:
        cure = "If a package is missing there, make the model on a PC, and bring its file: models add FILE.onnx"
        print_fact("note", f"this was not tried on {platform.machine()}. {cure}")


def _accept(name: str, question: str, *, is_accepted: bool) -> None:
    """Ask for consent. Raises SettingsError when it is not given, or there is no terminal to ask on."""
    if is_accepted:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"{name}: its licence must be accepted", "Read it, then add --accept-licence")
    sys.stdout.flush()
    try:
        answer = input(question)
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise SettingsError(f"{name}: its licence was not accepted", "Nothing was downloaded")
