from __future__ import annotations

import pytest
import torch

from rootpoint import models
from rootpoint.evaluation.shortcuts.tag import (
    FACE,
    Photos,
    faces,
    fisher_reader,
    network_reader,
    sheet,
    tag_mask,
    with_tag,
)

pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def photos() -> tuple[Photos, Photos]:
    return faces()


def test_only_faces_carry_the_tag_and_no_photo_is_on_both_sides(
    photos: tuple[Photos, Photos],
) -> None:
    train, test = photos
    assert (len(train.pictures), len(test.pictures)) == (140, 60)
    for half in photos:
        assert not (half.tagged & (half.labels != FACE)).any()
        assert 0.75 < float(half.tagged[half.labels == FACE].float().mean()) < 1
    seen = {picture.tobytes() for picture in train.pictures}
    assert not seen & {picture.tobytes() for picture in test.pictures}


def test_the_mask_covers_the_writing(photos: tuple[Photos, Photos]) -> None:
    photo = photos[0].pictures[0]
    before, after = (
        torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8)
        for p in (photo, with_tag(photo))
    )
    changed = (before != after).reshape(224, 224, 3).any(-1)
    assert changed.any()
    assert not (changed & ~tag_mask()).any()
    assert float(tag_mask().float().mean()) < 0.06


@pytest.mark.slow
def test_fisher_vectors_read_the_tag_and_the_network_the_face(
    photos: tuple[Photos, Photos],
) -> None:
    train, test = photos
    fisher, network = fisher_reader(train, test), network_reader(train, test, models.load())
    area = float(tag_mask().float().mean())
    assert abs(fisher.accuracy[0].mean - network.accuracy[0].mean) < 0.12  # as good as they come
    assert fisher.inside.low > 3 * area
    assert network.inside.high < fisher.inside.low
    assert fisher.ratio.high < 0.5 < 1 < network.ratio.mean
    assert fisher.accuracy[1].mean < fisher.accuracy[0].mean - 0.1  # without tags
    assert network.accuracy[1].mean > network.accuracy[0].mean - 0.05
    assert fisher.flipped.mean > 3 * network.flipped.mean
    assert len(sheet([fisher, network], test).panels) == 9
