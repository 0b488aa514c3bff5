"""`rootpoint ask`: the page's question in a file."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import rootpoint as rp
from rootpoint import models
from rootpoint.cli import main
from rootpoint.data import photos
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.propagation.composites import Where
from rootpoint.propagation.rules import read


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drawing(**changes: Any) -> dict[str, Any]:
    canvas = np.zeros((28, 28), np.uint8)
    canvas[5:23, 13:15] = 255
    data = base64.b64encode(canvas.tobytes()).decode()
    drawn = {"kind": "drawing", "width": 28, "height": 28, "data": data}
    return {"model": "digits", "input": drawn, **changes}


def ask(capsys: Any, request: Any, *options: str) -> tuple[int, str, str]:
    Path("question.json").write_text(request if isinstance(request, str) else json.dumps(request))
    code = main(["ask", "question.json", *options])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_answer_is_the_librarys_and_its_document_can_be_asked_again(capsys: Any) -> None:
    rules = {"features.0": "gamma(gamma=1.0)"}
    code, out, _ = ask(capsys, drawing(target=[1, 7], rules=rules), "--json")
    document = json.loads(out)
    image = models.load("digits")
    picture = Image.frombytes("L", (28, 28), base64.b64decode(drawing()["input"]["data"]))
    chosen: Any = rp.method("lrp")
    composite = chosen.chosen(image.module).rules()
    edited = composite.override(Where(module="features.0"), read("gamma(gamma=1.0)"))
    expected = rp.explain(
        image.module,
        image.tensor(picture),
        target=rp.contrast(1, 7),
        method=rp.method("lrp", composite=edited),
    )
    assert code == 0
    found = document["answer"]["relevance_sum"]
    assert found == pytest.approx(expected.relevance.sum().item(), rel=1e-4)
    with Image.open("out/question.png") as sheet:
        assert sheet.width > 500
    again = json.loads(ask(capsys, document, "--json")[1])
    assert again["answer"]["relevance_sum"] == found
    assert again["request"] == document["request"]


def test_people_read_what_was_explained(capsys: Any) -> None:
    code, out, _ = ask(capsys, drawing(target=[1, 7]))
    assert code == 0
    assert out.startswith("explained: 1 rather than 7 · score ")
    assert "picture: out/question.png" in out


def test_a_photo_in_the_file_is_explained(capsys: Any) -> None:
    (cup,) = [photo for photo in photos() if photo.name == "coffee"]
    data = base64.b64encode(cup.path.read_bytes()).decode()
    request = {"model": "mobilenet-v2", "input": {"kind": "photo", "data": data}}
    code, out, _ = ask(capsys, {**request, "method": "gradient"})
    assert code == 0
    assert out.startswith("explained: espresso")


def test_words_of_a_text_are_printed(capsys: Any) -> None:
    skops = pytest.importorskip("skops.io")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    texts = ["good film", "bad film", "good plot", "bad plot"]
    skops.dump(model.fit(texts, [1, 0, 1, 0]), "films.skops")
    request = {"model": "films.skops", "input": {"kind": "text", "text": "good film"}}
    code, out, _ = ask(capsys, request, "--output", "here")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["good", "film"]
    assert not Path("here").exists()


def test_a_question_may_come_by_standard_input(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(drawing())))
    assert main(["ask", "-"]) == 0
    assert Path("out/answer.png").exists()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "does not fit"),
        (drawing(methods="lrp"), "methods: Extra inputs are not permitted"),
        (drawing(target=12), "there is no class 12"),
        (drawing(method="nonsense"), "nonsense"),
        (drawing(parameters={"steps": 10**8}, method="integrated-gradients"), "more than the 500"),
        ({"model": "x.skops", "input": {"kind": "row", "values": [1.0]}}, "--config FILE"),
    ],
)
def test_what_is_wrong_with_a_question_is_said(capsys: Any, request_: Any, said: str) -> None:
    code, out, err = ask(capsys, request_)
    assert code in (InputError.exit_code, UnknownNameError.exit_code)
    assert said in err
    assert out == ""


def test_a_missing_file_is_said(capsys: Any) -> None:
    assert main(["ask", "nowhere.json"]) == InputError.exit_code
    assert "nowhere.json" in capsys.readouterr().err
