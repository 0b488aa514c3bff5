"""Every function that torch.overrides lists, by what relevance does there: docs/operations.md.

python benchmarks/operations.py --output docs/operations.md
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import torch
from torch.overrides import get_overridable_functions, resolve_name

from rootpoint.propagation.refusals import standing
from rootpoint.propagation.rules import DEFAULTS

HEAD = """# Operations

Every function that `torch.overrides` lists, by what relevance does there. The engine meets them as
the model calls them; a name ending in `_` works in place, and goes back as the one without. Written
by `python benchmarks/operations.py --output docs/operations.md` with torch {version}; tests compare
this page with the torch installed if the versions agree, and fail on any function not classified.

"""


def by_standing() -> dict[str, set[str]]:
    """The names of torch's functions, by `standing`."""
    found: dict[str, set[str]] = defaultdict(set)
    for functions in get_overridable_functions().values():
        for function in functions:
            attribute = function.__name__ in ("__get__", "__set__", "__delete__", "__getitem__")
            name = resolve_name(function) if attribute else function.__name__
            found[standing(function) or "not classified"].add(
                (name or "?").removeprefix("torch.Tensor.").removesuffix(".__get__")
            )
    return found


def page() -> str:
    """The whole page."""
    found = by_standing()
    others = ("refused", "without relevance", "met as another", "not classified")
    ruled = {kind: names for kind, names in found.items() if not kind.startswith(others)}
    total = set().union(*ruled.values())
    parts = [
        HEAD.format(version=_release()),
        f"{len(set().union(*found.values()))} names; {len(total)} of them have a rule, "
        f"{len([n for n in total if not _in_place(n)])} without counting those in place.\n",
        "\n## With a rule\n\n",
        "| kind | rule where a composite names none | names | which |\n|---|---|---|---|\n",
        *(_row(kind, _rule(kind), ruled[kind]) for kind in sorted(ruled)),
        "\n- `written out`: met as the operations it is made of; the value is its own kernel's.\n"
        "- `piece by piece`: torch itself writes it in Python by other operations.\n"
        "- A product of one operand that depends on the input is a linear map (`dense`), or a\n"
        "  `scaling`; an activation of several such operands is refused.\n"
        "- A product with a sparse matrix, as of a graph's edges, is LRP-0 for all rules.\n",
        "\n## Without relevance\n\n",
        "Results without gradient: relevance never arrives there.\n\n",
        "| group | names | which |\n|---|---|---|\n",
        *_rows(found, "without relevance: "),
        *(
            _row("operators", None, found["met as another"])
            for _ in range("met as another" in found)
        ),
        "\n## Refused\n\n",
        "An `UnsupportedOperationError` with the reason, if relevance arrives there; a rule of\n"
        "your own can be given with `@rootpoint.rule(…, operation=…)`.\n\n",
        "| reason | names | which |\n|---|---|---|\n",
        *_rows(found, "refused: "),
    ]
    return "".join(parts)


def _release() -> str:
    return torch.__version__.partition("+")[0]


def _in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def _rule(kind: str) -> str:
    rule = DEFAULTS.get(kind)
    if kind == "piecewise-constant":
        return "nothing passes: it absorbs"
    if rule is None:
        return "the gradient" if kind == "movement" else "those of its parts"
    return f"`{rule}`"


def _rows(found: dict[str, set[str]], prefix: str) -> list[str]:
    groups = sorted(group for group in found if group.startswith(prefix))
    return [_row(group.removeprefix(prefix), None, found[group]) for group in groups]


def _row(title: str, rule: str | None, names: set[str]) -> str:
    cells = [title, *([] if rule is None else [rule]), str(len(names))]
    return f"| {' | '.join(cells)} | {' '.join(f'`{name}`' for name in sorted(names))} |\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/operations.md"))
    parser.parse_args().output.write_text(page())


if __name__ == "__main__":
    main()
