"""The API under random requests, as its own document describes them."""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import positive_data_acceptance

from rootpoint.method import methods
from rootpoint.web.app import create_app
from rootpoint.web.config import USUAL

pytestmark = pytest.mark.slow

FUZZED = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

DOCUMENT = create_app(USUAL).openapi()
OPERATIONS = [
    (verb, path, mode)
    for path, verbs in DOCUMENT["paths"].items()
    for verb, operation in verbs.items()
    for mode in schemathesis.GenerationMode
    if mode.is_positive or {"requestBody", "parameters"} & set(operation)  # else all is right
]


@pytest.mark.parametrize(("verb", "path", "mode"), OPERATIONS)
def test_random_requests_are_answered_as_documented(
    server: str, verb: str, path: str, mode: Any
) -> None:
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][verb.upper()]

    @FUZZED
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call(base_url=server)
        case.validate_response(response, excluded_checks=[positive_data_acceptance])

    ask()  # what fits the document can still be refused: a class that the model lacks, a bad photo


NUMBERS = (True, 0, -1, 1, 3, 10**9, 0.0, -0.5, 1e-300, 1e9)
TEXTS = ("", " ", "nan", "none", "{[]: 1}", "[" * 150, "mean", "patches(0)", "patches(99)", "\x00")
ODD = st.sampled_from([None, *NUMBERS, *TEXTS, "epsilon(epsilon=-1)", "é"])
MODULES = st.sampled_from(["features.0", "features.2", "classifier.0", "", "nowhere"])
RULES = ["epsilon", "gamma(gamma=0)", "zplus", "box(low=1, high=0)", "flat", "w2", "gamma(", "x"]


@st.composite
def drawings(draw: st.DrawFn) -> dict[str, Any]:
    side, lacking = draw(st.integers(8, 40)), draw(st.sampled_from([0, 0, 0, 1]))
    ink = draw(st.sampled_from([0, 255, 7]))
    line = bytes([ink if i % side == side // 2 else 0 for i in range(side * side - lacking)])
    data = base64.b64encode(line).decode()
    return {"kind": "drawing", "width": side, "height": side, "data": data}


@st.composite
def nearly_right(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    """A request for a digit, by one of these methods, with parameters that need not fit."""
    name = draw(st.sampled_from(names))
    known = [f.name for f in fields(methods()[name])]
    given = draw(st.dictionaries(st.sampled_from([*known, "odd"]), ODD, max_size=2))
    asked = {"model": "digits", "input": draw(drawings()), "method": name, "parameters": given}
    asked["target"] = draw(st.sampled_from(["predicted", 3, 9, 10, [3, 5], [9, 10]]))
    if name == "lrp":
        asked["rules"] = draw(st.dictionaries(MODULES, st.sampled_from(RULES), max_size=2))
    if draw(st.booleans()):
        size = draw(st.sampled_from([28 * 28, 28, 0]))
        asked["erased"] = base64.b64encode(bytes([0, 255]) * (size // 2)).decode()
    return asked


@pytest.mark.parametrize("path", ["explain", "layers", "export", "curve"])
def test_what_nearly_fits_is_answered_or_refused_with_a_reason(server: str, path: str) -> None:
    with httpx.Client(base_url=server, timeout=60) as client:
        (digits,) = [one for one in client.get("api/models").json() if one["name"] == "digits"]

        @FUZZED
        @given(nearly_right(digits["methods"]))
        def ask(request: dict[str, Any]) -> None:
            body = {"requests": [request], "steps": 2} if path == "curve" else request
            response = client.post(f"api/{path}", json=body)
            assert response.status_code in (200, 400, 404, 422), (request, response.text)
            if response.status_code != 200:
                assert response.json()["error"]["message"].strip(), request
            if path != "export":
                for line in response.text.splitlines():
                    json.loads(line, parse_constant=pytest.fail)  # NaN, Infinity

        ask()
