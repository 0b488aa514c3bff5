"""The lines of Python, and the command, that make the same explanation."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from rootpoint.web.config import BACKGROUND
from rootpoint.web.requests import DrawingInput, Request, RowInput, SampleInput, TextInput

if TYPE_CHECKING:
    from rootpoint.web.config import ModelConfig


def python(request: Request, config: ModelConfig) -> str:
    """A script that makes the explanation; the picture is the file that `_file` names."""
    lines = {"table": _table, "text": _text}.get(config.kind, _image)(request, config)
    if request.erased is not None:
        lines.append(f"# and with what was erased by hand: rootpoint ask {_saved(request)}")
    return "\n".join(lines) + "\n"


def command(request: Request, config: ModelConfig) -> str | None:
    """The command line: options where they can say it, or the file that the page saves as JSON.

    None for tables, whose file of models the page does not know.
    """
    if config.kind == "table" or config.trust:
        return None
    options = not request.rules and request.erased is None and isinstance(request.target, int | str)
    if config.kind == "text" or not options:
        return shlex.join(["rootpoint", "ask", _saved(request)])
    parts = ["rootpoint", "explain", _file(request), "--model", request.model]
    parts += ["--target", str(request.target), "--method", request.method]
    for name, value in request.parameters.items():
        parts += ["--set", f"{name}={value}"]
    return shlex.join(parts)


def _saved(request: Request) -> str:
    """The name that take.js gives to the page's JSON."""
    model = re.sub(r"[^\w.-]+", "-", request.model.replace("\\", "/").rpartition("/")[2])
    return f"{model}-{request.method}.json"


def _image(request: Request, config: ModelConfig) -> list[str]:
    return [
        "import rootpoint as rp",
        "from rootpoint.data import open_photo",
        "from rootpoint.models import load",
        "",
        f"model = load({config.name!r})",
        f"inputs = model.tensor(open_photo({_file(request)!r}))",
        *_explaining(request, "model.module"),
        'explanation.plot().save("explanation.png")',
    ]


def _text(request: Request, config: ModelConfig) -> list[str]:
    assert isinstance(request.input, TextInput)
    text = f"text = {request.input.text!r}"
    if ".py:" not in config.name:
        return [
            *_estimator(config),
            text,
            "inputs = [text]",
            *_explaining(request, "model"),
            "print(list(zip(text.split(), explanation.relevance[0].tolist())))",
        ]
    path, _, factory = config.name.partition(".py:")
    return [
        "import runpy",
        "",
        "import rootpoint as rp",
        "",
        f"model, tokenizer, classes = runpy.run_path({path + '.py'!r})[{factory!r}]()",
        text,
        'inputs = tokenizer(text, return_tensors="pt")',
        *_explaining(request, "model"),
        "explanation.plot(names=tokenizer).save('explanation.png')",
    ]


def _table(request: Request, config: ModelConfig) -> list[str]:
    assert isinstance(request.input, RowInput)
    by_trees = request.method == "tree-shapley"
    return [
        "from rootpoint.data.tables import read_table",
        *_estimator(config, network=not by_trees),
        f"rows = read_table({str(config.rows)!r})",
        "rows = rows.loc[:, list(getattr(estimator, 'feature_names_in_', rows.columns))]",
        "inputs = rows[:1].copy()",
        f"inputs.iloc[0] = {request.input.values!r}",
        *(_by_trees(request) if by_trees else _explaining(request, "model")),
        'explanation.plot().save("explanation.png")',
    ]


def _estimator(config: ModelConfig, *, network: bool = True) -> list[str]:
    return [
        "import rootpoint as rp",
        "from rootpoint.models import load_estimator",
        "",
        f"estimator = load_estimator({config.name!r}, {list(config.trust)!r})",
        *(["model = rp.neuralize(estimator)"] if network else []),
    ]


def _by_trees(request: Request) -> list[str]:
    """The call of the method that explains estimators, against the first rows."""
    given = "".join(f", {name}={value!r}" for name, value in request.parameters.items())
    return [
        f"method = rp.method('tree-shapley'{given}).fit(estimator, rows[:{BACKGROUND}])",
        f"explanation = method(estimator, inputs, {request.target!r})",
    ]


def _explaining(request: Request, model: str) -> list[str]:
    """The call of the library, and what must be written before it."""
    target = repr(request.target)
    if isinstance(request.target, list):
        target = f"rp.contrast({request.target[0]}, {request.target[1]})"
    parameters = dict(request.parameters)
    lines: list[str] = []
    if request.rules:
        chosen = parameters.pop("composite", "recommended")
        lines = [
            f"chosen = rp.LRP(composite={chosen!r}).chosen({model}).rules()",
            *(
                f"chosen = chosen.override(rp.Where(module={place!r}), rp.rules.read({rule!r}))"
                for place, rule in request.rules.items()
            ),
        ]
    given = [f"{name}={value!r}" for name, value in parameters.items()]
    given += ["composite=chosen"] if request.rules else []
    arguments = ", ".join([f"target={target}", f"method={request.method!r}", *given])
    return [*lines, f"explanation = rp.explain({model}, inputs, {arguments})"]


def _file(request: Request) -> str:
    """The file that stands for the picture."""
    if isinstance(request.input, SampleInput):
        return f"{request.input.name}.jpg"
    return "drawing.png" if isinstance(request.input, DrawingInput) else "photo.jpg"
