"""What no file of the project may hold: places of one machine, syntax newer than the oldest Python, modules it lacks."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).parents[2]
FOLDERS = ("engines", "realtime", "tests", "benchmarks", "docs", "assets", ".ci")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".jsonl", ".cfg", ".sh", ""}
NEW_IN_311 = {"tomllib", "wsgiref.types"}
NEW_NAMES_IN_311 = {
    "typing": {"Self", "LiteralString", "Never", "assert_never", "Required", "NotRequired", "reveal_type", "Unpack", "override"},
    "enum": {"StrEnum", "ReprEnum", "EnumCheck", "verify", "member", "nonmember", "global_enum"},
    "datetime": {"UTC"},
    "asyncio": {"TaskGroup", "Runner", "timeout"},
    "contextlib": {"chdir"},
    "hashlib": {"file_digest"},
    "itertools": {"batched"},
    "builtins": {"ExceptionGroup"},
}


def python_files() -> list[Path]:
    files = [REPO_ROOT / "run.py", *(path for folder in FOLDERS for path in (REPO_ROOT / folder).rglob("*.py"))]
    return sorted(path for path in files if "__pycache__" not in path.parts)


def text_files() -> list[Path]:
    candidates = [path for path in REPO_ROOT.iterdir() if path.is_file() and path.name != ".git"]
    candidates += [path for folder in FOLDERS for path in (REPO_ROOT / folder).rglob("*") if path.is_file()]
    ignored = subprocess.run(
        ["git", "check-ignore", "--stdin"],
        cwd=REPO_ROOT, input="\n".join(map(str, candidates)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    skipped = set(ignored.stdout.splitlines())
    return sorted(path for path in candidates if path.suffix in TEXT_SUFFIXES and str(path) not in skipped)


def test_there_are_files_to_look_at() -> None:
    assert len(python_files()) > 60
    assert REPO_ROOT / "pyproject.toml" in text_files()


HOME = re.compile(r"/(?:home|Users)/(?!\w*(?:you|me|user|runner|ada|name)\b)[a-z]\w*/|/root/|(?<![\w.])/work/")
REGISTRY = re.compile(r"files\.pythonhosted|(?:index|extra-index)-url|[\w-]+\.(?:internal|corp|local):\d+", re.IGNORECASE)


@pytest.mark.parametrize("pattern", [HOME, REGISTRY], ids=["home", "registry"])
def test_no_file_knows_the_machine_it_was_written_on(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(REPO_ROOT)}:{number}: {line.strip()[:100]}"
        for path in text_files()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(REPO_ROOT)))
def test_the_oldest_python_can_read_it(path: Path) -> None:
    """3.10 is JetPack 6's. What is new since may be imported only behind a check of `sys.version_info`."""
    text = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text, str(path), feature_version=(3, 10))))
    may_check = "version_info" in text
    checks = [node for node in nodes if may_check and isinstance(node, ast.If) and "version_info" in ast.unparse(node.test)]
    guarded = {id(inner) for node in checks for statement in (*node.body, *node.orelse) for inner in ast.walk(statement)}
    new = []
    for node in nodes:
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            new += [alias.name for alias in node.names if alias.name in NEW_IN_311]
        elif isinstance(node, ast.ImportFrom) and node.module:
            new += [node.module] if node.module in NEW_IN_311 else []
            new += [alias.name for alias in node.names if alias.name in NEW_NAMES_IN_311.get(node.module, ())]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            new += [node.attr] if node.attr in NEW_NAMES_IN_311.get(node.value.id, ()) else []
        elif isinstance(node, getattr(ast, "TryStar", ())):  # unknown to 3.10 itself
            new.append("except*")
    assert not new, f"{path.name} uses {new}, which Python 3.10 lacks"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(REPO_ROOT))
        for path in python_files()
        if "tests" not in path.parts and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent, f"without a docstring: {silent}"


def test_files_stay_small_enough_to_read_at_once() -> None:
    """250 lines or so, says the style; a file of 300 has two subjects."""
    long = {
        str(path.relative_to(REPO_ROOT)): count
        for path in python_files()
        if "tests" not in path.parts and (count := len(path.read_text(encoding="utf-8").splitlines())) > 300
    }
    assert not long


@pytest.mark.parametrize("package", ["engines", "realtime"])
def test_modules_are_in_rooms(package: str) -> None:
    """Values, errors and the entry points are in the package itself; everything else belongs to a folder."""
    loose = sorted(path.stem for path in (REPO_ROOT / package).glob("*.py") if path.stem != "__init__")
    assert len(loose) <= 6, loose
