"""Which feature goes when."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from rootpoint.evaluation.orders import TIES, Order, generator, ranks


def rank(relevance: list[float], order: Order, repetition: int = 0) -> list[int]:
    values = torch.tensor(relevance)
    return ranks(values, order, seed=0, number=0, repetition=repetition).tolist()


def test_the_most_relevant_feature_goes_first_or_last() -> None:
    assert rank([0.5, 2.0, -1.0], "morf") == [1, 0, 2]
    assert rank([0.5, 2.0, -1.0], "lerf") == [1, 2, 0]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=8))
def test_every_feature_goes_once_and_lerf_is_the_reverse_of_morf(relevance: list[float]) -> None:
    morf, lerf = rank(relevance, "morf"), rank(relevance, "lerf")
    assert sorted(morf) == list(range(len(relevance)))
    assert [a + b for a, b in zip(morf, lerf, strict=True)] == [len(relevance) - 1] * len(morf)


def test_features_of_equal_relevance_go_in_another_order_each_time() -> None:
    first = torch.tensor([rank([1.0] * 5 + [2.0], "morf", each) for each in range(500)])
    assert (first[:, 5] == 0).all()
    mean = first[:, :5].double().mean(0)
    torch.testing.assert_close(mean, torch.full_like(mean, 3.0), atol=0.3, rtol=0)


def test_random_order_does_not_depend_on_relevance() -> None:
    assert rank([3.0, 1.0, 2.0, 0.0], "random") == rank([0.0, 1.0, 2.0, 3.0], "random")


def test_draws_differ_between_seeds_kinds_samples_and_repetitions() -> None:
    drawn = {
        tuple(torch.rand(2, generator=generator(*key)).tolist())
        for key in (
            (0, TIES, 0, 0),
            (1, TIES, 0, 0),
            (0, 1, 0, 0),
            (0, TIES, 1, 0),
            (0, TIES, 0, 1),
        )
    }
    assert len(drawn) == 5
