"""One way to send relevance back through any model by rules of the test's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from rootpoint import LRP, Composite, Rule, Where

Send = Callable[..., Tensor]


@pytest.fixture
def double() -> Iterator[None]:
    """Float64 by default: closed forms are compared to their last printed digit."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def send() -> Send:
    """`send(model, x, rule, m=…, kind=…, at=…)`: R_j = z_j m_j at the output z, sent back.

    rule   of all operations of `kind`, or several as {kind or Where: rule}
    m      multipliers at the output, (B, …); None: 1, so that R = z
    """

    def go(
        model: Any,
        x: Any,
        rule: Rule | dict[str | Where, Rule] | None = None,
        *,
        m: Tensor | None = None,
        kind: str = "linear",
        at: str | None = None,
    ) -> Any:
        chosen = {} if rule is None else {kind: rule} if isinstance(rule, Rule) else rule
        entries = tuple(
            (where if isinstance(where, Where) else Where(kind=where), rule)
            for where, rule in chosen.items()
        )

        def score(output: Tensor) -> Tensor:
            return (output if m is None else output * m).reshape(len(output), -1).sum(1)

        return LRP(composite=Composite(entries))(model, x, score, at=at).relevance

    return go
