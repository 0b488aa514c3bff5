import json
import subprocess
import sys
from dataclasses import fields

import pytest

from rootpoint import __version__
from rootpoint.cli import main
from rootpoint.evaluation.metric import NEEDS, metrics
from rootpoint.method import methods


def out(capsys, *arguments):
    assert main(list(arguments)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_methods_come_from_their_dataclasses(capsys):
    listed = json.loads(out(capsys, "methods", "--json"))
    assert {m["name"]: [p["name"] for p in m["parameters"]] for m in listed} == {
        name: [f.name for f in fields(cls)] for name, cls in methods().items()
    }
    text = out(capsys, "methods")
    for name, cls in methods().items():
        assert name in text
        assert cls.summary in text
        for f in fields(cls):
            assert f"{f.name}={f.default}" in text


def test_metrics_come_from_their_dataclasses(capsys):
    ours = {
        name: cls
        for name, cls in metrics().items()
        if cls.__module__.startswith("rootpoint.evaluation.metrics.")
    }
    listed = {m["name"]: m for m in json.loads(out(capsys, "metrics", "--json"))}
    text = " ".join(out(capsys, "metrics").split())
    for name, cls in ours.items():
        assert [p["name"] for p in listed[name]["parameters"]] == [f.name for f in fields(cls)]
        assert listed[name]["better"] == cls.better
        assert listed[name]["best"] == cls.best
        assert listed[name]["needs"] == list(cls.needs)
        assert f"{name} {cls.summary}. Cost: {cls.cost}." in text
        for f in fields(cls):
            assert f"{f.name}={f.default}" in text
    assert f"localization: higher is better, 1 of a perfect map {needs('masks')}" in text


def needs(what):
    return f"needs {NEEDS[what]}"


def test_models_are_listed_with_source_and_licence(capsys):
    from rootpoint.models import available

    listed = json.loads(out(capsys, "models", "--json"))
    assert [m["name"] for m in listed] == [card.name for card in available()]
    assert all(m["source"] and m["licence"] for m in listed)
    assert listed[0]["name"] in out(capsys, "models")


def test_inspect_shows_what_would_run(capsys, model):
    rows = json.loads(out(capsys, "inspect", model, "--composite", "epsilon-gamma-box", "--json"))
    assert [row["operation"] for row in rows if "conv" in row["operation"]] == ["conv2d"]
    first, last = rows[0], rows[-1]
    assert first["module"] == "0"
    assert first["shape"] == [1, 4, 24, 24]
    assert first["rule"].startswith("box")
    assert last["module"] == "4"
    assert last["rule"].startswith("epsilon")
    assert "conv2d" in out(capsys, "inspect", model)


def test_a_narrow_terminal_cuts_nothing_off(capsys, model, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = out(capsys, "inspect", model).splitlines()
    assert max(map(len, lines)) <= 60
    assert not any("…" in line for line in lines)


def test_an_unknown_composite_exits_with_4(capsys, model):
    assert main(["inspect", model, "--composite", "epsilom"]) == 4
    assert "did you mean" in capsys.readouterr().err


def test_doctor_finds_this_installation_sound(capsys):
    text = out(capsys, "doctor")
    rows = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line.strip())
    assert rows["rootpoint"].strip() == __version__
    assert rows["device"].startswith("cpu")
    assert rows["self-check"].startswith("ok: score")


def test_doctor_exits_with_5_where_relevance_is_lost(capsys, monkeypatch):
    from rootpoint.explanation import Balance, Explanation

    monkeypatch.setattr(Explanation, "balance", Balance(score=2.0, relevance=1.5, entries=()))
    assert main(["doctor"]) == 5
    assert capsys.readouterr().err.startswith("CheckFailedError: relevance is lost: score 2.0000")


def test_doctor_reads_what_the_package_declares(monkeypatch):
    from rootpoint.cli import doctor

    lines = ["torch>=2", "rich", 'timm>=1.0 ; extra == "timm"', 'pytest; extra == "test"']
    monkeypatch.setattr(doctor, "requires", lambda _: lines)
    assert doctor._requirements(None) == ["torch", "rich"]
    assert doctor._extras() == ["timm"]
    assert doctor._requirements("timm") == ["timm"]


def test_version(capsys):
    assert out(capsys, "--version") == f"rootpoint {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [["--help"], ["methods"], ["metrics"], ["models"], ["explain", "--help"], ["--version"]],
)
def test_help_and_lists_need_no_torch(command):
    code = (
        "import sys; from rootpoint.cli import main\n"
        f"code = main({command})\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["explain", "no-such-photo.png"], 3),
        (["explain"], 2),
        (["explain", "x.png", "--method", "no-such-method"], 4),
    ],
)
def test_exit_codes_of_the_process(command, code):
    script = "import sys; from rootpoint.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
