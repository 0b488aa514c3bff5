"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), with the names of torchvision's weights."""

from __future__ import annotations

from torch import Tensor, nn

# Each stage: expansion of the channels inside a block, channels out, blocks, stride of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch-norm, ReLU6; the size is kept but for the stride."""
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow linearly; add the input where it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        widen = [convolution(inputs, inside, 1)] if expansion != 1 else []
        self.adds_input = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *widen,
            convolution(inside, inside, 3, stride, groups=inside),
            nn.Conv2d(inside, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds_input else self.conv(x)


class MobileNetV2(nn.Module):
    """Photos (B, 3, H, W) to class scores (B, 1000)."""

    rootpoint_composite = (  # found by evidence: docs/selection.md
        "layered(input=None, lower='z-plus', middle='gamma(gamma=0.25)', "
        "upper='epsilon(epsilon=0.1)', dense='epsilon', splits=(0.33, 0.8))"
    )

    def __init__(self) -> None:
        super().__init__()
        features: list[nn.Module] = [convolution(3, 32, 3, stride=2)]
        inputs = 32
        for expansion, outputs, blocks, stride in STAGES:
            for block in range(blocks):
                first = block == 0
                features.append(
                    InvertedResidual(inputs, outputs, stride if first else 1, expansion)
                )
                inputs = outputs
        self.features = nn.Sequential(*features, convolution(inputs, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))
