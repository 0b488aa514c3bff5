"""Which rule of differences goes where, and what the pass at the baseline keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint.propagation import inspect
from rootpoint.propagation.difference import difference, refer
from rootpoint.propagation.step import Step

pytestmark = pytest.mark.usefixtures("double")


def activations(steps: tuple[Step, ...]) -> list[str]:
    return [step.rule.name for step in steps if step.kind == "activation" and step.rule]


class Mixed(nn.Module):
    """Activations behind nothing, a convolution, a dense layer, and both."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv1d(4, 4, 3, padding=1), nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(4)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv(torch.tanh(x)))
        g = F.gelu(self.norm(self.dense(h)))
        return torch.sigmoid(self.conv(g) + self.dense(g)).sum(2)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mixed", ["rescale", "rescale", "reveal-cancel", "rescale"]),
        ("rescale", ["rescale"] * 4),
        ("reveal-cancel", ["reveal-cancel"] * 4),
    ],
)
def test_activations_have_their_rule_by_the_linear_maps_right_before(
    rule: str, expected: list[str]
) -> None:
    assert activations(inspect(Mixed(), torch.randn(2, 4, 6), difference(rule))) == expected


def test_the_reference_keeps_only_what_rules_compare_with() -> None:
    """Inputs of activations; for RevealCancel also those of the linear maps right before it."""
    model, x = Mixed(), torch.zeros(1, 4, 6)
    for rule, kept in (("rescale", set()), ("mixed", {"linear"}), ("reveal-cancel", {"linear"})):
        reference = refer(model, x, difference(rule))
        noted = {
            step.name
            for step, values in zip(reference.steps, reference.values, strict=True)
            if values is not None
        }
        expected = {"relu", "tanh", "gelu", "sigmoid"} | kept
        if rule != "rescale":
            expected |= {"add"}
        if rule == "reveal-cancel":
            expected |= {"conv1d"}
        assert noted == expected


def test_of_a_batch_with_one_baseline_the_reference_keeps_one_row() -> None:
    reference = refer(Mixed(), torch.zeros(1, 4, 6).expand(5, 4, 6), difference("rescale"))
    kept = [box.value for values in reference.values if values for box in values]
    assert {len(value) for value in kept} == {1}
    assert len(reference.output) == 5
