"""Every snippet of the README and the docs runs, and their tables name what there is."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import skops.io
from sklearn.datasets import load_breast_cancer
from sklearn.svm import OneClassSVM

import rootpoint as rp
from rootpoint import errors
from rootpoint.cli import main
from rootpoint.data import photos
from rootpoint.models import available
from rootpoint.propagation.composites import PRESETS
from rootpoint.propagation.rules import RULES

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a document; `line` is that of its first line of code."""

    language: str
    line: int
    code: str


def snippets(document: Path) -> list[Snippet]:
    found: list[Snippet] = []
    language, start, block = None, 0, []
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if not line.startswith("```"):
            block.append(line)
        elif language is None:
            language, start, block = line[3:].strip(), number + 1, []
        else:
            found.append(Snippet(language, start, "\n".join(block)))
            language = None
    assert language is None, f"{document.name}: the block before line {start} is not closed"
    return found


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def with_blocks(*languages: str) -> list[Path]:
    return [d for d in DOCUMENTS if any(s.language in languages for s in snippets(d))]


@pytest.fixture
def folder_with_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for photo in photos():
        shutil.copy(photo.path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder_with_files(folder_with_photos: Path) -> Path:
    """Photos, a table, its detector, and what the page saved."""
    table = load_breast_cancer(as_frame=True).data
    table.to_csv("patients.csv", index=False)
    skops.io.dump(OneClassSVM().fit(table), "detector.skops")
    asked = {"model": "mobilenet-v2", "input": {"kind": "sample", "name": "chelsea"}}
    Path("mobilenet-v2-lrp.json").write_text(json.dumps({"request": asked, "answer": {}}))
    return folder_with_photos


@pytest.mark.usefixtures("folder_with_photos")
@pytest.mark.parametrize("document", with_blocks("python"), ids=name)
def test_python_snippets_run_in_order(document: Path) -> None:
    namespace: dict[str, object] = {"__name__": name(document)}
    for snippet in snippets(document):
        if snippet.language == "python":
            code = "\n" * (snippet.line - 1) + snippet.code
            exec(compile(code, document, "exec"), namespace)


@pytest.mark.slow
@pytest.mark.usefixtures("folder_with_files")
@pytest.mark.parametrize("document", with_blocks("sh"), ids=name)
def test_shell_snippets_run(document: Path) -> None:
    for snippet in snippets(document):
        if snippet.language == "sh":
            for line in snippet.code.replace("\\\n", " ").splitlines():
                if command := shlex.split(line, comments=True):
                    check_command(command)


def check_command(command: list[str]) -> None:
    """Run a `rootpoint` command; of the others, see that what they name exists."""
    match command:
        case ["rootpoint", "serve", *arguments]:  # does not end by itself: see tests/web
            assert main(["serve", *arguments, "--help"]) == 0
        case ["rootpoint", *arguments]:
            assert main(arguments) == 0
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target
        case ["pip", "install", package]:
            extras = re.findall(r"\[(.*)\]", package)
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert set(extras) <= project["optional-dependencies"].keys(), package
        case _:
            pytest.fail(f"no way to check {shlex.join(command)!r}")


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{name(document)}: {link}"


def in_tables(document: str) -> set[str]:
    """What stands in backquotes in the first cell of any table row."""
    rows = re.findall(r"^\| *`([^`]+)`", (ROOT / document).read_text(), re.M)
    return {row.split("(")[0] for row in rows}


def ours(classes: Mapping[str, type]) -> set[str]:
    """The names of the library's own classes: other tests define some, too."""
    return {name for name, cls in classes.items() if cls.__module__.startswith("rootpoint.")}


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ("README.md", ours(rp.methods())),
        ("README.md", {card.name for card in available()}),
        ("docs/guide.md", set(PRESETS)),
        ("docs/rules.md", set(RULES)),
        ("docs/evaluation.md", ours(rp.metrics())),
    ],
    ids=["methods", "models", "composites", "rules", "metrics"],
)
def test_tables_name_what_there_is(document: str, names: set[str]) -> None:
    assert names <= in_tables(document)


def test_exit_codes_are_those_of_the_errors() -> None:
    kinds = [e for e in vars(errors).values() if isinstance(e, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.RootpointError)}
    documented = re.findall(r"^\| *(\d+) *\|", (ROOT / "README.md").read_text(), re.M)
    assert codes - {errors.RootpointError.exit_code} <= set(map(int, documented))
