import json
import subprocess
import sys

import pytest
import torch
from PIL import Image

from rootpoint import method
from rootpoint.cli import main

METRIC = "abpc(region=6, steps=4, per_step=4, repetitions=1)"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    for number in range(6):
        colour = (40 * number, 255 - 40 * number, 99)
        picture = Image.effect_noise((30, 28), 20 + 30 * number).convert("RGB")
        picture.paste(colour, (4 * number, 5, 4 * number + 8, 20))
        picture.save(path / f"{number}.png")
    return path


@pytest.fixture
def call(capsys, model, folder, tmp_path):
    """Exit code, stdout and stderr of a short search."""

    def run(*arguments):
        small = ("--metric", METRIC, "--width", 2, "--samples", 2)
        where = ("--model", model, "--output", tmp_path / "new" / "best.json")
        torch.manual_seed(0)  # of the network's weights
        code = main(["select", *map(str, (folder, *small, *where, *arguments))])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_winner_is_written_and_the_tables_say_what_it_is_worth(call, tmp_path):
    code, out, err = call("--method", "gradient", "--method", "random")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"training: 3 photos, by {METRIC}"
    assert "held out: 3 photos" in lines
    chosen = method(str(tmp_path / "new" / "best.json"))
    assert f"winner: {chosen}" in lines
    assert sum(line.rstrip().endswith("(winner)") for line in lines) == 1
    assert any("p = " in line and line.rstrip().endswith("random") for line in lines)
    assert any("1 of " in line for line in lines)


def test_the_tables_fit_a_terminal(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = call("--method", "random", "--bound", "conservation=1e9")
    tables = [line for line in out.splitlines() if not line.startswith(("winner:", "file:"))]
    assert max(map(len, tables)) <= 80


def test_json_is_one_document_and_a_seed_repeats_it(call):
    one = ("--method", "gradient", "--method", "random", "--json", "--seed", "3")
    first, again = (json.loads(call(*one)[1]) for _ in range(2))
    for found in (first, again):
        for row in found["held_out"]:
            del row["seconds"]
    assert first == again
    assert first["winner"] == first["finalists"][0]
    assert sorted(first["split"]["training"] + first["split"]["held_out"]) == list(range(6))
    assert set(first["differences"]) >= {"gradient", "random"} - {first["winner"]}
    assert {"mean", "low", "high", "samples", "round", "method"} <= set(first["training"][0])


def test_without_width_only_methods_compete(call):
    names = ("--method", "gradient", "--method", "random")
    found = json.loads(call(*names, "--width", 0, "--json")[1])
    assert {trial["method"] for trial in found["training"]} == {"gradient", "random"}


def test_an_interrupted_search_goes_on(call, tmp_path):
    arguments = ("--method", "gradient", "--json", "--checkpoint", tmp_path / "search.jsonl")
    first = json.loads(call(*arguments)[1])
    again = json.loads(call(*arguments)[1])
    assert first == again  # even the seconds, which are not measured again


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--method", "gradiend"), 4, "no method is called 'gradiend'"),
        (("--metric", "abcp"), 4, "no metric is called 'abcp'"),
        (("--bound", "conservation"), 2, "write it as METRIC=VALUE"),
        (("--bound", "conservation=low"), 2, "write it as METRIC=VALUE"),
        (("--bound", "conservation=-1", "--method", "gradient"), 3, "no candidate meets"),
        (("--held-out", "0"), 3, "leaves 6 of 6 samples to search on and 0 to judge by"),
        (("--output", "best.txt"), 2, "ends in .json"),
        (("--output", "/proc/none/best.json"), 3, "cannot write /proc/none/best.json"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_search(call, arguments, code, words):
    found, out, err = call("--width", 1, *arguments)
    assert (found, out) == (code, "")
    assert words in " ".join(err.replace("│", " ").split())


def test_a_folder_without_images_is_refused(tmp_path, capsys, model):
    assert main(["select", str(tmp_path / "none"), "--model", model]) == 3
    assert "there are no images in" in capsys.readouterr().err


def test_help_needs_no_torch():
    script = (
        "import sys; from rootpoint.cli import main; code = main(['select', '--help']);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
