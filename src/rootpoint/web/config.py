"""What is served: a TOML file of models, or the digits and the default model."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from rootpoint.errors import InputError
from rootpoint.models import DEFAULT
from rootpoint.models.estimators import is_estimator
from rootpoint.web.requests import said

BACKGROUND = 100  # rows of a table that tree-shapley compares with, the first ones

Kind = Literal["digits", "image", "text", "table"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class ModelConfig(_Strict):
    """One model.

    name     as `rootpoint explain --model` takes it: "digits", "torchvision:resnet18",
             "FILE.py:FACTORY", "FILE.skops"; visitors see it
    title    what visitors read; the name, if left out
    kind     what it reads; "digits" or "image", if left out
    rows     of a table model: a CSV file of rows to choose from
    trust    types that a skops file may hold, beyond those that skops trusts
    queue    requests that may wait; more are refused
    timeout  seconds that a request may take
    batch    requests that are computed at once, at most
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    title: Annotated[str, Field(max_length=100)] = ""
    kind: Kind = "image"
    rows: Path | None = None
    trust: tuple[str, ...] = ()
    queue: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 64
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0
    batch: Annotated[int, Field(strict=True, ge=1, le=256)] = 16
    _folder: Path = PrivateAttr(Path())

    @model_validator(mode="before")
    @classmethod
    def _kind_of_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("name") == "digits":
            return {"kind": "digits", **given}
        return given

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        if (self.kind == "digits") != (self.name == "digits"):
            raise ValueError('kind "digits" is that of the model "digits", and of no other')
        if self.kind == "table" and (self.rows is None or not is_estimator(self.name)):
            raise ValueError('a table model needs name = "FILE.skops" and rows = "FILE.csv"')
        if self.kind != "table" and self.rows is not None:
            raise ValueError(f"rows are of a table model, not of kind {self.kind!r}")
        if self.kind == "text" and not self.of_file:
            raise ValueError('a text model needs name = "FILE.skops" or "FILE.py:FACTORY"')
        if self.kind == "image" and is_estimator(self.name):
            raise ValueError('a file of an estimator needs kind = "text" or "table"')
        return self

    @property
    def shown(self) -> str:
        """The title; of a file without one, what it is called."""
        return self.title or (
            Path(self.name.partition(".py:")[0]).stem if self.of_file else self.name
        )

    @property
    def of_file(self) -> bool:
        """Whether the name is that of a file."""
        return is_estimator(self.name) or ".py:" in self.name

    @property
    def source(self) -> str:
        """The name with its files where they are: beside the file of models."""
        if not self.of_file:
            return self.name
        name, at, checkpoint = self.name.partition("@")
        return f"{self._beside(name)}{at}{self._beside(checkpoint) if checkpoint else ''}"

    @property
    def table(self) -> Path | None:
        """The file of rows, where it is."""
        return None if self.rows is None else self._beside(self.rows)

    def beside(self, folder: Path) -> ModelConfig:
        """The same with its files looked for in a folder."""
        placed = self.model_copy()
        placed._folder = folder
        return placed

    def _beside(self, file: str | Path) -> Path:
        return self._folder / Path(file).expanduser()


class Config(_Strict):
    """All that is served."""

    models: Annotated[tuple[ModelConfig, ...], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _named_once(self) -> Config:
        names = [model.name for model in self.models]
        if twice := [name for i, name in enumerate(names) if name in names[:i]]:
            raise ValueError(f"two models are called {twice[0]!r}")
        return self


USUAL = Config(
    models=(
        ModelConfig(name="digits", title="Handwritten digits", timeout=20),
        ModelConfig(name=DEFAULT, title="MobileNet V2, ImageNet", batch=4),
    )
)
"""What is served without a file; its models are served with every file, too."""


def read_config(path: str | Path | None = None) -> Config:
    """What a TOML file says is served: tables [[models]], with the fields of `ModelConfig`.

    Files that it names are looked for beside it. The digits and the default model are added if it
    does not list them. Raises InputError, which names the file and the place in it.
    """
    if path is None:
        return USUAL
    path = Path(path).expanduser()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{path}: {said(error)}") from error
    own = [model.beside(path.parent) for model in config.models]
    listed = {model.name for model in own}
    return Config(models=(*own, *(model for model in USUAL.models if model.name not in listed)))


def of_model(config: Config, name: str, kind: Kind) -> ModelConfig:
    """What is said of a model; of one that is not listed, no more than what it reads.

    Raises InputError where that is too little.
    """
    for model in config.models:
        if model.name == name:
            return model
    try:
        return ModelConfig.model_validate({"kind": kind, "name": name})
    except ValidationError as error:
        raise InputError(
            f"{name}: {said(error)}; name it in a file of models and add --config FILE"
        ) from error
