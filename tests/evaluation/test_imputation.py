"""Missing pixels filled in linearly from their neighbours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rootpoint.evaluation.imputation import imputed


def direct(image: Tensor, missing: Tensor) -> Tensor:
    """The same for (H, W), each equation written down and all solved by elimination."""
    height, width = image.shape
    matrix, wanted = torch.eye(height * width).double(), image.flatten().clone()
    for i in range(height):
        for j in range(width):
            if not missing[i, j]:
                continue
            wanted[i * width + j] = 0
            around = [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
            weight = {
                (y, x): 1 / 6 if y == i or x == j else 1 / 12
                for y, x in around
                if 0 <= y < height and 0 <= x < width
            }
            for (y, x), w in weight.items():
                matrix[i * width + j, y * width + x] = -w / sum(weight.values())
    return torch.linalg.solve(matrix, wanted).reshape(height, width)


def test_a_pixel_with_seven_neighbours_of_6_and_an_edge_neighbour_of_0_becomes_5() -> None:
    image = torch.full((1, 1, 3, 3), 6.0).double()
    image[0, 0, 0, 1] = 0
    missing = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    missing[0, 0, 1, 1] = True
    found = imputed(image, missing)
    torch.testing.assert_close(found[0, 0, 1, 1], torch.tensor(5.0).double())
    assert torch.equal(found[~missing], image[~missing])


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("size", [(7, 10), (1, 9)])
def test_all_missing_pixels_solve_one_linear_system(share: float, size: tuple[int, int]) -> None:
    images = torch.randn(3, 2, *size).double()
    missing = torch.rand(3, 1, *size) < share
    missing[..., 0] = False
    found = imputed(images, missing)
    wanted = torch.stack(
        [torch.stack([direct(c, m[0]) for c in x]) for x, m in zip(images, missing, strict=True)]
    )
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_constant_image_is_restored_whatever_is_missing() -> None:
    image = torch.full((1, 3, 9, 9), 2.5)
    missing = torch.rand(1, 1, 9, 9) < 0.7
    torch.testing.assert_close(imputed(image, missing), image)


def test_an_image_without_a_known_pixel_becomes_its_mean() -> None:
    images = torch.randn(2, 3, 5, 6).double()
    missing = torch.tensor([True, False]).reshape(2, 1, 1, 1).expand(2, 1, 5, 6)
    found = imputed(images, missing)
    torch.testing.assert_close(found[0], images[0].mean((1, 2), keepdim=True).expand(3, 5, 6))
    assert torch.equal(found[1], images[1])
