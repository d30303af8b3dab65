"""The documentation as a site: it builds without a warning, loads nothing from elsewhere, and has what is public."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import ranksearch

ROOT = Path(__file__).parent.parent
WAY = "pip install 'ranksearch[docs]'"


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith("::: ")}
    assert set(ranksearch.__all__) <= listed


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = pytest.importorskip("mkdocs.config", reason=WAY)
    build = pytest.importorskip("mkdocs.commands.build", reason=WAY)
    pytest.importorskip("material", reason=WAY)
    monkeypatch.chdir(ROOT)  # where the paths of mkdocs.yml begin
    build.build(config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert len(pages) > 30
    for path, text in pages.items():
        assert not re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"?https?:", text), path
        assert "arithmatex" not in text, path
        assert "--8<--" not in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL), path
    assert "<math" in pages[tmp_path / "mathematics" / "index.html"]
    assert "87.74" in pages[tmp_path / "results" / "index.html"]


def test_names_in_docstrings_become_lists() -> None:
    pytest.importorskip("griffe", reason=WAY)
    text = "What it does.\n\na: the first, or\n    the last. b, c: others. Note: no name.\n\nRaises X: if so."
    wanted = "What it does.\n\n- `a`: the first, or the last.\n- `b`, `c`: others. Note: no name.\n\nRaises X: if so."
    assert hook("docstrings").listed(text, {"a", "b", "c"}) == wanted


def test_links_out_of_the_docs_stay_links() -> None:
    pytest.importorskip("mkdocs", reason=WAY)
    elsewhere = hook("elsewhere")
    assert elsewhere.place_of(ROOT / "docs" / "design.md") == "design.md"
    assert elsewhere.place_of(ROOT / "studies" / "speed" / "README.md") == "studies/speed/README.md"
    linked = set(elsewhere.linked(ROOT / "docs" / "results.md"))
    assert ROOT / "studies" / "speed" / "README.md" in linked
    assert all(path.is_file() for path in linked)
