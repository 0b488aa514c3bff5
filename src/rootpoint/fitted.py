"""What methods learn from data: a value that is saved and loaded without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rootpoint.errors import InputError


@dataclass(frozen=True, eq=False)
class Fitted:
    """Subclasses are frozen dataclasses of tensors, mappings from names to tensors, and plain
    values as JSON has them. `kind` names what it is in its file.
    """

    kind: ClassVar[str]

    def save(self, path: str | Path) -> Path:
        """Write it as safetensors, the plain values in the file's metadata."""
        tensors: dict[str, Tensor] = {}
        plain: dict[str, Any] = {"kind": self.kind}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                tensors[f.name] = value.contiguous()
            elif isinstance(value, Mapping) and all(isinstance(v, Tensor) for v in value.values()):
                tensors |= {f"{f.name}/{key}": v.contiguous() for key, v in value.items()}
            else:
                plain[f.name] = value
        save_file(tensors, path, {"rootpoint": json.dumps(plain)})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises InputError if the file is not one of this kind."""
        try:
            with safe_open(path, "pt") as file:
                plain = json.loads((file.metadata() or {}).get("rootpoint", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(f"cannot read {path}: {error}") from error
        if plain.pop("kind", None) != cls.kind:
            raise InputError(f"{path} holds no {cls.kind}: it must be written by its save()")
        values: dict[str, Any] = dict(plain)
        for name, tensor in tensors.items():
            field, slash, key = name.partition("/")
            if slash:
                values.setdefault(field, {})[key] = tensor
            else:
                values[field] = tensor
        for f in fields(cls):
            values.setdefault(f.name, {})
        return cls(**values)

    @classmethod
    def of(cls, method: Any, value: Any) -> Self:
        """A method's parameter as fitted: the value itself, or loaded from the file it names.

        Raises InputError if the method is not fitted.
        """
        if value is None:
            raise InputError(
                f"{method.name} is not fitted: it needs {cls.kind}; use "
                f"`rootpoint.method({method.name!r}).fit(model, data)`"
            )
        return value if isinstance(value, cls) else cls.load(value)
