"""What the page may ask and what it is answered: every number, list and text within bounds."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import reprlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from rootpoint.errors import InputError

if TYPE_CHECKING:
    from rootpoint.method import Method

MAX_FILE = 12 * 10**6  # bytes of a photo's file
MAX_SIDE = 1024  # pixels of a drawing, and of a mask

MOST: Mapping[str, float] = {
    "steps": 500,
    "samples": 200,
    "budget": 5000,
    "iterations": 500,
    "repetitions": 20,
    "scale": 64,
    "jitter": 64,
    "smooth": 64,
    "power": 10,
    "selected": 5000,
}
"""The most that a parameter of this name may be: what it costs is the server's."""

LARGEST = 1e9  # of any other number

FILES = frozenset({"patterns", "fitted", "population", "background", "surrogate"})
"""Parameters whose text names a file."""

OWN = frozenset({"compile"})
"""Parameters that are the operator's to choose."""

_FILLING = re.compile(r"(mean|blur|noise|inpaint|linear)(\([-+.,\w\s=]*\))?")
_FEATURES = re.compile(r"auto|columns|values|words|(superpixels|patches)(\(\s*\d{1,4}\s*\))?")

TEXTS = {
    "baseline": _FILLING,
    "features": _FEATURES,
    "root": re.compile(r"search"),
}
"""What the text of a parameter may be that could also be other things."""


def _base64(bytes_: int) -> Any:
    """The length that so many bytes have at most in base64."""
    return Field(max_length=4 * -(-bytes_ // 3))


Name = Annotated[str, Field(min_length=1, max_length=200)]
SampleName = Annotated[str, Field(max_length=100, pattern=r"^[\w-]+$")]
Integer = Annotated[int, Field(strict=True, ge=-(10**9), le=10**9)]
Number = Annotated[float, Field(strict=True, ge=-1e9, le=1e9)]
Class = Annotated[int, Field(strict=True, ge=0, le=10**6)]
Value = StrictBool | Integer | Number | Annotated[str, Field(max_length=200)] | None
Cell = Number | Annotated[str, Field(max_length=1000)] | None


class Message(BaseModel):
    """What is sent either way: unknown names, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class PhotoInput(Message):
    """The file of a photo, PNG, JPEG or WebP, in base64."""

    kind: Literal["photo"]
    data: Annotated[str, _base64(MAX_FILE)]


class SampleInput(Message):
    """A sample photo of the package, by its name."""

    kind: Literal["sample"]
    name: SampleName


class DrawingInput(Message):
    """A drawing, ink bright, row by row: grey bytes in base64."""

    kind: Literal["drawing"]
    width: Annotated[int, Field(strict=True, ge=8, le=MAX_SIDE)]
    height: Annotated[int, Field(strict=True, ge=8, le=MAX_SIDE)]
    data: Annotated[str, _base64(MAX_SIDE**2)]

    @property
    def pixels(self) -> bytes:
        found = decoded(self.data, "the drawing")
        if len(found) != self.width * self.height:
            raise InputError(
                f"the drawing has {len(found)} bytes, not {self.width} × {self.height}: send one "
                "grey byte for each pixel"
            )
        return found


class TextInput(Message):
    """A text for a model of texts."""

    kind: Literal["text"]
    text: Annotated[str, Field(min_length=1, max_length=5000)]


class RowInput(Message):
    """A row of a table, in the order of the model's columns; null is a missing value."""

    kind: Literal["row"]
    values: Annotated[list[Cell], Field(min_length=1, max_length=2000)]


Input = Annotated[
    PhotoInput | SampleInput | DrawingInput | TextInput | RowInput, Field(discriminator="kind")
]
Target = Literal["predicted"] | Class | Annotated[list[Class], Field(min_length=2, max_length=2)]


class Request(Message):
    """Explain one decision of a model.

    target      "predicted", a class, or two: why the first rather than the second
    rules       of LRP: the rule of single modules, by their paths, instead of the composite's
    erased      a mask of what the model sees, size × size bytes in base64: 255 is filled by the
                mean colour
    """

    model: Name
    input: Input
    target: Target = "predicted"
    method: Annotated[str, Field(max_length=60, pattern=r"^[a-z][a-z0-9-]*$")] = "lrp"
    parameters: Annotated[dict[Name, Value], Field(max_length=20)] = {}
    rules: Annotated[
        dict[Name, Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=20)
    ] = {}
    erased: Annotated[str, _base64(MAX_SIDE**2)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Request:
        if isinstance(self.target, list) and self.target[0] == self.target[1]:
            raise ValueError("a contrast needs two different classes")
        if self.rules and self.method != "lrp":
            raise ValueError("rules of single modules are for the method lrp")
        return self

    @property
    def alike(self) -> Hashable:
        """Equal for requests that can be computed as one batch."""
        chosen = json.dumps([self.parameters, self.rules], sort_keys=True)
        pair = tuple(self.target) if isinstance(self.target, list) else None
        return self.model, self.method, chosen, pair


class LayersRequest(Request):
    """Relevance within the network. `layers` are paths of modules; null is all that have a map."""

    layers: Annotated[list[Name], Field(min_length=1, max_length=64)] | None = None


class CurveRequest(Message):
    """Perturbation curves of several explanations of one model and input."""

    requests: Annotated[list[Request], Field(min_length=1, max_length=6)]
    steps: Annotated[int, Field(strict=True, ge=2, le=50)] = 20
    order: Literal["morf", "lerf"] = "morf"

    @model_validator(mode="after")
    def _of_one(self) -> CurveRequest:
        first = self.requests[0]
        for other in self.requests[1:]:
            if (other.model, other.input, other.erased) != (first.model, first.input, first.erased):
                raise ValueError("curves in one chart are of one model and one input")
        return self


class TargetAnswer(Message):
    """A class, or whatever else was explained."""

    index: int | None
    name: str


class Best(Message):
    """One of the classes with the highest scores."""

    index: int
    name: str
    score: float
    probability: float | None


class PassesAnswer(Message):
    """How often the model ran forward, and a gradient went back."""

    forward: int
    backward: int


class MapAnswer(Message):
    """Relevance summed over channels, row by row: float16, little-endian, in base64.

    scale   the numbers are multiples of it
    box     where the map lies on a drawing, in its pixels: left, top, right, bottom
    """

    kind: Literal["map"] = "map"
    height: int
    width: int
    data: str
    scale: float = 1.0
    box: tuple[float, float, float, float] | None = None


class WordsAnswer(Message):
    """The relevance of each word."""

    kind: Literal["words"] = "words"
    words: list[str]
    values: list[float]


class ColumnsAnswer(Message):
    """The relevance of each column."""

    kind: Literal["columns"] = "columns"
    names: list[str]
    values: list[float]


class Answer(Message):
    """Why the model said what it said.

    score            of the target; with a contrast, how far it is ahead
    gap              what relevance_sum leaves of the score, or of its difference to that of the
                     baseline; null for methods that promise no sum
    seconds          of computing, together with what was computed in the same batch
    best             the classes with the highest scores
    view             the picture that the network saw, PNG in base64
    python, command  what makes the same explanation elsewhere
    """

    model: str
    method: str
    target: TargetAnswer
    contrast: TargetAnswer | None
    score: float
    relevance_sum: float
    gap: float | None
    seconds: float
    passes: PassesAnswer | None
    notes: list[str]
    best: list[Best]
    relevance: Annotated[MapAnswer | WordsAnswer | ColumnsAnswer, Field(discriminator="kind")]
    view: str | None
    python: str
    command: str | None


class LayerAnswer(Message):
    """The relevance at a module, summed over channels, as in a map."""

    name: str
    shape: list[int]
    height: int
    width: int
    relevance: str
    scale: float = 1.0
    sum: float


class BalanceAnswer(Message):
    """What arrived at one operation and where it went."""

    module: str
    operation: str
    kind: str
    rule: str
    arrived: float
    passed: float
    absorbed: float
    by: dict[str, float]


class RuleAnswer(Message):
    """The rule of one operation."""

    index: int
    module: str
    operation: str
    kind: str
    shape: list[int]
    rule: str


class LayersAnswer(Message):
    """What is within the network."""

    layers: list[LayerAnswer]
    balance: list[BalanceAnswer]
    rules: list[RuleAnswer]
    score: float
    gap: float | None


class ErrorAnswer(Message):
    """What went wrong: `kind` for programs, `message` for people."""

    kind: str
    message: str


class Refusal(Message):
    """What is sent in place of an answer."""

    error: ErrorAnswer


def read_request(text: str) -> Request:
    """The request in a JSON document: by itself, or beside its answer, as the page saves both.

    Raises InputError, which names the place in it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request is not JSON: {error}") from error
    if isinstance(document, dict):
        document = document.get("request", document)
    try:
        return Request.model_validate(document)
    except ValidationError as error:
        raise InputError(f"the request does not fit: {said(error)}") from error


def said(error: ValidationError) -> str:
    """The first thing that is wrong, and where: `models[1].queue: …`."""
    first = error.errors()[0]
    what = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], dict) else f", not {reprlib.repr(first['input'])}"
    return f"{_place(first['loc'])}: {what}{given}"


def _place(parts: Sequence[str | int]) -> str:
    found = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts)
    return found.removeprefix(".") or "the file"


def decoded(data: str, what: str) -> bytes:
    """The bytes that base64 stands for; its length was limited when the request was read."""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{what} is not base64: {error}") from error


def method_of(request: Request) -> Method:
    """The method of a request; raises InputError for what would cost too much or read files."""
    from rootpoint.method import method

    for name, value in request.parameters.items():
        _check_given(request.method, name, value)
    try:
        found = method(request.method, **request.parameters)
    except (TypeError, RecursionError, MemoryError) as error:  # of texts read as Python literals
        raise InputError(f"{request.method}: a parameter cannot be read: {error}") from error
    for f in fields(found):
        _check_cost(found.name, f.name, getattr(found, f.name))
    return found


def _check_given(method: str, name: str, value: Value) -> None:
    if name in OWN and value not in (False, "false"):
        raise InputError(f"{method}: {name} is not for visitors: leave it out")
    if name in FILES and str(value).lower() != "none":
        raise InputError(f"{method}: {name} would read a file, which the page never does")
    if not isinstance(value, str) or name not in TEXTS or _is_plain(value):
        return
    if not TEXTS[name].fullmatch(value.strip()):
        raise InputError(f"{method}: {name}={value!r} is none of {TEXTS[name].pattern}")


def _is_plain(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() == "none"
    return True


def _check_cost(method: str, name: str, value: Any) -> None:
    """Raise InputError, which names the limit, for numbers that are too large."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    most = MOST.get(name, LARGEST)
    if not math.isfinite(value) or abs(value) > most:
        raise InputError(
            f"{method}: {name}={value!r} is more than the {most:g} that this page computes; run "
            "it in Python"
        )
