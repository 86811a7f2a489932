"""docs/python.md is true: its lines run, one block after the other, in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.mark.timeout(120)
def test_every_line_of_the_page_runs(repo_root: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    cv2.imwrite(str(tmp_path / "street.jpg"), np.full((192, 320, 3), 120, np.uint8))
    program = "\n".join([f"import sys; sys.path.insert(0, {str(repo_root)!r})", *blocks, "import threading"])
    program += "\nprint('threads', threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "person" in done.stdout
    assert 'there is no tracker "bytetrak"' in done.stdout or 'no tracker is called "bytetrak"' in done.stdout
    assert (tmp_path / "frame.png").is_file()
    assert done.stdout.splitlines()[-1] == "threads 1", "every loop that is left closes what it opened"


def test_the_table_of_a_result_names_what_there_is() -> None:
    from realtime import FrameResult, SeenObject

    names = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?`) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)))
    assert {"image", "objects", "class_map"} <= set(names)
    assert all(hasattr(FrameResult, name) for name in names)
    of_objects = re.search(r"what is tracked: (.*?) \|", PAGE.read_text(encoding="utf-8"))
    assert of_objects is not None
    fields = set(SeenObject.__dataclass_fields__) | {"mask"}
    assert set(re.findall(r"`(\w+)`", of_objects[1])) <= fields
