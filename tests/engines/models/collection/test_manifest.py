from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import DownloadError
from engines.models.collection.manifest import bundled_manifest, read_manifest

ENTRY = {
    "url": '"https://example.org/a.onnx"', "size_bytes": "12", "sha256": f'"{"0123456789abcdef" * 4}"', "licence": '"MIT"',
}  # fmt: skip


def written(place: Path, name: str = "good", hosts: str = '["example.org", "Files.example.org:8443"]', **changes: str) -> Path:
    lines = [f"{key} = {value}" for key, value in (ENTRY | changes).items() if value]
    place.write_text(f'hosts = {hosts}\n[models."{name}"]\n' + "\n".join(lines))
    return place


def test_the_bundled_manifest_is_well_formed() -> None:
    """Every entry: https, listed hosts, a size, a full hash, no AGPL licence."""
    manifest = read_manifest(bundled_manifest())
    for name, entry in manifest.models.items():
        assert "AGPL" not in entry.licence.upper(), name
        assert entry.description, name


def test_the_examples_of_the_documentation_are_right(repo_root: Path, tmp_path: Path) -> None:
    blocks = (repo_root / "docs/models.md").read_text().split("```toml\n")[1:]
    (example,) = [block.split("```")[0] for block in blocks if "hosts = " in block]
    (tmp_path / "m.toml").write_text(example)
    assert list(read_manifest(tmp_path / "m.toml").models) == ["crossing"]
    head, _, _ = bundled_manifest().read_text().partition("\n\n")
    commented = [line.removeprefix("#").strip() for line in head.splitlines()]
    form = "\n".join(line.split("   ")[0] for line in commented[commented.index("") + 1 :] if " = " in line or "[" in line)
    (tmp_path / "m.toml").write_text(form.replace("64 hex digits", "0" * 64).replace("https://...", "https://example.org"))
    assert list(read_manifest(tmp_path / "m.toml").models) == ["NAME"]


def test_an_empty_manifest_points_to_add(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("")
    with pytest.raises(DownloadError, match=r"lists no downloads\. Add any \.onnx file: run\.py models add"):
        read_manifest(tmp_path / "m.toml").entry("road-large")


@pytest.mark.parametrize(
    "url",
    ["https://example.org/a.onnx", "https://EXAMPLE.org:443/a.onnx", "https://files.example.org:8443/a.onnx?v=2", "https://example.org/b/c.onnx"],
)  # fmt: skip
def test_entries_are_read(tmp_path: Path, url: str) -> None:
    manifest = read_manifest(written(tmp_path / "m.toml", url=f'"{url}"', card='{classes = ["a"], input = {pad = 0}}'))
    entry = manifest.entry("good")
    assert (entry.url, entry.size_bytes, entry.licence, entry.card["input"]) == (url, 12, "MIT", {"pad": 0})
    with pytest.raises(DownloadError, match='Did you mean "good"'):
        manifest.entry("goof")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("url", '"http://example.org/a.onnx"', "not https"),
        ("url", '"file:///etc/a.onnx"', "not https"),
        ("url", '"//example.org/a.onnx"', "not https"),
        ("url", '"https://evil.org/a.onnx"', "does not list under hosts"),
        ("url", '"https://example.org@evil.org/a.onnx"', "does not list under hosts"),
        ("url", '"https://files.example.org/a.onnx"', "does not list under hosts"),
        ("url", '"https://example.org\\n/a.onnx"', "is not a URL"),
        ("url", '"https://[example.org/a.onnx"', "is not a URL"),
        ("url", '"https://example.org/a.zip"', "Archives"),
        ("url", '"https://example.org/a.tar.gz"', "Archives"),
        ("url", '"https://example.org/?a.onnx"', "Archives"),
        ("url", "", "url"),
        ("url", "3", "url"),
        ("size_bytes", "0", "size_bytes 0"),
        ("size_bytes", "-1", "size_bytes -1"),
        ("size_bytes", str(2**31 + 1), "2 GiB"),
        ("size_bytes", '"12"', "size_bytes"),
        ("sha256", '""', "64 lower-case hex digits"),
        ("sha256", f'"{"g" * 64}"', "64 lower-case hex digits"),
        ("sha256", f'"{"0" * 63}"', "64 lower-case hex digits"),
        ("sha256", f'"{"../" * 21}a"', "64 lower-case hex digits"),
        ("licence", '" "', "licence is empty"),
        ("licence", "", "licence"),
        ("card", '{file = "../../evil.onnx"}', "card.file is set by the entry itself"),
        ("card", '{sha256 = ""}', "card.sha256 is set by the entry itself"),
        ("card", "{recipe = 2024-01-01}", "values that a card cannot have"),
        ("path", '"/etc"', "path"),
    ],
)
def test_an_invalid_entry_is_an_error(tmp_path: Path, key: str, value: str, words: str) -> None:
    with pytest.raises(DownloadError, match=words) as caught:
        read_manifest(written(tmp_path / "m.toml", **{key: value}))
    assert "\n" not in str(caught.value)
    assert "m.toml" in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "CON", "nul", "a/b", "x.onnx", ".x", ""])
def test_an_invalid_name_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadError, match="cannot be the name of a model"):
        read_manifest(written(tmp_path / "m.toml", name))


@pytest.mark.parametrize(
    ("text", "words"), [("x", "TOML"), ("extra = 1", "extra"), ("hosts = 1", "hosts"), ("models = []", "models")]
)
def test_an_invalid_manifest_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(DownloadError, match=words):
        read_manifest(tmp_path / "m.toml")


def test_a_missing_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"m\.toml: no such manifest"):
        read_manifest(tmp_path / "m.toml")
