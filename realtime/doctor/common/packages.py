"""The installed packages of Python, and how to make one that does not load load."""

import importlib.metadata
import re
import shlex
from collections.abc import Sequence

from realtime.doctor.common.machine import Machine
from realtime.process.failures import PACKAGES, SYSTEM_PACKAGES, known

_TLS = re.compile(r"(\S+\.so\S*): cannot allocate memory in static TLS block")
_OLD_NUMPY = re.compile(
    r"compiled using NumPy 1|numpy\.core\.multiarray failed to import|_ARRAY_API not found|dtype size changed"
)
_LIBRARY = re.compile(r"(lib[\w+.-]+\.so[.\d]*): cannot open shared object file")
_OLD_SYSTEM = re.compile(r"version [`'](GLIBC_[\d.]+)' not found")
_OLD_CXX = re.compile(r"version [`'](?:GLIBCXX|CXXABI)_[\d.]+' not found")


def normal(name: str) -> str:
    """A package's name as it is compared. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(machine: Machine) -> dict[str, str]:
    """The versions of all installed packages by `normal` name. Of two, the one that Python finds first counts."""
    found: dict[str, str] = {}
    for package in importlib.metadata.distributions(path=list(machine.paths)):
        try:
            name, version = package.metadata["Name"], package.version
        except (KeyError, OSError, ValueError):  # a folder that a broken installation left
            continue
        if name and version:
            found.setdefault(normal(name), version)
    return found


def numbers(version: str) -> tuple[int, ...]:
    """ "10.3.0.26" as (10, 3, 0, 26): the leading numbers."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def cure_of_import(machine: Machine, error: BaseException, package: str) -> str:
    """A command for a package that is installed and does not load. package: as it is installed."""
    text = str(error)
    if found := _TLS.search(text):
        return f"export LD_PRELOAD={found[1]}  # and start the program from this shell"
    if _OLD_NUMPY.search(text):
        return machine.pip("install", f"--upgrade --force-reinstall --no-cache-dir {package} numpy")
    if found := _LIBRARY.search(text):
        for start, name in SYSTEM_PACKAGES.items():
            if found[1].startswith(start):
                return f"sudo apt-get install -y {name}"
        return f"apt-file search {found[1]}  # names the system package that contains it"
    if found := _OLD_SYSTEM.search(text):
        command = machine.pip("install", f"--force-reinstall --only-binary :all: {package}")
        return f"{command}  # the installed one is for a system with {found[1]}"
    if _OLD_CXX.search(text):
        return "unset LD_LIBRARY_PATH  # an older libstdc++ than this package needs comes first there; or sudo apt-get upgrade"
    if (explained := known(error)) is not None and not isinstance(error, ImportError):
        return f"{machine.run} doctor memory  # {explained[1]}"
    return machine.pip("install", f"--force-reinstall {package}")


def package_of(module: str) -> str:
    """The name that a module is installed under."""
    return PACKAGES.get(module, module)


def first_of(versions: dict[str, str], names: Sequence[str]) -> tuple[str, str] | None:
    """The first of these packages that is installed, and its version."""
    return next(((name, versions[name]) for name in names if name in versions), None)


def restored(machine: Machine, path: str) -> str:
    """A command that brings back files of the program: a path below its assets."""
    from engines.models.zoo import assets_dir

    checkout = assets_dir().parent
    if (checkout / ".git").exists():
        return f"git -C {shlex.quote(str(checkout))} checkout -- assets/{path}"
    return machine.pip("install", "--force-reinstall --no-deps .  # in a clone of the program")
