"""What every kind of output promises, whatever it writes."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from realtime.errors import SinkError
from realtime.sinks import StreamFacts, check_outputs, kinds, names, needs_canvas, open_sinks, recover
from realtime.sinks.common import output_file

FILES = {"video": "o.mp4", "mot": "o.txt", "jsonl": "o.jsonl"}
FACTS = StreamFacts(source="clip", model="net", classes=("car", "person"), fps=30)

every_kind = pytest.mark.parametrize("kind", names())


def test_the_folder_is_the_registry():
    assert names() == ("jsonl", "mot", "video")
    assert set(FILES) == set(names())


def test_describing_the_kinds_imports_none_of_them():
    code = "import sys, realtime.sinks as s; s.kinds(); print(sorted({'av', 'numpy', 'msgspec'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_kinds_declare_what_they_need():
    assert list(kinds()) == ["video", "jsonl", "mot"]
    assert {name: (kind.option, kind.needs_canvas, kind.needs_tracks) for name, kind in kinds().items()} == {
        "video": ("--out", True, False),
        "jsonl": ("--jsonl", False, False),
        "mot": ("--mot", False, True),
    }
    assert needs_canvas(["mot", "video"])
    assert not needs_canvas(["mot", "jsonl"])


@every_kind
def test_a_kind_that_needs_no_canvas_writes_without_one(kind, tmp_path, make_picture):
    if kinds()[kind].needs_canvas:
        return
    path = tmp_path / FILES[kind]
    (sink,) = open_sinks({kind: path}, FACTS)
    sink.write(make_picture(0)[0], None)
    sink.close()
    assert path.stat().st_size


@every_kind
def test_the_file_appears_when_complete_and_leaves_nothing_else(kind, tmp_path, make_picture):
    path = tmp_path / "new" / "folder" / FILES[kind]
    (sink,) = open_sinks({kind: path}, FACTS)
    for index in range(5):
        sink.write(*make_picture(index))
        assert not path.exists()
    sink.close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.stat().st_size > 100


@every_kind
def test_nothing_written_leaves_nothing(kind, tmp_path):
    (sink,) = open_sinks({kind: tmp_path / FILES[kind]}, FACTS)
    sink.close()
    assert list(tmp_path.iterdir()) == []


@every_kind
def test_an_older_file_stays_until_the_new_one_is_complete(kind, tmp_path, make_picture):
    path = tmp_path / FILES[kind]
    path.write_bytes(b"older")
    with pytest.raises(SinkError, match=r"exists\. .*--force"):
        open_sinks({kind: path}, FACTS)
    (sink,) = open_sinks({kind: path}, FACTS, replaces=True)
    sink.write(*make_picture(0))
    assert path.read_bytes() == b"older"
    sink.close()
    assert path.read_bytes() != b"older"


@every_kind
def test_a_file_that_appears_meanwhile_is_not_replaced(kind, tmp_path, make_picture):
    path = tmp_path / FILES[kind]
    (sink,) = open_sinks({kind: path}, FACTS)
    sink.write(*make_picture(0))
    path.write_bytes(b"of another program")
    with pytest.raises(SinkError, match=f"{path.stem}-2{path.suffix}"):
        sink.close()
    assert path.read_bytes() == b"of another program"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [f"{path.stem}-2{path.suffix}", path.name]


@every_kind
def test_a_link_in_the_place_of_the_part_is_not_followed(kind, tmp_path, make_picture):
    path, victim = tmp_path / FILES[kind], tmp_path / "victim"
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    (sink,) = open_sinks({kind: path}, FACTS)
    for exists in (True, False):  # a dangling link would make a file elsewhere
        victim.unlink(missing_ok=True)
        if exists:
            victim.write_bytes(b"mine")
        part.unlink(missing_ok=True)
        part.symlink_to(victim)
        for refused in (lambda: check_outputs({kind: path}), lambda: open_sinks({kind: path}, FACTS)):
            with pytest.raises(SinkError, match="is a link"):
                refused()
        assert (victim.read_bytes() == b"mine") if exists else not victim.exists()
    with pytest.raises(SinkError, match="is a link"):
        sink.write(*make_picture(0))
    sink.close()
    assert not victim.exists()
    assert part.is_symlink()


@every_kind
def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(kind, tmp_path, make_picture):
    path, victim = tmp_path / FILES[kind], tmp_path / "victim"
    victim.write_bytes(b"mine")
    path.symlink_to(victim)
    with pytest.raises(SinkError, match="exists"):
        check_outputs({kind: path})
    (sink,) = open_sinks({kind: path}, FACTS, replaces=True)
    sink.write(*make_picture(0))
    sink.close()
    assert victim.read_bytes() == b"mine"
    assert path.is_file()
    assert not path.is_symlink()


@every_kind
def test_the_input_under_another_name_is_refused(kind, tmp_path):
    source = tmp_path / f"clip{Path(FILES[kind]).suffix}"
    source.write_bytes(b"clip")
    hard, soft = tmp_path / f"hard-{FILES[kind]}", tmp_path / f"soft-{FILES[kind]}"
    hard.hardlink_to(source)
    soft.symlink_to(source)
    for path in (source, hard, soft):
        with pytest.raises(SinkError, match="is the input"):
            check_outputs({kind: path}, source, replaces=True)


@every_kind
def test_a_folder_that_is_removed_is_noticed_soon(kind, tmp_path, make_picture, monkeypatch):
    """F21: not at the end of the recording, which may be hours later."""
    monkeypatch.setattr(output_file, "LOOK_EVERY_S", 0.0)
    folder = tmp_path / "folder"
    (sink,) = open_sinks({kind: folder / FILES[kind]}, FACTS)
    sink.write(*make_picture(0))
    shutil.rmtree(folder)
    with pytest.raises(SinkError, match=r"no longer in its folder\)\. Leave the folder"):
        sink.write(*make_picture(1))
    sink.write(*make_picture(2))
    sink.close()
    assert not folder.exists()


@every_kind
def test_a_file_system_without_hard_links(kind, tmp_path, make_picture, monkeypatch):
    def no_links(*arguments, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / FILES[kind]
    (sink,) = open_sinks({kind: path}, FACTS)
    sink.write(*make_picture(0))
    sink.close()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_size


@every_kind
def test_what_a_killed_run_left_is_finished_by_the_next(kind, tmp_path, make_picture, caplog):
    path = tmp_path / FILES[kind]
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    (killed,) = open_sinks({kind: path}, FACTS)
    for index in range(40):
        killed.write(*make_picture(index))
    left = part.read_bytes()[:-1]  # cut off within its last piece
    killed.close()
    path.unlink()
    part.write_bytes(left)
    for recovered in (f"{path.stem}-recovered{path.suffix}", f"{path.stem}-recovered-2{path.suffix}"):
        (sink,) = open_sinks({kind: path}, FACTS)
        assert f"now {tmp_path / recovered}" in caplog.messages[-1]
        assert re.search(r"\((1\.\d s|39 lines|40 lines)\)", caplog.messages[-1]), "how much it is"
        sink.write(*make_picture(0))
        sink.close()
        assert not part.exists()
        path.unlink()
        part.write_bytes(left)
    part.write_bytes(b"")
    assert "before it had written anything" in recover(tmp_path)[0]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        (f"{path.stem}-recovered{path.suffix}", f"{path.stem}-recovered-2{path.suffix}")
    )


@every_kind
def test_what_is_being_written_is_not_taken_for_what_a_killed_run_left(kind, tmp_path, make_picture):
    path = tmp_path / FILES[kind]
    (sink,) = open_sinks({kind: path}, FACTS)
    sink.write(*make_picture(0))
    assert recover(tmp_path) == []
    with pytest.raises(SinkError, match="another run is writing it"):
        recover(path)
    sink.close()
    assert path.exists()


@every_kind
def test_a_part_that_cannot_be_read_is_kept(kind, tmp_path):
    path = tmp_path / FILES[kind]
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    part.write_bytes(b"no film, and no whole line" * 1000)
    (text,) = recover(tmp_path)
    if kind == "video":
        assert "not checked" in text
        assert (tmp_path / f"{path.stem}-recovered{path.suffix}").read_bytes() == b"no film, and no whole line" * 1000
    assert not part.exists()


@every_kind
def test_places_that_cannot_be_written_are_refused_before_the_work(kind, tmp_path):
    suffix = Path(FILES[kind]).suffix
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    a_file = tmp_path / "file"
    a_file.touch()
    source = tmp_path / f"clip{suffix}"
    source.touch()
    device = tmp_path / f"device{suffix}"
    device.symlink_to("/dev/full")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / f"socket{suffix}"))
    for path, cure in (
        (folder, "is a folder"),
        (a_file / f"o{suffix}", "cannot be written"),
        (Path("/proc") / f"o{suffix}", "cannot be written"),
        (tmp_path / "o.xyz", "End the name in"),
        (tmp_path / "o", "End the name in"),
        (source, "is the input"),
        (folder / ".." / source.name, "is the input"),
        (device, "not a regular file"),
        (tmp_path / f"socket{suffix}", "not a regular file"),
    ):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(SinkError, match=cure) as error:
            check_outputs({kind: path}, source)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
        assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@every_kind
def test_a_read_only_folder_is_refused(kind, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="cannot be written"):
        check_outputs({kind: tmp_path / FILES[kind]})


def test_an_unknown_kind_names_the_known_ones(tmp_path):
    with pytest.raises(SinkError, match=r'no kind of output is called "gif"\. Known: jsonl, mot, video'):
        check_outputs({"gif": tmp_path / "o.gif"})


@every_kind
def test_a_check_leaves_the_part_of_a_killed_run(kind, tmp_path):
    path = tmp_path / FILES[kind]
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    part.write_bytes(b"what was saved")
    check_outputs({kind: path})
    assert part.read_bytes() == b"what was saved"


@every_kind
def test_results_without_tracks_are_written(kind, tmp_path, make_picture):
    result, canvas = make_picture(0)
    (sink,) = open_sinks({kind: tmp_path / FILES[kind]}, FACTS)
    sink.write(dataclasses.replace(result, tracks=None), canvas)
    sink.close()
    assert (tmp_path / FILES[kind]).exists()


def test_good_places_pass_and_stay_empty(tmp_path):
    check_outputs({kind: tmp_path / "new" / name for kind, name in FILES.items()}, tmp_path / "clip.mp4")
    assert list((tmp_path / "new").iterdir()) == []


CHILD = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from conftest import picture
    from engines.types import Size
    from realtime.errors import SinkError
    from realtime.sinks import StreamFacts, open_sinks

    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    (sink,) = open_sinks({{{kind!r}: Path({path!r})}}, StreamFacts(fps=30))
    errors = []
    for index in range(2000):
        try:
            sink.write(*picture(index % 40, Size(320, 240)))
        except SinkError as error:
            errors.append(str(error))
            first = index if len(errors) == 1 else first
        if errors and index > first + 20:
            break
    sink.close()
    print(len(errors), errors[0])
"""


@every_kind
def test_a_full_disk_is_reported_once_and_keeps_what_was_written(kind, tmp_path):
    path, limit_bytes = tmp_path / FILES[kind], {"video": 150_000, "mot": 1_000, "jsonl": 50_000}[kind]
    code = CHILD.format(tests=str(Path(__file__).parent), limit=limit_bytes, kind=kind, path=str(path))
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=50)
    assert child.returncode == 0, child.stderr
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    assert re.match(rf"1 .*writing failed.* is in {re.escape(str(part))}", child.stdout)
    assert not path.exists()
    assert limit_bytes * 0.5 < part.stat().st_size <= limit_bytes
    if kind == "video":
        import av

        with av.open(str(part)) as film:
            decoded = 0
            try:
                for _ in film.decode(video=0):
                    decoded += 1
            except av.error.InvalidDataError:
                pass
        assert decoded >= 30
