import json
from pathlib import Path

import pytest
from PIL import Image

from rootpoint.cli import main

METHODS = ["lrp", "gradient", "gradient-times-input"]


def run(capsys, *arguments):
    """Exit code, stdout and stderr of one command."""
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_explain_prints_the_numbers_and_writes_a_sheet(capsys, photo, model, tmp_path):
    code, out, err = run(capsys, "explain", photo, "--model", model, "--output", tmp_path / "new")
    assert (code, err) == (0, "")
    sheet = tmp_path / "new" / "fish-lrp.png"
    for part in ("fish.png", "goldfish", "explained class:", "sum of relevance", str(sheet)):
        assert part in out
    with Image.open(sheet) as picture:
        assert picture.width > 4 * 400


@pytest.mark.parametrize(
    ("target", "index"),
    [("1", 1), ("goldfish", 1), ("GoldFish", 1), ("white", 2), ("tench", 0)],
)
def test_a_target_is_an_index_or_a_class_name(capsys, photo, model, tmp_path, target, index):
    options = ("--model", model, "--target", target, "--json", "--output", tmp_path)
    code, out, _ = run(capsys, "explain", photo, *options)
    assert code == 0
    assert json.loads(out)["photos"][0]["target"]["index"] == index


def test_json_is_one_document_with_the_numbers(capsys, photo, model, tmp_path):
    options = ("--model", model, "--method", "gradient-times-input", "--json", "--output", tmp_path)
    code, out, err = run(capsys, "explain", photo, photo, *options)
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["method"] == "gradient-times-input"
    first, second = document["photos"]
    assert first["target"]["index"] == first["best"][0]["index"]
    assert first["score"] == pytest.approx(first["best"][0]["score"])
    assert [b["score"] for b in first["best"]] == sorted(
        (b["score"] for b in first["best"]), reverse=True
    )
    assert first["relevance"] == pytest.approx(second["relevance"])


def test_photos_of_one_name_get_sheets_of_their_own(capsys, photo, model, tmp_path):
    options = ("--model", model, "--json", "--output", tmp_path)
    _, out, _ = run(capsys, "explain", photo, photo, photo, *options)
    sheets = [p["sheet"] for p in json.loads(out)["photos"]]
    assert [Path(s).name for s in sheets] == [
        "fish-lrp.png",
        "fish-lrp-2.png",
        "fish-lrp-3.png",
    ]
    assert all(Path(s).exists() for s in sheets)


def test_one_unreadable_photo_does_not_stop_the_others(capsys, photo, model, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    options = ("--model", model, "--json", "--output", tmp_path)
    code, out, err = run(capsys, "explain", broken, photo, *options)
    assert code == 3
    assert [p["photo"] for p in json.loads(out)["photos"]] == [str(photo)]
    assert err.startswith("InputError: ")
    assert "broken.jpg" in err


def test_settings_reach_the_method(capsys, photo, model, tmp_path):
    options = ("--model", model, "--output", tmp_path, "--set", "composite=epsilon")
    _, out, _ = run(capsys, "explain", photo, *options)
    assert "lrp(composite='epsilon')" in out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--target", "3"], 3, "InputError: there is no class 3"),
        (["--target", "goldfisch"], 3, "goldfish"),
        (["--method", "lpr"], 4, "UnknownNameError: no method is called 'lpr'; did you mean lrp?"),
        (["--set", "composit=epsilon"], 3, "composite"),
        (["--set", "composite=epsilom"], 4, "epsilon"),
        (["--set", "composite"], 2, "parameter=value"),
        (["--model", "mobilnet"], 4, "mobilenet-v2"),
        (["--no-such-option"], 2, "No such option"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(capsys, photo, model, tmp_path, options, code, message):
    arguments = ("explain", photo, "--model", model, "--output", tmp_path, *options)
    found, out, err = run(capsys, *arguments)
    assert found == code
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_a_model_that_cannot_be_explained_exits_with_4(capsys, photo, file, tmp_path):
    code, _, err = run(
        capsys, "explain", photo, "--model", f"{file}:unsupported", "--output", tmp_path
    )
    assert code == 4
    assert err.startswith("UnsupportedOperationError: no rule for")


def test_an_output_folder_that_cannot_be_made_is_bad_input(capsys, photo, model):
    code, _, err = run(capsys, "explain", photo, "--model", model, "--output", photo / "inside")
    assert code == 3
    assert "cannot write" in err


def test_interrupting_exits_with_130(capsys, photo, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("rootpoint.models.load", interrupted)
    code, out, err = run(capsys, "explain", photo)
    assert code == 130
    assert "Traceback" not in out + err


def test_debugging_shows_the_traceback(photo, monkeypatch, tmp_path):
    from rootpoint.errors import UnknownNameError

    monkeypatch.setenv("ROOTPOINT_DEBUG", "1")
    with pytest.raises(UnknownNameError):
        main(["explain", str(photo), "--method", "lpr", "--output", str(tmp_path)])


def test_compare_writes_one_sheet_and_a_table(capsys, photo, model, tmp_path):
    options = [part for name in METHODS for part in ("--method", name)]
    code, out, err = run(capsys, "compare", photo, "--model", model, "--output", tmp_path, *options)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:4]] == METHODS
    assert (tmp_path / "fish-compared.png").exists()


@pytest.mark.parametrize("with_data", [False, True])
def test_compare_all_takes_every_method_that_can(capsys, photo, model, tmp_path, with_data):
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(3):
        Image.effect_noise((30, 30), 90).convert("RGB").save(folder / f"{n}.png")
    options = ("--model", model, "--output", tmp_path, "--all", "--json")
    _, listed, _ = run(capsys, "methods", "--json")
    data = ("--data", folder) if with_data else ()
    code, out, err = run(capsys, "compare", photo, *options, *data)
    assert code == 0, err
    lacking = {"estimator", "graph"} | (set() if with_data else {"data"})
    able = {m["name"] for m in json.loads(listed) if not lacking & set(m["needs"])}
    compared = json.loads(out)["methods"]
    assert {m["method"] for m in compared} == able - {"cam"}  # it has no global average pooling
    assert "cam: UnsupportedModelError" in err
    assert all(m["passes"]["forward"] >= 0 for m in compared)
    assert ("--data" in err) is not with_data


def test_compare_leaves_out_what_does_not_work(capsys, photo, file, tmp_path):
    options = ("--model", f"{file}:unsupported", "--output", tmp_path)
    chosen = ("--method", "gradient", "--method", "lrp")
    code, out, err = run(capsys, "compare", photo, *options, *chosen)
    assert code == 4
    assert "UnsupportedOperationError" in err
    assert "gradient" in out


def test_compare_nothing_is_wrong_usage(capsys, photo):
    assert run(capsys, "compare", photo)[0] == 2


def test_demo_explains_the_bundled_photos(capsys, tmp_path):
    from rootpoint.data import photos

    code, out, err = run(capsys, "demo", "--output", tmp_path)
    assert code == 0
    assert "index.html" in err
    stems = [photo.path.stem for photo in photos()]
    assert sorted(p.stem for p in tmp_path.glob("*.png")) == sorted(stems)
    assert out.count("sum of relevance") == len(stems) >= 3
    assert "Egyptian cat" in out
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert html.count("<section>") == len(stems)
    assert "http:" not in html
    assert "https:" not in html
