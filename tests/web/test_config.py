"""The file of models that are served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rootpoint.errors import InputError
from rootpoint.web.config import read_config
from rootpoint.web.requests import Request


def written(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_the_digits_and_the_default_model_are_served():
    assert [(m.name, m.kind) for m in read_config().models] == [
        ("digits", "digits"),
        ("mobilenet-v2", "image"),
    ]


def test_a_file_adds_models_and_sets_those_that_are_always_served(tmp_path: Path):
    text = """
    [[models]]
    name = "torchvision:resnet18"
    title = "ResNet"
    [[models]]
    name = "digits"
    queue = 3
    timeout = 1.5
    batch = 8
    """
    first, digits, default = read_config(written(tmp_path, text)).models
    assert (first.name, first.shown, first.kind) == ("torchvision:resnet18", "ResNet", "image")
    assert (digits.queue, digits.timeout, digits.batch) == (3, 1.5, 8)
    assert default.name == "mobilenet-v2"


def test_files_are_looked_for_beside_the_file_of_models(tmp_path: Path):
    text = """
    [[models]]
    name = "forest.skops"
    kind = "table"
    rows = "rows.csv"
    [[models]]
    name = "net.py:build@weights.safetensors"
    """
    table, net, *_ = read_config(written(tmp_path, text)).models
    assert table.source == str(tmp_path / "forest.skops")
    assert table.table == tmp_path / "rows.csv"
    assert net.source == f"{tmp_path / 'net.py:build'}@{tmp_path / 'weights.safetensors'}"
    assert net.shown == "net"


def test_where_the_files_are_is_not_shown_to_visitors(tmp_path: Path):
    text = '[[models]]\nname = "forest.skops"\nkind = "table"\nrows = "rows.csv"'
    table, *_ = read_config(written(tmp_path, text)).models
    assert (table.name, table.shown) == ("forest.skops", "forest")
    assert str(tmp_path) not in table.model_dump_json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[models]", "not TOML"),
        ("models = []", "models"),
        ("[[model]]\nname='x'", "model"),
        ("[[models]]\ntitle='x'", r"models\[0\].name"),
        ("[[models]]\nname='x'\nqueue=0", r"models\[0\].queue"),
        ("[[models]]\nname='x'\ntimeout=nan", r"models\[0\].timeout"),
        ("[[models]]\nname='x'\nkind='sound'", r"models\[0\].kind"),
        ("[[models]]\nname='x'\nkind='digits'", "no other"),
        ("[[models]]\nname='x'\nrows='r.csv'", "table"),
        ("[[models]]\nname='x.skops'\nkind='table'", "rows"),
        ("[[models]]\nname='x'\nkind='text'", "FILE.py:FACTORY"),
        ("[[models]]\nname='x'\n[[models]]\nname='x'", "two models"),
    ],
)
def test_errors_name_the_file_and_the_place(tmp_path: Path, text: str, said: str):
    with pytest.raises(InputError, match=said) as caught:
        read_config(written(tmp_path, text))
    assert "models.toml" in str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        read_config(tmp_path / "none.toml")


def test_the_documents_examples_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "page.md").read_text()
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (request,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "models.toml").write_text(toml)
    found = [model.kind for model in read_config(tmp_path / "models.toml").models]
    assert found == ["image", "image", "text", "table", "digits", "image"]
    assert Request.model_validate_json(request).target == 281
