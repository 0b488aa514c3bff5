"""`rootpoint evaluate`: its table, its files, what it refuses, and its exit codes."""

import json
import re
import subprocess
import sys
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from rootpoint.cli import main
from rootpoint.evaluation.result import Evaluation

METRIC = "abpc(repetitions=1, region=6, steps=4, per_step=4)"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    for number in range(3):
        colour = (40 * number, 255 - 40 * number, 99)
        picture = Image.effect_noise((40, 30), 20 + 30 * number).convert("RGB")
        picture.paste(colour, (4 * number, 5, 4 * number + 8, 20))
        picture.save(path / f"{number}.png")
    return path


@pytest.fixture
def masks(tmp_path):
    """The left half of each photo."""
    path = tmp_path / "masks"
    path.mkdir()
    inside = np.zeros((30, 40), np.uint8)
    inside[:, :20] = 1
    for number in range(3):
        Image.fromarray(inside).save(path / f"{number}.png")
    return path


@pytest.fixture
def saved(monkeypatch):
    """The names of the files that were written."""
    names = []
    save = Evaluation.save

    def noted(self, path):
        names.append(path.name)
        return save(self, path)

    monkeypatch.setattr(Evaluation, "save", noted)
    return names


@pytest.fixture
def call(capsys, model, folder, tmp_path, saved):
    """Exit code, stdout and stderr of a short evaluation."""

    def run(*arguments, photos=(folder,), metric=METRIC):
        where = ("--model", model, "--output", tmp_path / "new" / "out", "--metric", metric)
        torch.manual_seed(0)  # of the network's weights
        code = main(["evaluate", *map(str, (*photos, *where, *arguments))])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def flat(text):
    return " ".join(text.replace("│", " ").split())


def test_the_files_hold_what_the_table_says(call, tmp_path):
    found = json.loads(call("--method", "gradient", "--json")[1])
    loaded = Evaluation.load(tmp_path / "new" / "out" / "evaluation.json")
    assert loaded.mean(METRIC, "gradient").mean == found["means"][0]["mean"]
    assert len(loaded.values(METRIC, "gradient")) == 3


def test_the_report_names_the_photos_and_shows_them_in_their_colours(call, folder, tmp_path):
    Image.new("RGB", (40, 30), (40, 180, 90)).save(folder / "0.png")
    call("--method", "random")
    html = (tmp_path / "new" / "out" / "evaluation.html").read_text()
    assert "<b>0.png</b>what the model sees" in html
    first = re.search(r'src="data:image/jpeg;base64,([^"]+)"', html)
    with Image.open(BytesIO(b64decode(first[1]))) as picture:
        assert np.allclose(picture.getpixel((50, 50)), (40, 180, 90), atol=3)


def test_json_is_one_document_and_a_seed_repeats_it(call, folder):
    one = ("--method", "gradient", "--method", "random", "--seed", "3", "--json")
    first, again = (json.loads(call(*one)[1]) for _ in range(2))
    for found in (first, again):
        for row in found["means"]:
            del row["seconds"]
    assert first == again
    assert first["configuration"]["photos"] == [
        str(folder / f"{number}.png") for number in range(3)
    ]
    assert [(row["method"], row["metric"]) for row in first["means"]] == [
        ("gradient", METRIC),
        ("random", METRIC),
    ]
    assert first["configuration"]["seed"] == 3
    assert first["failures"] == {}
    other = json.loads(call(*one[:4], "--seed", "4", "--json")[1])
    assert other["means"][1]["mean"] != first["means"][1]["mean"]


def test_photos_and_folders_mix_and_count_once(call, folder, photo):
    found = json.loads(call("--json", photos=(folder / "1.png", folder, photo))[1])
    names = [path.rpartition("/")[2] for path in found["configuration"]["photos"]]
    assert names == ["1.png", "0.png", "2.png", "fish.png"]
    assert found["means"][0]["method"] == "lrp"
    assert found["means"][0]["samples"] == 4


def test_masks_meet_the_pixels_that_the_network_sees(call, masks):
    code, out, err = call("--masks", masks, "--method", "random", "--json", metric="outside-inside")
    assert (code, err) == (0, "")
    assert json.loads(out)["configuration"]["masks"] == 3 * 24 * 12  # the left half of 24 × 24


def test_a_mask_outside_of_what_is_seen_is_told(call, masks):
    for number in range(3):
        pixels = np.zeros((30, 40), np.uint8)
        pixels[:, 0] = 255 * (number != 1)
        pixels[0, 0] = pixels[15, 20] = 0
        if number != 1:
            pixels[10:20, 10:20] = 255
        Image.fromarray(pixels).save(masks / f"{number}.png")
    code, _, err = call("--masks", masks, "--method", "random", metric="outside-inside")
    assert code == 0
    assert flat(err).startswith(f"{masks / '1.png'}: nothing of it is in the part of")


def test_a_failing_method_is_named_and_the_others_are_judged(call, monkeypatch):
    from rootpoint.errors import UnsupportedModelError
    from rootpoint.methods.gradient import Gradient

    def refuse(self, model):
        raise UnsupportedModelError("no gradient here")

    monkeypatch.setattr(Gradient, "bind", refuse)
    code, out, err = call("--method", "gradient", "--method", "random")
    assert code == 4
    assert flat(err) == "gradient: UnsupportedModelError: no gradient here"
    assert "random" in out
    assert "gradient" not in out.partition("report:")[0]
    code, out, err = call("--method", "gradient")
    assert (code, out) == (4, "")
    assert "no gradient here" in err


def test_with_all_what_cannot_explain_the_model_is_no_failure(call, monkeypatch):
    from rootpoint.cli import evaluate
    from rootpoint.errors import UnsupportedModelError
    from rootpoint.methods.gradient import Gradient

    def refuse(self, model):
        raise UnsupportedModelError("no gradient here")

    monkeypatch.setattr(Gradient, "bind", refuse)
    monkeypatch.setattr(evaluate, "applicable", lambda data: ("gradient", "random"))
    code, out, err = call("--all")
    assert code == 0
    assert flat(err) == "gradient: UnsupportedModelError: no gradient here"
    assert "random" in out


def test_methods_are_fitted_to_data(call, folder):
    code, out, err = call("--method", "pattern-net", "--data", folder)
    assert (code, err) == (0, "")
    assert "pattern-net" in out


def test_an_undefined_mean_fails_the_check(call, masks):
    for number in range(3):
        Image.new("L", (40, 30)).save(masks / f"{number}.png")
    bound = ("--fail-under", "relevance-mass=0")
    arguments = ("--masks", masks, "--method", "random", *bound)
    code, _, err = call(*arguments, metric="relevance-mass")
    assert code == 5
    assert "relevance-mass of random is nan" in flat(err)


def test_an_interrupted_evaluation_goes_on(call, tmp_path):
    arguments = ("--method", "gradient", "--json", "--checkpoint", tmp_path / "kept.jsonl")
    first, again = (json.loads(call(*arguments)[1]) for _ in range(2))
    assert first["means"] == again["means"]  # even the seconds, which are not measured again
    code, _, err = call(*arguments, "--seed", "1")
    assert code == 3
    assert "is the checkpoint of something else: it differs in seed" in flat(err)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--method", "gradiend"), 4, "no method is called 'gradiend'"),
        (("--metric", "abcp"), 4, "no metric is called 'abcp'"),
        (("--metric", "iou"), 3, "iou needs masks"),
        (("--metric", "implementation-invariance"), 3, "other=None is no model"),
        (("--fail-under", "conservation"), 2, "write it as METRIC=VALUE"),
        (("--fail-under", "conservation=low"), 2, "write it as METRIC=VALUE"),
        (("--fail-under", "=1"), 2, "write it as METRIC=VALUE"),
        (("--fail-under", "conservatism=1"), 4, "no metric is called 'conservatism'"),
        (("--metric", "abpc(region=3)", "--fail-under", "abpc(region=x)=1"), 3, "cannot be read"),
        (("--target", "9"), 3, "there is no class 9"),
        (("--batch", "0"), 2, "--batch"),
        (("--output", "/proc/none"), 3, "cannot write /proc/none"),
        (("--masks", "/nowhere"), 3, "there is no mask of"),
    ],
)
def test_what_cannot_be_done_is_said(call, saved, arguments, code, words):
    found, out, err = call(*arguments)
    assert (found, out, saved) == (code, "", [])
    assert words in flat(err)


def test_names_are_checked_before_the_model_is_loaded(call, monkeypatch):
    monkeypatch.setattr("rootpoint.models.load", lambda *_, **__: pytest.fail("loaded"))
    for arguments in (("--method", "gradiend"), ("--metric", "abcp"), ("--fail-under", "x=1")):
        assert call(*arguments)[0] == 4


def test_an_unreadable_photo_is_named(call, folder):
    (folder / "broken.png").write_text("no photo")
    code, _, err = call()
    assert code == 3
    assert f"{folder / 'broken.png'} is not a photo" in flat(err)
    code, _, err = call(photos=(folder / "none.png",))
    assert (code, flat(err)) == (3, f"InputError: there is no file {folder / 'none.png'}")


def test_a_check_names_the_first_method_even_beside_all(call, monkeypatch):
    from rootpoint.cli import evaluate

    monkeypatch.setattr(evaluate, "applicable", lambda data: ("gradient", "random"))
    code, _, err = call("--all", "--fail-under", "boundedness=1e9")
    assert code == 2
    assert "--fail-under checks the first --method: name it beside --all" in flat(err)
    code, _, err = call("--all", "--method", "random", "--fail-under", "boundedness=-1")
    assert code == 5
    assert flat(err).startswith("CheckFailedError: boundedness of random is")
    assert "gradient" not in err


def test_a_bound_that_could_be_of_two_metrics_is_refused(call):
    two = ("--metric", "boundedness", "--metric", "abpc(region=3)", "--fail-under", "abpc=1")
    found, _, err = call(*two, metric="abpc(region=6)")
    assert found == 3
    assert "abpc: could be abpc(region=6) or abpc(region=3); write it like that" in flat(err)


def test_the_first_method_failing_fails_the_check_as_it_failed(call, folder):
    names = ("--method", "pattern-net", "--method", "random")
    found, out, err = call(*names, "--fail-under", "boundedness=1e9")
    assert found == 3
    assert "random" in out
    assert "pattern-net: InputError: " in flat(err)


def test_an_interruption_exits_with_130(call, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("rootpoint.evaluation.evaluate.evaluate", interrupted)
    assert call()[0] == 130


def test_help_documents_every_option_and_needs_no_torch():
    script = (
        "import sys; from rootpoint.cli import main; code = main(['evaluate', '--help']);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    for option in ("--fail-under", "--masks", "--checkpoint", "--metric", "--all", "--compile"):
        assert option in run.stdout
    assert "Exit with 5" in run.stdout


def test_each_metric_has_a_table_of_methods_the_best_first(call, tmp_path):
    code, out, err = call("--method", "gradient", "--method", "random", "--metric", "boundedness")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{METRIC}: higher is better"
    assert "boundedness: lower is better" in lines
    assert lines[1].split() == ["rank", "mean", "[95", "%]", "best", "−", "it", "p", "method"]
    assert {line.split()[-1] for line in lines[2:4]} == {"gradient", "random"}
    assert re.search(r"\] +(0\.\d+|1) +(gradient|random)$", lines[3].rstrip())
    report = tmp_path / "new" / "out" / "evaluation.html"
    assert lines[-1] == f"report: {report}"
    for suffix in ("html", "json", "csv"):
        assert report.with_suffix(f".{suffix}").stat().st_size > 0


def test_the_tables_fit_a_terminal(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long = "lrp(composite=\"layered(lower='gamma(gamma=0.25)', middle='epsilon', upper='zero')\")"
    metrics = ("--metric", "conservation", "--metric", "boundedness")
    out = call("--method", long, "--method", "gradient", *metrics)[1]
    tables = [line for line in out.splitlines() if not line.startswith("report:")]
    assert max(map(len, tables)) <= 80
    assert "…" not in out


@pytest.mark.parametrize(
    ("bound", "code"),
    [("abpc=-1e9", 0), ("abpc=1e9", 5), ("boundedness=1e9", 0), ("boundedness=-1", 5)],
)
def test_a_mean_worse_than_its_bound_exits_with_5_after_the_report(call, saved, bound, code):
    found, out, err = call("--method", "gradient", "--method", "random", "--fail-under", bound)
    assert found == code
    assert "report: " in out
    assert saved == ["evaluation.html", "evaluation.json", "evaluation.csv"]
    assert err.startswith("CheckFailedError: ") == bool(code)


def test_what_failed_the_check_is_named_with_its_mean_and_bound(call):
    _, out, err = call("--method", "gradient", "--json", "--fail-under", "abpc=1e9")
    (row,) = json.loads(out)["means"]
    assert f"{METRIC} of gradient is {row['mean']:.4g}" in flat(err)
    assert "1e+09" in err


def test_the_command_that_is_noted_gives_the_same_values(call, monkeypatch):
    import shlex

    found = json.loads(call("--method", "random", "--seed", "5", "--json")[1])
    words = shlex.split(found["configuration"]["command"])
    assert words[:2] == ["rootpoint", "evaluate"]
    assert words[words.index("--seed") :] == ["--seed", "5"]
    assert words[words.index("--metric") :][:2] == ["--metric", METRIC]


def test_masks_that_do_not_fit_are_named(call, folder, masks):
    Image.new("L", (9, 9), 1).save(masks / "2.png")
    assert f"{masks / '2.png'} has 9 × 9 pixels, but" in flat(call("--masks", masks)[2])
    Image.new("RGBA", (40, 30)).save(masks / "2.png")
    assert f"{masks / '2.png'} is transparent" in flat(call("--masks", masks)[2])
    Image.new("L", (40, 30), 1).save(masks / "2.png")
    Image.new("L", (40, 30), 1).save(masks / "2.bmp")
    assert f"{folder / '2.png'} has two masks" in flat(call("--masks", masks)[2])
    for file in masks.glob("2.*"):
        file.unlink()
    code, _, err = call("--masks", masks)
    assert code == 3
    assert f"there is no mask of {folder / '2.png'}: no {masks / '2.png'}" in flat(err)
