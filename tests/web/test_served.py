"""Answers equal the library's, one by one and in batches; what is wrong with one is its own."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import rootpoint as rp
from rootpoint.data import photos
from rootpoint.data.opening import open_photo
from rootpoint.models.drawing import centred
from rootpoint.web.answering import npz
from rootpoint.web.config import Config, ModelConfig, read_config
from rootpoint.web.curves import curves
from rootpoint.web.describing import describe, describe_methods
from rootpoint.web.layers import layers
from rootpoint.web.requests import Answer, CurveRequest, ErrorAnswer, LayersRequest, Request
from rootpoint.web.served import Served, answer, explain_one, load

SIDE = 120


@pytest.fixture(scope="module")
def models() -> dict[str, Served]:
    return load(read_config())


def drawn(shift: int = 0) -> Image.Image:
    picture = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    draw.line([(30, 20 + shift), (85, 20), (50 + shift, 100)], fill=255, width=9)
    return picture


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def digits(shift: int = 0, **changes: Any) -> dict[str, Any]:
    data = coded(drawn(shift).tobytes())
    drawing = {"kind": "drawing", "width": SIDE, "height": SIDE, "data": data}
    return {"model": "digits", "input": drawing, **changes}


def photo(**changes: Any) -> dict[str, Any]:
    return {
        "model": "mobilenet-v2",
        "input": {"kind": "sample", "name": photos()[0].name},
        **changes,
    }


def ask(models: dict[str, Served], *requests: dict[str, Any]) -> list[Answer | ErrorAnswer]:
    return answer(models, [Request.model_validate(request) for request in requests])


def one(models: dict[str, Served], request: dict[str, Any]) -> Answer:
    (found,) = ask(models, request)
    assert isinstance(found, Answer), found
    return found


def refused(models: dict[str, Served], request: dict[str, Any]) -> ErrorAnswer:
    (found,) = ask(models, request)
    assert isinstance(found, ErrorAnswer), found
    return found


def heat(found: Answer) -> np.ndarray:
    shown = found.relevance
    assert shown.kind == "map"
    values = np.frombuffer(base64.b64decode(shown.data), "<f2").astype(np.float64) * shown.scale
    return values.reshape(shown.height, shown.width)


def same(given: np.ndarray, relevance: Tensor, rounding: float = 1e-3) -> None:
    """Equal but for the rounding of float16."""
    wanted = relevance[0].double().sum(0).numpy()
    assert np.abs(given - wanted).max() <= rounding * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("lrp", {"composite": "epsilon"}),
        ("lrp", {}),
        ("deep-taylor", {"low": 0, "high": 1}),
        ("gradient-times-input", {}),
        ("smoothgrad", {"samples": 4}),
        ("occlusion", {"window": 7}),
        ("shapley", {"features": "patches(14)", "budget": 50}),
    ],
)
def test_answers_equal_the_librarys(models: Any, method: str, parameters: dict[str, Any]):
    found = one(models, digits(target=3, method=method, parameters=parameters))
    tensor, box = centred(drawn())
    wanted = rp.explain(models["digits"].model, tensor, 3, method=method, **parameters)
    same(heat(found), wanted.relevance)
    assert found.score == pytest.approx(float(wanted.output), rel=1e-5)
    assert found.relevance_sum == pytest.approx(float(wanted.relevance.double().sum()), rel=1e-5)
    gap = wanted.completeness_gap
    assert found.gap == (None if gap is None else pytest.approx(float(gap), rel=1e-5, abs=1e-5))
    assert found.method == str(wanted.method)
    assert found.relevance.box == box  # pyright: ignore[reportAttributeAccessIssue]


def test_a_batch_is_as_its_samples_one_by_one(models: Any):
    requests = [digits(s, target=t) for s, t in ((0, 7), (8, "predicted"), (16, 1), (3, 7))]
    together, alone = ask(models, *requests), [one(models, request) for request in requests]
    for a, b in zip(together, alone, strict=True):
        assert isinstance(a, Answer)
        assert (a.target, a.score) == (b.target, pytest.approx(b.score, abs=1e-5))
        assert a.relevance_sum == pytest.approx(b.relevance_sum, abs=1e-5)
        assert np.abs(heat(a) - heat(b)).max() < 1e-3 * np.abs(heat(b)).max()


def test_what_is_wrong_with_one_request_spares_the_others(models: Any):
    bad = digits(input={"kind": "drawing", "width": 9, "height": 9, "data": "AAAA"})
    first, wrong, absurd, last = ask(models, digits(), bad, digits(target=10), digits(5))
    assert isinstance(first, Answer)
    assert isinstance(last, Answer)
    assert isinstance(wrong, ErrorAnswer)
    assert isinstance(absurd, ErrorAnswer)
    assert (wrong.kind, absurd.kind) == ("input", "input")
    assert "0 to 9" in absurd.message


def test_a_photo_is_explained_by_its_file_as_by_its_path(models: Any):
    path = photos()[0].path
    sent = photo(input={"kind": "photo", "data": coded(path.read_bytes())}, target=281)
    found, served = one(models, sent), models["mobilenet-v2"]
    wanted = rp.explain(served.model, served.image.tensor(open_photo(path)), 281)
    same(heat(found), wanted.relevance)
    assert found.target.name == "tabby"
    assert found.view is not None
    view = Image.open(io.BytesIO(base64.b64decode(found.view)))
    assert view.size == (224, 224)
    logits = wanted.prediction[0].double()
    assert found.best[0].probability == pytest.approx(float(logits.softmax(0).max()))
    assert len(found.best) == 10


def test_two_classes_are_a_contrast(models: Any):
    found = one(models, digits(target=[7, 1]))
    model, tensor = models["digits"].model, centred(drawn())[0]
    same(heat(found), rp.explain(model, tensor, rp.contrast(7, 1)).relevance)
    scores = model(tensor)[0].detach()
    assert found.contrast is not None
    assert (found.target.index, found.contrast.index) == (7, 1)
    assert found.score == pytest.approx(float(scores[7] - scores[1]), rel=1e-5)


def test_the_rule_of_one_module_may_be_edited(models: Any):
    found = one(models, digits(target=7, rules={"features.2": "alpha-beta(alpha=2.0, beta=1.0)"}))
    model, tensor = models["digits"].model, centred(drawn())[0]
    edited = (
        rp.LRP()
        .chosen(model)
        .rules()
        .override(rp.Where(module="features.2"), rp.rules.read("alpha-beta(alpha=2.0, beta=1.0)"))
    )
    wanted = rp.explain(model, tensor, 7, composite=edited)
    same(heat(found), wanted.relevance)
    assert not np.allclose(heat(found), heat(one(models, digits(target=7))))
    assert refused(models, digits(rules={"features.99": "zero"})).kind == "unknown"
    assert refused(models, digits(rules={"features.2": "zeero"})).kind == "unknown"


def test_what_is_erased_is_paper_on_a_drawing_and_the_mean_colour_of_a_photo(models: Any):
    mask = np.zeros((28, 28), np.uint8)
    mask[:, :14] = 255
    tensor = centred(drawn())[0].clone()
    tensor[..., :14] = 0
    found = one(models, digits(target=7, erased=coded(mask.tobytes())))
    same(heat(found), rp.explain(models["digits"].model, tensor, 7).relevance)
    assert found.command == "rootpoint ask digits-lrp.json"
    seen = models["mobilenet-v2"].seen(
        Request.model_validate(photo(erased=coded(bytes([255]) * 224**2)))
    )
    assert torch.allclose(seen.inputs, seen.inputs.mean((2, 3), keepdim=True), atol=1e-5)
    assert refused(models, digits(erased="AAAA")).kind == "input"


def file_of(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a photo"),
        (file_of(Image.new("RGB", (8, 8)), "GIF"), "not a photo"),
        (file_of(Image.new("RGB", (8, 8)), "BMP"), "not a photo"),
        (file_of(Image.new("1", (5000, 4000)), "PNG"), "million"),
        (file_of(Image.new("1", (20000, 20000)), "PNG"), "pixels"),
        (file_of(Image.new("RGB", (64, 64), "red"), "JPEG")[:300], "photo"),
        (b"", "not a photo"),
    ],
)
def test_what_is_no_photo_or_too_large_is_refused_before_decoding(
    models: Any, data: bytes, said: str
):
    found = refused(models, photo(input={"kind": "photo", "data": coded(data)}))
    assert found.kind == "input"
    assert said in found.message


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"model": "nobody"}, "unknown"),
        ({"method": "nothing"}, "unknown"),
        ({"method": "ebm"}, "input"),
        ({"method": "pattern-net"}, "input"),
        ({"method": "cam"}, "input"),
        ({"method": "occlusion", "parameters": {"window": 7, "stride": 0}}, "input"),
        ({"input": {"kind": "text", "text": "seven"}}, "input"),
        ({"parameters": {"composite": "layered(input='nope')"}}, "unknown"),
    ],
)
def test_errors_say_whether_a_name_or_the_input_is_wrong(
    models: Any, changes: dict[str, Any], kind: str
):
    assert refused(models, digits(**changes)).kind == kind


def test_occlusion_of_too_many_windows_is_refused(models: Any):
    found = refused(models, photo(method="occlusion", parameters={"window": 1}))
    assert "5000" in found.message


def test_layers_carry_the_relevance_of_the_library(models: Any):
    request = LayersRequest.model_validate(digits(target=7))
    found = layers(models, request)
    model, tensor = models["digits"].model, centred(drawn())[0]
    names = [layer.name for layer in found.layers]
    wanted = rp.explain(model, tensor, 7, at=names)
    for layer in found.layers:
        assert layer.sum == pytest.approx(float(wanted.relevance[layer.name].sum()), abs=1e-5)
    balance = rp.explain(model, tensor, 7).balance
    assert [entry.passed for entry in found.balance] == pytest.approx(
        [entry.passed for entry in balance.entries], abs=1e-5
    )
    assert {rule.module for rule in found.rules} >= {"features.0", "classifier.3"}
    chosen = layers(models, LayersRequest.model_validate(digits(layers=["features.3"])))
    assert [layer.name for layer in chosen.layers] == ["features.3"]


def test_a_curve_is_that_of_the_metric_and_comes_point_by_point(models: Any):
    from rootpoint.evaluation.metrics.perturbation import Selectivity

    requests = [digits(target=7), digits(target=7, method="random")]
    events: list[dict[str, Any]] = []
    curves(models, CurveRequest.model_validate({"requests": requests, "steps": 7}), events.append)
    assert [e["step"] for e in events if e["card"] == 1] == list(range(8))
    metric = Selectivity(features="patches(2)", replacement=0.0, steps=7)
    found = rp.evaluate(
        models["digits"].model, centred(drawn())[0], "lrp", metrics=metric, target=[7]
    )
    scores = [e["score"] for e in events if e["card"] == 0]
    area = float(np.trapezoid(scores, [e["gone"] for e in events if e["card"] == 0]))
    assert area == pytest.approx(float(found.values("selectivity", "lrp")[0]), abs=1e-4)


def test_numbers_are_exported_with_all_channels(models: Any):
    arrays = np.load(io.BytesIO(npz(explain_one(models, Request.model_validate(photo())))))
    assert arrays["relevance"].shape == (3, 224, 224)
    assert arrays["input"].shape == (3, 224, 224)
    assert arrays["prediction"].shape == (1000,)
    assert int(arrays["target"]) == int(arrays["prediction"].argmax())


@pytest.mark.parametrize("rules", [{}, {"features.2": "epsilon"}])
def test_the_python_snippet_runs_and_makes_the_same(
    models: Any, tmp_path: Path, rules: dict[str, str]
):
    found = one(models, digits(target=[7, 1], rules=rules))
    drawn().save(tmp_path / "drawing.png")
    assert sum_of_snippet(found, tmp_path) == pytest.approx(found.relevance_sum, abs=1e-5)


@pytest.mark.parametrize("kind", ["photo", "sample"])
def test_the_snippet_of_a_photo_runs_and_makes_the_same(models: Any, tmp_path: Path, kind: str):
    first = photos()[0]
    data = first.path.read_bytes()
    given = {"kind": "photo", "data": coded(data)} if kind == "photo" else photo()["input"]
    (tmp_path / ("photo.jpg" if kind == "photo" else first.path.name)).write_bytes(data)
    found = one(models, photo(input=given, method="gradient-times-input"))
    assert sum_of_snippet(found, tmp_path) == pytest.approx(found.relevance_sum, rel=1e-3)


def sum_of_snippet(found: Answer, folder: Path) -> float:
    """What the snippet's relevance sums to, run by itself in a folder."""
    code = found.python + "print(float(explanation.relevance[0].sum()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def test_the_command_is_one_that_the_command_line_has(models: Any):
    found = one(models, digits(target=7, parameters={"composite": "epsilon"}))
    assert found.command == (
        "rootpoint explain drawing.png --model digits --target 7 --method lrp "
        "--set composite=epsilon"
    )
    assert one(models, digits(target=[7, 1])).command == "rootpoint ask digits-lrp.json"


def test_models_and_methods_are_described_in_json(models: Any):
    listed = {entry["name"]: entry for entry in describe(models)}
    json.dumps(list(listed.values()), allow_nan=False)
    assert listed["digits"]["size"] == 28
    assert listed["mobilenet-v2"]["layers"][0] == "features.1"
    assert "cam" in listed["mobilenet-v2"]["methods"]
    assert "cam" not in listed["digits"]["methods"]
    known = {entry["name"]: entry for entry in describe_methods()}
    json.dumps(list(known.values()), allow_nan=False)
    assert set(listed["digits"]["methods"]) <= set(known)
    names = {p["name"]: p for p in known["lrp"]["parameters"]}
    assert "compile" not in names
    assert names["composite"]["choices"][0] == "recommended"


@pytest.fixture(scope="module")
def estimators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    pd, io_ = pytest.importorskip("pandas"), pytest.importorskip("skops.io")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    folder = tmp_path_factory.mktemp("served")
    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
    rows.to_csv(folder / "rows.csv", index=False)
    io_.dump(LogisticRegression().fit(rows, [0, 0, 1, 1]), folder / "table.skops")
    texts = ["good film", "bad film", "good plot", "bad plot"]
    text = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0])
    io_.dump(text, folder / "text.skops")
    table = ModelConfig(name=str(folder / "table.skops"), kind="table", rows=folder / "rows.csv")
    with warnings.catch_warnings():
        return load(
            Config(models=(table, ModelConfig(name=str(folder / "text.skops"), kind="text")))
        )


def test_columns_of_a_row_equal_the_librarys(estimators: dict[str, Served]):
    name, served = next(iter(estimators.items()))
    found = one(estimators, {"model": name, "input": {"kind": "row", "values": [2.5, 1.0]}})
    row = served.frame.iloc[:1].assign(a=2.5, b=1.0)
    wanted = rp.explain(served.model, row)
    assert found.relevance.kind == "columns"
    assert found.relevance.names == ["a", "b"]
    assert found.relevance.values == pytest.approx(wanted.relevance[0].tolist(), abs=1e-5)
    wrong = {"model": name, "input": {"kind": "row", "values": ["x", 1.0]}}
    assert refused(estimators, wrong).kind == "input"
    assert refused(estimators, {**wrong, "input": {"kind": "row", "values": [1.0]}}).kind == "input"
    json.dumps(describe(estimators), allow_nan=False)


def test_snippets_of_estimators_run_and_make_the_same(
    estimators: dict[str, Served], tmp_path: Path
):
    table, text = estimators
    for request in (
        {"model": table, "input": {"kind": "row", "values": [2.5, 1.0]}},
        {"model": text, "input": {"kind": "text", "text": "a good but bad film"}},
    ):
        found = one(estimators, request)
        assert sum_of_snippet(found, tmp_path) == pytest.approx(found.relevance_sum, abs=1e-5)


def test_the_snippet_of_a_forest_runs_and_makes_the_same(tmp_path: Path):
    pytest.importorskip("shap")
    import skops.io
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = load_breast_cancer(as_frame=True, return_X_y=True)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    forest = RandomForestClassifier(5, max_depth=3, random_state=0).fit(rows, labels)
    path = tmp_path / "forest.skops"
    skops.io.dump(forest, path)
    trees = ("sklearn.tree._tree.Tree",)
    given = ModelConfig(name=str(path), kind="table", rows=tmp_path / "rows.csv", trust=trees)
    values = rows.iloc[3].tolist()
    request = {"model": str(path), "input": {"kind": "row", "values": values}, "target": 1}
    found = one(load(Config(models=(given,))), {**request, "method": "tree-shapley"})
    assert sum_of_snippet(found, tmp_path) == pytest.approx(found.relevance_sum, abs=1e-5)


def test_curves_of_words_and_columns_are_the_models_own_scores(estimators: dict[str, Served]):
    (table, rows), (text, films) = estimators.items()
    typed = {"model": text, "input": {"kind": "text", "text": "good bad film"}, "target": 1}
    events = curve_of(estimators, typed, steps=3)
    left, wanted = ["good", "bad", "film"], []
    relevance = dict(zip(left, one(estimators, typed).relevance.values, strict=True))
    for word in sorted(relevance, key=lambda word: -relevance[word]):
        wanted.append(films.estimator.decision_function([" ".join(left)])[0])
        left.remove(word)
    wanted.append(films.estimator.decision_function([""])[0])
    assert [e["score"] for e in events] == pytest.approx(wanted, abs=1e-6)
    assert [e["gone"] for e in events] == pytest.approx([0, 1 / 3, 2 / 3, 1])

    given = {"model": table, "input": {"kind": "row", "values": [3.0, 1.0]}, "target": 1}
    events = curve_of(estimators, given, steps=2, order="lerf")
    usual = rows.frame.mean()
    relevance = one(estimators, given).relevance.values
    names = [rows.frame.columns[i] for i in np.argsort(relevance)]
    row, wanted = rows.frame.iloc[:1].assign(a=3.0, b=1.0), []
    for name in [None, *names]:
        row = row if name is None else row.assign(**{name: usual[name]})
        wanted.append(rows.estimator.decision_function(row)[0])
    assert [e["score"] for e in events] == pytest.approx(wanted, abs=1e-6)


def curve_of(models: Any, request: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    """The points of one card."""
    events: list[dict[str, Any]] = []
    curves(models, CurveRequest.model_validate({"requests": [request], **changes}), events.append)
    return events


def test_the_books_of_texts_and_tables_are_open(estimators: dict[str, Served]):
    for name, given in zip(
        estimators,
        ({"kind": "row", "values": [2.5, 1.0]}, {"kind": "text", "text": "good film"}),
        strict=True,
    ):
        found = layers(estimators, LayersRequest.model_validate({"model": name, "input": given}))
        assert found.balance[-1].arrived == pytest.approx(found.score)
        assert found.layers == []


def test_words_of_a_text_equal_the_librarys(estimators: dict[str, Served]):
    name, served = list(estimators.items())[1]
    text = "a good but bad film"
    found = one(estimators, {"model": name, "input": {"kind": "text", "text": text}})
    wanted = rp.explain(served.model, [text])
    assert found.relevance.kind == "words"
    assert found.relevance.words == text.split()
    assert found.relevance.values == pytest.approx(wanted.relevance[0].tolist(), abs=1e-5)
    assert npz(
        explain_one(
            estimators,
            Request.model_validate({"model": name, "input": {"kind": "text", "text": text}}),
        )
    )


FACTORY = """
import torch
from torch import nn

class Tokenizer:
    words = ["bad", "film", "good"]
    def __call__(self, text, return_tensors, truncation=False):
        return {"input_ids": torch.tensor([[self.words.index(word) for word in text.split()]])}
    def convert_ids_to_tokens(self, ids):
        return [self.words[i] for i in ids]

class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.last = nn.Embedding(3, 4), nn.Linear(4, 2)
    def forward(self, input_ids):
        return self.last(self.embedding(input_ids).mean(1))

def build():
    torch.manual_seed(0)
    return Mean(), Tokenizer(), ("bad", "good")
"""


def test_a_text_model_of_the_operators_own_file_is_explained_by_its_tokens(tmp_path: Path):
    (tmp_path / "own_text.py").write_text(FACTORY)
    name = f"{tmp_path / 'own_text.py'}:build"
    served = load(Config(models=(ModelConfig(name=name, kind="text"),)))
    request = {"model": name, "input": {"kind": "text", "text": "good bad film"}}
    found = one(served, request)
    wanted = rp.explain(served[name].model, {"input_ids": torch.tensor([[2, 0, 1]])})
    assert found.relevance.kind == "words"
    assert found.relevance.words == ["good", "bad", "film"]
    values = wanted.relevance["input_ids"][0]
    assert found.relevance.values == pytest.approx(values.tolist(), abs=1e-5)
    assert found.target.name in ("bad", "good")
    json.dumps(describe(served), allow_nan=False)
    for method in served[name].runs:
        one(served, {**request, "method": method})
    scores = [event["score"] for event in curve_of(served, request, steps=3)]
    assert scores[0] == pytest.approx(found.score, abs=1e-5)
    best = sorted(range(3), key=lambda i: -found.relevance.values[i])
    rest = torch.tensor([[token for i, token in enumerate([2, 0, 1]) if i != best[0]]])
    assert scores[1] == pytest.approx(served[name].model(rest)[0, found.target.index].item())


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {"through": "{[]: 1}"}},
        {"parameters": {"through": "features.0:999"}},
        {"parameters": {"composite": "epsilon(epsilon={[]: 1})"}},
        {"parameters": {"composite": "epsilon-plus(bias='odd')"}},
        {"parameters": {"composite": "layered(splits='x')"}},
        {"rules": {"features.0": "gamma(gamma={[]: 1})"}},
        {"method": "occlusion", "parameters": {"window": "[[1]]"}},
        {"method": "occlusion", "parameters": {"window": "ab", "stride": "xy"}},
        {"method": "occlusion", "parameters": {"stride": "[1e999, 1]"}},
        {"method": "lime", "parameters": {"features": "patches(0)"}},
        {"method": "grad-cam", "parameters": {"layer": "nowhere"}},
    ],
)
def test_parameters_that_do_not_fit_are_answered_not_raised(models: Any, changes: dict[str, Any]):
    assert refused(models, digits(**changes)).message
