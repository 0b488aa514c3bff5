"""Do explanations of k-means find the columns that made the clusters?

Two data sets in which only known columns do: Gaussian clusters whose centres differ in some columns
and not in others; and scikit-learn's wines beside a copy of all their columns, each of which is
shuffled by itself. k-means is fitted to one part; its assignments of the other are explained, and
columns are replaced by those of a cluster's centre, the most important first.

    python benchmarks/clusters.py --output docs [--fits 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import rootpoint as rp
from rootpoint.evaluation.statistics import Difference, Estimate, bands, difference, estimate

Array = NDArray[np.float64]

EXPLAINED = 60  # samples of each fit
ORDERS = ("lrp", "gradient²", "distance to the rival", "random")


@dataclass(frozen=True)
class Set:
    """Where tables come from: a function of the seed to (samples, whether columns are planted)."""

    name: str
    clusters: int
    draw: Callable[[np.random.Generator], tuple[Array, NDArray[np.bool_]]]


@dataclass(frozen=True)
class Measured:
    """Of all samples of a set, by the name of the order of columns.

    chance     the share of columns that are planted
    shares     of importance in planted columns, (n,)
    to_rival   the share of the score's change while columns move to the rival's centre (n, D + 1)
    to_own     the change in log-odds while they move to the own centre (n, D + 1)
    """

    chance: float
    shares: dict[str, Array]
    to_rival: dict[str, Array]
    to_own: dict[str, Array]


def blobs(rng: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
    """Four Gaussian clusters that differ in 5 of 25 columns, by a standard deviation of 2."""
    planted = np.isin(np.arange(25), rng.choice(25, 5, replace=False))
    centres = 2 * rng.normal(size=(4, 25)) * planted
    return centres[rng.integers(4, size=260)] + rng.normal(size=(260, 25)), planted


def wines(rng: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
    """178 wines, 13 standardized columns, and the same columns shuffled."""
    from sklearn.datasets import load_wine
    from sklearn.preprocessing import scale

    x = scale(load_wine().data)[rng.permutation(178)]
    return np.hstack((x, rng.permuted(x, axis=0))), np.arange(26) < 13


SETS = (Set("planted blobs", 4, blobs), Set("wines beside shuffled columns", 3, wines))


def measure(data: Set, fits: int) -> Measured:
    """All samples that `fits` fits explain."""
    each = [_measure(data, seed) for seed in range(fits)]

    def joined(name: str) -> dict[str, Array]:
        return {key: np.concatenate([getattr(m, name)[key] for m in each]) for key in ORDERS}

    return Measured(each[0].chance, joined("shares"), joined("to_rival"), joined("to_own"))


def _measure(data: Set, seed: int) -> Measured:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(seed)
    samples, planted = data.draw(rng)
    fitted = KMeans(data.clusters, n_init=10, random_state=seed).fit(samples[:-EXPLAINED])
    network = rp.neuralize(fitted)
    x = torch.from_numpy(samples[-EXPLAINED:])
    own, rival = fitted.transform(x.numpy()).argsort(1)[:, :2].T
    centre, other = (torch.from_numpy(fitted.cluster_centers_[c]) for c in (own, rival))
    classes = own.tolist()
    relevance = rp.explain(network, x, classes, method="lrp").relevance
    slope = rp.explain(network, x, classes, method="gradient").relevance.square()
    found = {
        "lrp": relevance,
        "gradient²": slope,
        "distance to the rival": (x - other).square(),
        "random": torch.from_numpy(rng.random(x.shape)),
    }
    against = found | {"lrp": -relevance, "distance to the rival": (x - centre).square()}
    sizes = {name: values.abs().numpy() for name, values in found.items()}
    return Measured(
        planted.mean(),
        {name: size[:, planted].sum(1) / size.sum(1) for name, size in sizes.items()},
        {name: shares(moved(network, x, other, classes, found[name])) for name in ORDERS},
        {name: moved(network, x, centre, classes, against[name]) for name in ORDERS},
    )


@torch.no_grad()
def moved(
    network: torch.nn.Module, x: Tensor, to: Tensor, classes: list[int], order: Tensor
) -> Array:
    """How the score has changed while ever more columns of x are those of `to`, (n, D + 1)."""
    rank = order.argsort(1, descending=True).argsort(1)
    steps = [torch.where(rank < k, to, x) for k in range(x.shape[1] + 1)]
    scores = torch.stack([network(step)[range(len(x)), classes] for step in steps], 1)
    return (scores - scores[:, :1]).numpy()


def shares(curves: Array) -> Array:
    return curves / curves[:, -1:]


def area(curves: Array) -> Array:
    """The mean over all steps but the first and last, where all orders are equal."""
    return curves[:, 1:-1].mean(1)


def rows(data: Set, found: Measured) -> Iterator[str]:
    for name in ORDERS:
        cells: list[Estimate | Difference] = [
            estimate(found.shares[name]),
            estimate(area(found.to_rival[name])),
            estimate(area(found.to_own[name])),
        ]
        yield f"| {data.name} | {name} | " + " | ".join(map(str, cells)) + " |"


def comparisons(data: Set, found: Measured) -> Iterator[str]:
    for name in ORDERS[1:]:
        cells = [
            difference(area(curves["lrp"]), area(curves[name]))
            for curves in (found.to_rival, found.to_own)
        ]
        yield f"| {data.name} | lrp − {name} | " + " | ".join(map(str, cells)) + " |"


HEAD = """# Explanations of clusters, where the clusters' columns are known

Made by `python benchmarks/clusters.py`: k-means on two tabular sets, {fits} fits of each, by each
{explained} new samples explained; means over samples with 95 % intervals (bootstrap). *Planted
blobs*: four Gaussian clusters whose centres differ in 5 of 25 columns. *Wines beside shuffled
columns*: the 13 standardized columns of scikit-learn's wines, and the same again, each shuffled by
itself, so that they know nothing of each other.

The score is the log-odds of the own cluster (`rp.neuralize(kmeans)`); "lrp" is its relevance by
distances, `rp.explain(network, x)`.

- **share**: of all importance (of relevance, its size) in the columns that make the clusters; by
  chance {chances}. Squares concentrate: a
  share of gradient² is not one of a score.
- **to the rival**: columns become those of the nearest other centre, the most important first; the
  mean share of the whole fall of the score that has happened. Higher: sooner.
- **to the own centre**: columns become those of the own centre, for lrp first what speaks most
  against the cluster; the mean rise of the log-odds. Higher: sooner.

"Distance to the rival" is (x − μ)² by columns, of the own centre when moving there.
Relevance has a sign, which squares lack: it puts what speaks for the other side last.

| data | order | share ↑ | to the rival ↑ | to the own centre ↑ |
|---|---|---|---|---|
"""

PAIRS = """
Paired differences of the last two columns, positive where lrp is better:

| data | difference | to the rival | to the own centre |
|---|---|---|---|
"""


def report(measured: dict[Set, Measured], fits: int) -> str:
    """The page docs/clusters.md."""
    chances = ", ".join(f"{found.chance:.2f} ({data.name})" for data, found in measured.items())
    head = HEAD.format(fits=fits, explained=EXPLAINED, chances=chances)
    table = [row for item in measured.items() for row in rows(*item)]
    pairs = [row for item in measured.items() for row in comparisons(*item)]
    picture = "\n![Scores while columns are replaced](clusters.png)\n"
    return head + "\n".join(table) + "\n" + PAIRS + "\n".join(pairs) + "\n" + picture


def draw(measured: dict[Set, Measured], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(measured), 2, figsize=(10, 7), layout="constrained")
    for axis_row, (data, found) in zip(axes, measured.items(), strict=True):
        pairs = (("rival's centre", found.to_rival), ("own centre", found.to_own))
        for axis, (title, curves) in zip(axis_row, pairs, strict=True):
            for name in ORDERS:
                mean, low, high = bands(curves[name])
                (line,) = axis.plot(mean, label=name, linewidth=1.5)
                axis.fill_between(range(len(mean)), low, high, color=line.get_color(), alpha=0.2)
            axis.set(title=f"{data.name}: to the {title}", xlabel="columns replaced")
            axis.set_ylabel("share of the change" if curves is found.to_rival else "log-odds")
    axes[0, 0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, help="folder for clusters.md and clusters.png")
    parser.add_argument("--fits", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured = {data: measure(data, options.fits) for data in SETS}
    page = report(measured, options.fits)
    if options.output is None:
        print(page)
        return
    (options.output / "clusters.md").write_text(page, encoding="utf-8")
    draw(measured, options.output / "clusters.png")


if __name__ == "__main__":
    main()
