"""Classifiers by visual words: what they compute, what conserves, and what they cannot read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage.data import lfw_subset
from torch import Tensor, nn
from torch.nn.functional import interpolate

import rootpoint as rp
from rootpoint.errors import InputError, MissingExtraError, UnsupportedModelError
from rootpoint.neuralize.fisher import (
    Design,
    VisualWords,
    describe,
    descriptor_area,
    fit_visual_words,
    grid,
    pyramid_cells,
)
from rootpoint.propagation.composites import Composite, Where

SMALL = Design(components=3, dimensions=6, step=6)


def faces(size: int = 48) -> tuple[Tensor, Tensor]:
    """100 faces and 100 other patches of scikit-image, enlarged, (200, 1, size, size)."""
    images = torch.from_numpy(lfw_subset()).double().unsqueeze(1)
    enlarged = interpolate(images, (size, size), mode="bilinear").clamp(0, 1)
    return enlarged, (torch.arange(200) < 100).long()


def fitted(classes: int = 2, encoding: str = "fisher") -> tuple[VisualWords, Tensor]:
    """A classifier of 20 faces and others, or of thirds of them, and these images."""
    images = faces()[0][5::10]
    labels = torch.arange(20) * classes // 20
    design = Design(encoding, components=3, dimensions=6, step=6)
    return fit_visual_words(images, labels, design), images


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("encoding", ["fisher", "bag"])
@pytest.mark.parametrize("classes", [2, 3])
def test_each_step_conserves_the_score_but_for_the_bias(classes: int, encoding: str) -> None:
    model, images = fitted(classes, encoding)
    x = images[:2]
    expected = (model(x) - model.bias)[:, 1]
    for at in ("encoding", "descriptors"):
        close(rp.explain(model, x, 1, at=at).relevance.flatten(1).sum(1), expected)
    found = rp.explain(model, x, 1)
    close(found.relevance.sum((1, 2, 3)), expected)
    assert found.relevance.shape == x.shape
    assert abs(found.balance.gap) < 1e-10


def test_relevance_of_dimensions_is_weight_times_feature() -> None:
    model, images = fitted(3)
    found = rp.explain(model, images[:2], 2, at="encoding").relevance
    close(found, model.features(images[:2]) * model.weight[2])


def test_of_two_classes_the_scores_are_opposite_and_features_have_length_one() -> None:
    model, images = fitted()
    scores = model(images)
    close(scores[:, 0], -scores[:, 1])
    close(model.features(images).norm(dim=1), torch.ones(20).double())


def test_scores_are_those_of_a_linear_machine_on_the_features() -> None:
    from sklearn.svm import LinearSVC

    model, images = fitted(3)
    labels = np.arange(20) * 3 // 20
    machine = LinearSVC(random_state=0, max_iter=10_000).fit(model.features(images), labels)
    close(model(images), torch.from_numpy(machine.decision_function(model.features(images))))


@pytest.mark.parametrize(("height", "width", "channels"), [(31, 36, 1), (29, 40, 3)])
def test_area_rule_equals_a_slow_loop(height: int, width: int, channels: int) -> None:
    step, radius = 5, 7
    rows, columns = grid(height, step, radius), grid(width, step, radius)
    r = torch.randn(1, rows * columns).double()

    class Weighed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            found = describe(images, step, radius)
            assert found.shape[1] == rows * columns
            return (found * (r / found.detach().sum(2)).unsqueeze(2)).sum((1, 2))

    composite = Composite(((Where(operation="describe"), descriptor_area()),), "areas")
    x = torch.rand(1, channels, height, width).double()
    found = rp.explain(Weighed().eval(), x, composite=composite, method="lrp").relevance

    expected = torch.zeros_like(x)
    for row in range(rows):
        for column in range(columns):
            top, left = row * step, column * step
            area = expected[0, :, top : top + 2 * radius + 1, left : left + 2 * radius + 1]
            area += r[0, row * columns + column] / area.numel()
    close(found, expected)
    close(found.sum(), r.sum())


def test_a_descriptor_stands_in_the_middle_of_its_square() -> None:
    step, radius = 6, 7
    before = torch.rand(1, 1, 33, 39).double()
    after = before.clone()
    after[..., 10:17, 16:23] = (
        1 - after[..., 10:17, 16:23]
    )  # around row 1 · 6 + 7, column 2 · 6 + 7
    changed = (describe(after, step, radius) - describe(before, step, radius))[0].norm(dim=1)
    assert changed.argmax() == 1 * grid(39, step, radius) + 2


def test_pyramid_cells_are_the_whole_picture_and_its_quarters() -> None:
    cells = pyramid_cells(Design(step=5, radius=7, pyramid=(1, 2)), (29, 34))  # 3 by 4 descriptors
    whole, *quarters = cells.reshape(5, 3, 4)
    close(whole, torch.full((3, 4), 1 / 12, dtype=torch.float64))
    close(quarters[0][:2, :2], torch.full((2, 2), 1 / 4, dtype=torch.float64))
    close(quarters[3][2:, 2:], torch.full((1, 2), 1 / 2, dtype=torch.float64))
    assert (torch.stack(quarters).gt(0).sum(0) == 1).all()


def test_all_at_once_is_explained_as_one_by_one() -> None:
    model, images = fitted(3)  # 20 images: more than are explained at once
    assert len(images) > model.rootpoint_rows
    single = [rp.explain(model, image[None], 1).relevance for image in images]
    close(rp.explain(model, images, 1).relevance, torch.cat(single))


def test_fits_are_reproducible_and_saved_ones_are_the_same(tmp_path: Path) -> None:
    model, images = fitted(3)
    again = VisualWords.load(model.save(tmp_path / "words.safetensors"))
    for other in (again, fitted(3)[0]):
        close(other(images), model(images))
    assert (again.design, again.size) == (model.design, model.size)


def test_perturbation_explains_it_and_gradients_say_that_there_are_none() -> None:
    model, images = fitted()
    assert rp.explain(model, images[:1], 1, method="occlusion").relevance.abs().sum() > 0
    with pytest.raises(UnsupportedModelError, match="does not depend on the input"):
        rp.explain(model, images[:1], 1, method="gradient")


IMAGES = torch.rand(4, 1, 40, 40, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize(
    ("images", "labels", "design", "message"),
    [
        (IMAGES[..., :10], [0, 1, 0, 1], SMALL, "too few descriptors"),
        (IMAGES, [0, 1, 0], SMALL, "4 images need as many labels"),
        (IMAGES, [1, 1, 1, 1], SMALL, "two classes at least"),
        (IMAGES, [1, 2, 1, 2], SMALL, "whole numbers from 0 to 1"),
        (IMAGES, ["a", "b", "a", "b"], SMALL, "whole numbers from 0 to 1"),
        (IMAGES * 255, [0, 1, 0, 1], SMALL, r"values in \[0, 1\]"),
        (IMAGES[0], [0], SMALL, r"must be \(N, C, H, W\)"),
        (IMAGES * float("nan"), [0, 1, 0, 1], SMALL, "NaN"),
        (IMAGES, [0, 1, 0, 1], Design("vlad", 2, 4), "choose 'fisher' or 'bag'"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted(
    images: Tensor, labels: object, design: Design, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit_visual_words(images, labels, design)


def test_images_of_another_size_are_refused() -> None:
    model, images = fitted()
    with pytest.raises(InputError, match=r"\(B, C, 48, 48\), not \(1, 1, 40, 48\)"):
        model(images[:1, :, :40])


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name in ("other", "text", "missing"):
        with pytest.raises(InputError, match="holds no classifier by visual words"):
            VisualWords.load(tmp_path / f"{name}.safetensors")


def test_without_scikit_image_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skimage.feature", None)
    with pytest.raises(MissingExtraError, match="fisher"):
        describe(IMAGES[:1], 6, 7)


def test_faces_are_told_from_other_patches() -> None:
    images, labels = faces()
    design = Design(components=8, dimensions=16, step=6)
    model = fit_visual_words(images[::2], labels[::2], design)
    with torch.no_grad():
        right = model(images[1::2]).argmax(1) == labels[1::2]
    assert right.double().mean() >= 0.9
