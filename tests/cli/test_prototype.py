import json
import subprocess
import sys

import pytest
import torch
from PIL import Image

from rootpoint.cli import main


@pytest.fixture
def call(capsys, model, tmp_path):
    """Exit code, stdout and stderr of a short search."""

    def run(*arguments):
        options = ("--model", model, "--steps", "3", "--output", tmp_path / "new")
        torch.manual_seed(0)  # of the network's weights
        code = main(["prototype", *map(str, (*options, *arguments))])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_prototype_writes_pictures_and_a_contact_sheet(call, tmp_path):
    code, out, err = call("--target", "goldfish", "--target", "0", "--count", "2")
    assert (code, err) == (0, "")
    names = [f"prototype-{c}-{n}.png" for c in ("1-goldfish", "0-tench") for n in (1, 2)]
    for name in (*names, "prototypes.png"):
        assert str(tmp_path / "new" / name) in out
        with Image.open(tmp_path / "new" / name) as picture:
            assert picture.size == (24, 24) if name in names else picture.width > 2 * 320
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(
        [*names, "prototypes.png"]
    )


def test_json_is_one_document_and_a_seed_repeats_it(call):
    first, again, other = (
        json.loads(call("--target", "white", "--json", "--seed", seed)[1]) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["seed"] == 1
    (found,) = first["prototypes"]
    assert (found["index"], found["name"]) == (2, "great white shark")
    assert 0 < found["probability"] < 1
    assert found["score"] != other["prototypes"][0]["score"]


def test_all_classes_are_searched_once(call):
    found = json.loads(call("--all", "--json")[1])["prototypes"]
    assert [p["index"] for p in found] == [0, 1, 2]
    found = json.loads(call("--target", "1", "--target", "goldfish", "--json")[1])["prototypes"]
    assert [p["index"] for p in found] == [1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "--target"),
        (("--target", "goldfihs"), 3, "did you mean"),
        (("--target", "7"), 3, "no class 7"),
        (("--target", "predicted"), 3, "without a photo"),
        (("--target", "1", "--count", "0"), 2, "--count"),
        (("--target", "1", "--steps", "0"), 2, "--steps"),
        (("--target", "1", "--model", "nothing"), 4, "no model is called"),
    ],
)
def test_what_cannot_be_searched_is_named(call, arguments, code, words):
    found, out, err = call(*arguments)
    assert (found, out) == (code, "")
    assert words in err


def test_help_needs_no_torch():
    code = (
        "import sys; from rootpoint.cli import main; main(['prototype', '--help']); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--target" in done.stdout
