"""What the page is told of the models and methods, to build its forms from."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

from rootpoint.data import photos
from rootpoint.method import Method, methods
from rootpoint.web.layers import layers_of
from rootpoint.web.requests import FILES, MOST, OWN
from rootpoint.web.served import Served

ROWS = 50  # of a table that are shown to choose from
HIDDEN = {"estimator", "data", "graph"}


def describe(models: dict[str, Served]) -> list[dict[str, Any]]:
    """One entry for each model, as GET /api/models answers."""
    return [_model(served) for served in models.values()]


def describe_methods() -> list[dict[str, Any]]:
    """One entry for each method that runs on some kind of model, as GET /api/methods answers."""
    return [
        {
            "name": name,
            "summary": one.summary,
            "cost": one.cost,
            "needs": list(one.needs),
            "axioms": list(one.axioms),
            "parameters": [_parameter(one, f) for f in fields(one) if f.name not in FILES | OWN],
        }
        for name, one in methods().items()
        if not HIDDEN & set(one.needs) or name == "tree-shapley"
    ]


def _model(served: Served) -> dict[str, Any]:
    shown = served.kind == "image"
    samples = [
        {"name": p.name, "title": p.title, "url": f"/api/samples/{p.name}"} for p in photos()
    ]
    return {
        "name": served.config.name,
        "kind": served.kind,
        "title": served.config.shown,
        "classes": None if served.classes is None else list(served.classes),
        "size": None if served.image is None else served.image.size,
        "layers": layers_of(served),
        "samples": samples if shown else [],
        "columns": [] if served.frame is None else list(map(str, served.frame.columns)),
        "rows": [] if served.frame is None else _rows(served.frame),
        "methods": served.runs,
        "about": _about(served),
    }


def _rows(frame: Any) -> list[list[Any]]:
    """The first rows as JSON has them: missing values are None."""
    shown = frame.iloc[:ROWS]
    return shown.astype(object).where(shown.notna(), None).to_numpy().tolist()


def _about(served: Served) -> str:
    if served.estimator is not None:
        return type(served.estimator).__name__
    count = sum(p.numel() for p in served.model.parameters())
    size = f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"
    outputs = "" if served.classes is None else f", {len(served.classes)} classes"
    return f"{size} parameters{outputs}"


def _parameter(method: type[Method], f: Field[Any]) -> dict[str, Any]:
    choices = f.metadata.get("choices")
    kind = "choice" if choices else _type(f)
    if f.name == "composite":
        from rootpoint.propagation.composites import PRESETS

        kind, choices = "choice", ("recommended", *PRESETS)
    return {
        "name": f.name,
        "type": kind,
        "default": f.default,
        "help": f.metadata.get("help", ""),
        "low": f.metadata.get("low"),
        "high": f.metadata.get("high", MOST.get(f.name)),
        "choices": list(choices) if choices else None,
    }


def _type(f: Field[Any]) -> str:
    text = str(f.type)
    if isinstance(f.default, bool):
        return "boolean"
    if text.startswith("int"):
        return "integer"
    return "number" if text.split(" | ")[0] == "float" and "str" not in text else "text"
