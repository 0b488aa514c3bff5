"""What a request may say, and what is refused before anything is computed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

import rootpoint as rp
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.web.requests import (
    CurveRequest,
    DrawingInput,
    LayersRequest,
    Request,
    method_of,
    read_request,
)

TEXT = {"kind": "text", "text": "why"}


def request(**changes: object) -> Request:
    return Request.model_validate({"model": "m", "input": TEXT, **changes})


def test_a_request_explains_what_is_predicted_by_lrp_if_it_says_no_more():
    assert (request().target, request().method) == ("predicted", "lrp")
    assert method_of(request()) == rp.method("lrp")


def test_parameters_are_those_of_the_method():
    found = method_of(request(method="smoothgrad", parameters={"samples": 3, "level": 0.5}))
    assert found == rp.method("smoothgrad", samples=3, level=0.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"model": ""},
        {"model": "m" * 201},
        {"input": {"kind": "url", "url": "http://example.org"}},
        {"input": {**TEXT, "path": "/etc/passwd"}},
        {"input": {"kind": "text", "text": "w" * 5001}},
        {"input": {"kind": "sample", "name": "../secret"}},
        {"input": {"kind": "row", "values": []}},
        {"input": {"kind": "row", "values": [float("nan")]}},
        {"input": {"kind": "row", "values": [1e300]}},
        {"input": {"kind": "drawing", "width": 10**6, "height": 10, "data": ""}},
        {"input": {"kind": "photo", "data": "A" * 16_000_004}},
        {"target": -1},
        {"target": True},
        {"target": 1.0},
        {"target": "tabby"},
        {"target": [1, 1]},
        {"target": [1, 2, 3]},
        {"method": "saved.json"},
        {"method": "lrp(composite='epsilon')"},
        {"parameters": {"epsilon": float("inf")}},
        {"parameters": {"composite": "e" * 201}},
        {"parameters": {"composite": ["epsilon"]}},
        {"parameters": {f"p{i}": 1 for i in range(21)}},
        {"method": "gradient", "rules": {"features.0": "zero"}},
        {"rules": {"features.0": ""}},
        {"erased": "A" * 1_400_000},
    ],
)
def test_what_is_unknown_or_out_of_bounds_is_refused(changes: dict[str, object]):
    with pytest.raises(ValidationError):
        request(**changes)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_json_without_finite_numbers_is_refused(number: str):
    text = json.dumps({"model": "m", "input": TEXT, "parameters": {"level": "here"}})
    with pytest.raises(ValidationError):
        Request.model_validate_json(text.replace('"here"', number))


@pytest.mark.parametrize(
    ("method", "parameters", "limit"),
    [
        ("integrated-gradients", {"steps": 501}, "500"),
        ("integrated-gradients", {"steps": "501"}, "500"),
        ("smoothgrad", {"samples": 201}, "200"),
        ("shapley", {"budget": 5001}, "5000"),
        ("lime", {"budget": 10**9}, "5000"),
        ("meaningful-perturbation", {"iterations": 501}, "500"),
        ("meaningful-perturbation", {"rate": "1e999"}, "1e"),
    ],
)
def test_absurd_costs_are_refused_with_the_limit(method: str, parameters: object, limit: str):
    with pytest.raises(InputError, match=limit):
        method_of(request(method=method, parameters=parameters))


@pytest.mark.parametrize(
    ("method", "parameter", "text"),
    [
        ("pattern-net", "patterns", "/etc/passwd"),
        ("prediction-difference", "fitted", "x.safetensors"),
        ("explanation-vector", "surrogate", "x.safetensors"),
        ("tree-shapley", "background", "rows.csv"),
        ("evidence", "population", "x"),
        ("occlusion", "baseline", "/etc/passwd"),
        ("taylor", "root", "x.npy"),
        ("lrp", "compile", True),
        ("lrp", "compile", "1"),
    ],
)
def test_no_parameter_names_a_file_or_compiles(method: str, parameter: str, text: object):
    with pytest.raises(InputError):
        method_of(request(method=method, parameters={parameter: text}))


@pytest.mark.parametrize("text", ["{[]: 1}", "(" * 200, "-" * 199 + "1", "\0", "[" * 99 + "]" * 99])
def test_text_that_is_no_literal_is_an_input_error_or_a_name(text: str):
    for name in ("through", "composite"):
        try:
            method_of(request(parameters={name: text}))
        except InputError:
            continue


def test_unknown_methods_and_parameters_are_named():
    with pytest.raises(UnknownNameError, match="lrp"):
        method_of(request(method="lpr"))
    with pytest.raises(InputError, match="composite"):
        method_of(request(parameters={"composit": "epsilon"}))


@pytest.mark.parametrize("data", ["AAAA", "$$$$", "A"])
def test_a_drawing_has_a_byte_for_each_pixel(data: str):
    drawing = DrawingInput(kind="drawing", width=8, height=8, data=data)
    with pytest.raises(InputError, match="drawing"):
        _ = drawing.pixels


def test_only_requests_of_one_model_method_and_contrast_are_alike():
    assert request(target=1).alike == request(target=2).alike
    assert request(target=[1, 2]).alike != request(target=[2, 1]).alike
    assert request(parameters={"composite": "epsilon"}).alike != request().alike
    assert request(rules={"a": "zero"}).alike != request().alike


def test_curves_in_one_chart_are_of_one_input():
    CurveRequest(requests=[request(), request(method="gradient")])
    with pytest.raises(ValidationError, match="one input"):
        CurveRequest(requests=[request(), request(input={"kind": "text", "text": "other"})])
    with pytest.raises(ValidationError):
        CurveRequest(requests=[request()] * 7)


def test_layers_are_a_list_of_bounded_length():
    assert LayersRequest.model_validate({"model": "m", "input": TEXT}).layers is None
    with pytest.raises(ValidationError):
        LayersRequest.model_validate({"model": "m", "input": TEXT, "layers": ["a"] * 65})


def test_requests_are_read_without_torch():
    imports = "import sys, rootpoint.web.requests, rootpoint.web.config"
    code = f"{imports}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_does_not_fit_is_quoted_only_in_part():
    long = json.dumps({"model": "m", "input": {"kind": "text", "text": "a" * 10**6}})
    with pytest.raises(InputError, match=r"input\.text\.text: .*'aaa") as caught:
        read_request(long)
    assert len(str(caught.value)) < 300
