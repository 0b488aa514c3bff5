"""Text models from the operator's own Python file."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

from rootpoint.errors import UnsupportedModelError


def text_model(name: str) -> tuple[Any, Any, tuple[str, ...]]:
    """Model, tokenizer and classes, as the function of FILE.py:FACTORY returns them.

    The file is code, run because the operator named it; it may import its neighbours.
    """
    stem, _, factory = name.partition(".py:")
    path = Path(f"{stem}.py").expanduser()
    if not path.is_file():
        raise UnsupportedModelError(f"there is no file {path} to take {factory!r} from")
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    build = runpy.run_path(str(path)).get(factory)
    if not callable(build):
        raise UnsupportedModelError(f"{path} defines no function {factory!r}")
    made: Any = build()
    if not isinstance(made, tuple) or len(made) != 3:
        raise UnsupportedModelError(
            f"{factory}() in {path} must return (model, tokenizer, classes), not a "
            f"{type(made).__name__}"
        )
    model, tokenizer, classes = made
    return model.eval(), tokenizer, tuple(map(str, classes))
