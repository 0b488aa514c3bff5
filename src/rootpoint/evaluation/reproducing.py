"""Python that repeats an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootpoint.errors import RootpointError
from rootpoint.method import method as by_name

if TYPE_CHECKING:
    from rootpoint.evaluation.result import Evaluation


def script(evaluation: Evaluation) -> str:
    """Python that repeats the evaluation, but for the model, the data and the targets."""
    about = evaluation.configuration
    given = about.get("methods", {})
    if all(_named(name, text) for name, text in given.items()):
        lines = [f"        {name!r}," for name in given]
        opening, closing = "[", "]"
    else:
        lines = [f"        {name!r}: {_code(name, text)}," for name, text in given.items()]
        opening, closing = "{", "}"
    metrics = [f"        {name!r}," for name in evaluation.metrics]
    return "\n".join(
        [
            "import rootpoint as rp",
            "",
            "found = rp.evaluate(",
            f"    model,  # {about.get('model', '')}",
            f"    data,  # {about.get('samples', 0)} of them",
            f"    {opening}",
            *lines,
            f"    {closing},",
            "    [",
            *metrics,
            "    ],",
            "    target=targets,  # those of the configuration",
            f"    seed={about.get('seed', 0)},",
            ")",
        ]
    )


def _named(name: str, text: str) -> bool:
    """Whether the name alone makes this method."""
    try:
        return repr(by_name(name)) == text
    except RootpointError:
        return False


def _code(name: str, text: str) -> str:
    return repr(name) if _named(name, text) else text
