import csv
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import OneClassSVM
from skops import io

from rootpoint.cli import main, tables

NAMES = ["size", "weight", "age"]


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def frame():
    return pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=NAMES)


@pytest.fixture
def table(frame):
    frame.assign(id=range(100, 130))[["id", *NAMES]].to_csv("table.csv", index=False)
    return "table.csv"


@pytest.fixture
def model(frame):
    labels = np.where(frame["size"] + frame["age"] > 0, "big", "small")
    io.dump(LogisticRegression().fit(frame, labels), "model.skops")
    return "model.skops"


def bare(estimator, name="bare.skops"):
    io.dump(estimator, name)
    return name


def test_each_row_is_printed_drawn_and_written(capsys, table, model, frame, tmp_path):
    code, out, err = run(capsys, "explain", table, "--model", model, "--rows", "2:4")
    assert code == 0
    assert "not fitted to it: id" in err
    for part in ("row 2", "row 3", "explained class: ", "sum of relevance", "absorbed", *NAMES):
        assert part in out
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == [
        "table-lrp-row2.png",
        "table-lrp-row3.png",
    ]
    with (tmp_path / "out" / "table-lrp.csv").open() as file:
        first, second = csv.DictReader(file)
    estimator = io.load(model)
    signed = -1 if first["target"] == "big" else 1
    weights = signed * estimator.coef_[0]
    assert (first["row"], second["row"]) == ("2", "3")
    assert first["target"] == estimator.predict(frame.iloc[[2]])[0]
    found = [float(first[name]) for name in NAMES]
    np.testing.assert_allclose(found, weights * frame.iloc[2], rtol=1e-9)
    assert float(first["sum"]) == pytest.approx(sum(found))
    score = signed * estimator.decision_function(frame.iloc[[2]])[0]
    assert float(first["score"]) == pytest.approx(score)


def test_json_is_one_document_with_every_row(capsys, table, model, frame):
    code, out, _ = run(capsys, "explain", table, "--model", model, "--json", "--target", "small")
    assert code == 0
    document = json.loads(out)
    (one,) = document["tables"]
    assert len(one["rows"]) == len(frame)
    assert {row["target"]["name"] for row in one["rows"]} == {"small"}
    for row in one["rows"]:
        assert list(row["contributions"]) == NAMES
        assert row["relevance"] == pytest.approx(sum(row["contributions"].values()))
        assert row["score"] == pytest.approx(row["relevance"] + row["gap"])
    drawn = [row["picture"] is not None for row in one["rows"]]
    assert drawn == [True] * tables.SHOWN + [False] * (len(frame) - tables.SHOWN)


def test_rows_in_several_batches_are_those_of_one(capsys, table, model, monkeypatch):
    whole = run(capsys, "explain", table, "--model", model, "--json")[1]
    monkeypatch.setattr(tables, "BATCH", 7)
    assert run(capsys, "explain", table, "--model", model, "--json")[1] == whole


@pytest.mark.parametrize(("target", "name"), [("big", "big"), ("1", "small"), ("BIG", "big")])
def test_a_class_is_named_or_numbered(capsys, table, model, target, name):
    arguments = ("explain", table, "--model", model, "--json", "--rows", "0", "--target", target)
    (row,) = json.loads(run(capsys, *arguments)[1])["tables"][0]["rows"]
    assert row["target"]["name"] == name


def test_of_classes_that_are_numbers_the_target_is_the_class(capsys, table, frame):
    classes = 3 - (frame["size"] > 0)  # 2 and 3
    model = bare(LogisticRegression().fit(frame, classes))
    arguments = ("explain", table, "--model", model, "--json", "--rows", "0")
    (row,) = json.loads(run(capsys, *arguments, "--target", "2")[1])["tables"][0]["rows"]
    assert row["target"] == {"index": 0, "name": "2"}
    code, _, err = run(capsys, *arguments, "--target", "1")
    assert code == 3
    assert "no class 1: the model has 2, 3" in err


def test_an_outlier_score_has_its_name(capsys, table, frame):
    model = bare(OneClassSVM(gamma=0.5).fit(frame))
    code, out, _ = run(capsys, "explain", table, "--model", model, "--rows", "0")
    assert code == 0
    assert "row 0 · outlier score " in out


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_trees_are_explained_by_shapley_values_against_a_background(capsys, table, frame):
    forest = RandomForestClassifier(3, max_depth=3, random_state=0).fit(frame, frame["size"] > 0)
    model, trust = bare(forest), ("--trust", "sklearn.tree._tree.Tree")
    code, _, err = run(capsys, "explain", table, "--model", model)
    assert code == 3
    assert "--trust sklearn.tree._tree.Tree" in err
    code, _, err = run(capsys, "explain", table, "--model", model, *trust)
    assert code == 3
    assert "--data" in err
    arguments = ("explain", table, "--model", model, *trust, "--data", table, "--rows", "0:3")
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0
    assert "explained by tree-shapley" in err
    rows = json.loads(out)["tables"][0]["rows"]
    expected = forest.predict_proba(frame.iloc[:3]).max(1)
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=1e-9)
    assert all(abs(row["gap"]) < 1e-6 for row in rows)


def test_a_pickle_is_loaded_only_with_its_flag(capsys, table, frame, tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(OneClassSVM().fit(frame)))
    code, _, err = run(capsys, "explain", table, "--model", "m.pkl")
    assert code == 3
    assert "--unpickle" in err
    assert run(capsys, "explain", table, "--model", "m.pkl", "--unpickle", "--rows", "0")[0] == 0


def test_columns_of_a_nameless_model_must_fit(capsys, table, frame):
    model = bare(OneClassSVM().fit(frame.to_numpy()))
    code, _, err = run(capsys, "explain", table, "--model", model)
    assert code == 3
    assert "has 4 columns (id, size, weight, age), but the model was fitted to 3" in err


def test_one_bad_table_does_not_stop_the_others(capsys, table, model, frame):
    frame.iloc[4, 1] = np.nan
    frame.to_csv("holes.csv", index=False)
    frame[["size"]].to_csv("narrow.csv", index=False)
    arguments = ("explain", "holes.csv", "narrow.csv", table, "--model", model, "--json")
    code, out, err = run(capsys, *arguments)
    assert code == 3
    assert [one["table"] for one in json.loads(out)["tables"]] == [table]
    assert "no value in row 4, column 'weight'" in err
    assert "narrow.csv has no column 'weight' (2 of 3 missing)" in err


def test_tables_of_one_name_get_files_of_their_own(capsys, table, model):
    out = run(capsys, "explain", table, table, "--model", model, "--json", "--rows", "0")[1]
    files = [one["contributions"] for one in json.loads(out)["tables"]]
    assert [f.rpartition("/")[2] for f in files] == ["table-lrp.csv", "table-lrp-2.csv"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--model", "absent.skops"], 3, "no file absent.skops"),
        (["--rows", "1:x", "--model", "model.skops"], 2, "START:STOP"),
        (["--rows", "4:4", "--model", "model.skops"], 2, "START:STOP"),
        (["--rows", "99", "--model", "model.skops"], 3, "no row 99"),
        (["--target", "huge", "--model", "model.skops"], 3, "no class is called 'huge'"),
        (["--method", "lpr", "--model", "model.skops"], 4, "did you mean lrp?"),
        ([], 3, "is a table: give a fitted estimator"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(capsys, table, model, options, code, message):
    found, out, err = run(capsys, "explain", table, *options)
    assert found == code
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_options_of_tables_need_a_table(capsys):
    code, _, err = run(capsys, "explain", "photo.png", "--rows", "0:2")
    assert code == 3
    assert "for tables" in err


def test_a_model_of_texts_is_refused_as_such(capsys, table):
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression())
    model = bare(pipeline.fit(["good day", "bad day"], [1, 0]))
    code, _, err = run(capsys, "explain", table, "--model", model)
    assert code == 4
    assert "reads texts" in err


def test_of_several_predictions_one_must_be_named(capsys, table, frame):
    model = bare(LinearRegression().fit(frame, frame[["size", "age"]]))
    code, _, err = run(capsys, "explain", table, "--model", model)
    assert code == 3
    assert "--target: 0, 1" in err
    assert run(capsys, "explain", table, "--model", model, "--target", "1", "--rows", "0")[0] == 0
