"""A small convolutional network that reads handwritten digits."""

from __future__ import annotations

from torch import Tensor, nn


class Digits(nn.Module):
    """Drawings (B, 1, 28, 28), ink 1 on background 0, to scores of the digits (B, 10).

    Kernels of 3 × 3: those of 5 × 5 read digits as well, but lay stripes beside the strokes of a
    map. Its composite takes pixels to lie in a box, from no ink to full ink: background is 0 and
    would get no relevance by ε or z⁺, but that ink is missing speaks as well. What a four lacks of
    a nine is blue, at and between the tips that a bar would join. With γ = 1, where 0.25 is usual,
    maps are calmer and say the same.
    """

    rootpoint_composite = "epsilon-gamma-box(low=0.0, high=1.0, gamma=1.0)"

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(32 * 5 * 5, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))
