"""Fisher vectors and bags of visual words: classifiers of photos, explained down to the pixel.

Relevance goes back in three steps: from the score to the dimensions of the encoding, from these to
local descriptors, from these to pixels; each conserves. Sources: Lapuschkin et al. 2016, CVPR;
Bach et al. 2015, PLOS ONE 10(7):e0130140; Binder et al. 2018, arXiv 1805.11178.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import linear

from rootpoint.errors import InputError, MissingExtraError
from rootpoint.inputs import check
from rootpoint.neuralize.encoding import encode
from rootpoint.neuralize.network import kernel_composite
from rootpoint.progress import progress
from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.composites import Composite, Where
from rootpoint.propagation.functions import columnwise, overridable
from rootpoint.propagation.rules import rule

_SHOWN = 200_000  # descriptors that the mixture is fitted to


@dataclass(frozen=True)
class Design:
    """What a classifier sees, and how it encodes it.

    encoding    "fisher": first and second order statistics under a Gaussian mixture; "bag": how
                many descriptors lie nearest to each visual word
    components  of the mixture, or words
    dimensions  of a descriptor after PCA
    step        pixels from one descriptor to the next
    radius      of the disc that a descriptor sees, in pixels
    pyramid     cells per side of each level: (1, 2) is the whole picture and its quarters
    """

    encoding: str = "fisher"
    components: int = 16
    dimensions: int = 24
    step: int = 4
    radius: int = 7
    pyramid: tuple[int, ...] = (1, 2)


@overridable
def describe(images: Tensor, step: int, radius: int) -> Tensor:
    """Dense DAISY descriptors of images (B, C, H, W) in [0, 1]: (B, L, D), row by row.

    Computed by scikit-image, of the mean of the channels; no gradient goes through.
    """
    try:
        from skimage.feature import daisy
    except ImportError as error:
        raise MissingExtraError("Fisher vectors", "fisher") from error
    grey = images.detach().mean(1).cpu().double().numpy()
    found = np.stack(
        [
            daisy(image, step=step, radius=radius, rings=2, histograms=6, orientations=8)
            for image in grey
        ]
    )
    return torch.from_numpy(found.reshape(len(found), -1, found.shape[-1])).to(images.device)


@rule("descriptor-area", operation=describe, exact=True)
def descriptor_area(call: Call, m: Tensor) -> Back:
    """R_p = Σ_{l ∋ p} R_l / |area(l)|: each descriptor's relevance, evenly over what it sees, and
    over the channels. Conserves.
    """
    given = call.step.bound(call.tensors, "images", "step", "radius")
    images, step, radius = given["images"], given["step"], given["radius"]
    rows, columns = grid(images.shape[-2], step, radius), grid(images.shape[-1], step, radius)
    r = call.relevance(m).sum(-1).reshape(len(images), 1, rows, columns)
    side = 2 * radius + 1
    area = torch.full((1, 1, side, side), 1 / side**2, dtype=r.dtype, device=r.device)
    spread = torch.nn.functional.conv_transpose2d(r, area, stride=step)
    found = torch.zeros_like(images[:, :1], dtype=r.dtype)
    found[..., : spread.shape[-2], : spread.shape[-1]] = spread
    return Back(relevance=(found / images.shape[1]).expand_as(images).to(images.dtype))


def grid(size: int, step: int, radius: int) -> int:
    """How many descriptors fit side by side."""
    return max(0, -(-(size - 2 * radius) // step))


class VisualWords(nn.Module):
    """Images (B, C, H, W) in [0, 1] to a linear machine's scores (B, K); of two classes (−s, s).

    descriptors → encoding Φ_d = Σ_l m_d(l) for each cell of the pyramid → sign·√|Φ| → over its
    length → w·φ + b. `at="encoding"` explains by dimensions, `at="descriptors"` by descriptors.
    Double precision. Save it by `save`, read it by `VisualWords.load`.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, design: Design, size: tuple[int, int], arrays: dict[str, Any]) -> None:
        super().__init__()
        self.design, self.size = design, size
        self.descriptors = Descriptors(design)
        self.encoding = Encoding(design, size, arrays)
        for name in ("weight", "bias"):
            self.register_buffer(name, torch.as_tensor(arrays[name], dtype=torch.float64))
        places = (
            (Where(operation="describe"), descriptor_area()),
            (Where(kind="linear"), dict(kernel_composite().entries)[Where(kind="linear")]),
        )
        self.rootpoint_composite = Composite(places, "visual-words")
        self.rootpoint_rows = 16
        self.eval()

    def train(self, mode: bool = True) -> VisualWords:
        return super().train(False)

    def features(self, images: Tensor) -> Tensor:
        """φ, of length one, (B, F)."""
        if tuple(images.shape[-2:]) != self.size or images.dim() != 4:
            raise InputError(
                f"the classifier was fitted to images (B, C, {self.size[0]}, {self.size[1]}), not "
                f"{tuple(images.shape)}"
            )
        found = columnwise(self.encoding(self.descriptors(images)), _rooted)
        with torch.no_grad():
            length = found.detach().norm(dim=1, keepdim=True)
        return found / length.masked_fill(length == 0, 1)

    def forward(self, images: Tensor) -> Tensor:
        return linear(self.features(images), self.weight, self.bias)

    def save(self, path: str | Path) -> Path:
        """Write it as safetensors."""
        about = {"kind": "visual words", "size": self.size, "design": asdict(self.design)}
        arrays = {name.split(".")[-1]: t.contiguous() for name, t in self.state_dict().items()}
        save_file(arrays, path, {"rootpoint": json.dumps(about)})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> VisualWords:
        """Read what `save` wrote. Raises InputError for any other file."""
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["rootpoint"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            design = about["design"] | {"pyramid": tuple(about["design"]["pyramid"])}
            return cls(Design(**design), tuple(about["size"]), arrays)
        except Exception as error:
            raise InputError(f"{path} holds no classifier by visual words: {error}") from error


def _rooted(x: Tensor) -> Tensor:
    return x.sign() * x.abs().sqrt()


class Descriptors(nn.Module):
    """Dense local descriptors, (B, L, D)."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.step, self.radius = design.step, design.radius

    def forward(self, images: Tensor) -> Tensor:
        return describe(images, self.step, self.radius)


class Encoding(nn.Module):
    """Descriptors (B, L, D) to their statistics in each cell of the pyramid, (B, cells · F)."""

    cells: Tensor

    def __init__(self, design: Design, size: tuple[int, int], arrays: dict[str, Any]) -> None:
        super().__init__()
        self.kind = design.encoding
        for name in ("mean", "matrix", "centers", "variances", "shares"):
            self.register_buffer(name, torch.as_tensor(arrays[name], dtype=torch.float64))
        self.register_buffer("cells", pyramid_cells(design, size))

    def forward(self, x: Tensor) -> Tensor:
        mixture = (self.mean, self.matrix, self.centers, self.variances, self.shares)
        return encode(x, self.cells, self.kind, *mixture)


def pyramid_cells(design: Design, size: tuple[int, int]) -> Tensor:
    """1/|cell| where a descriptor lies in a cell, else 0: (cells, L)."""
    rows, columns = (grid(side, design.step, design.radius) for side in size)
    cells = []
    for count in design.pyramid:
        row = (torch.arange(rows) * count // rows).repeat_interleave(columns)
        column = (torch.arange(columns) * count // columns).repeat(rows)
        cells += [((row * count + column) == k).double() for k in range(count**2)]
    return torch.stack([cell / cell.sum().clamp(min=1) for cell in cells])


def fit_visual_words(
    images: Tensor, labels: Any, design: Design | None = None, *, seed: int = 0, C: float = 1.0
) -> VisualWords:
    """A classifier of images by Fisher vectors, or by a bag of visual words.

    images   (N, C, H, W) in [0, 1], all of one size
    labels   (N,), whole numbers from 0, none left out
    C        of scikit-learn's LinearSVC: how hard it tries to be right on these images
    Raises InputError for images too small for a descriptor or out of range, and for labels that do
    not fit; MissingExtraError without scikit-image and scikit-learn.
    """
    design = design or Design()
    check(describe, images)
    if images.dim() != 4 or images.min() < 0 or images.max() > 1:
        raise InputError(
            f"images must be (N, C, H, W) with values in [0, 1], not {tuple(images.shape)} with "
            f"values from {float(images.min()):g} to {float(images.max()):g}"
        )
    size = (int(images.shape[-2]), int(images.shape[-1]))
    if min(grid(side, design.step, design.radius) for side in size) < max(design.pyramid):
        raise InputError(
            f"images of {size[0]} × {size[1]} hold too few descriptors of radius {design.radius} "
            f"for {max(design.pyramid)} cells per side: enlarge them, or take a smaller radius"
        )
    truth = np.asarray(labels)
    classes = np.unique(truth)
    if truth.shape != (len(images),) or len(classes) < 2:
        raise InputError(f"{len(images)} images need as many labels, of two classes at least")
    if not np.array_equal(classes, np.arange(len(classes))):
        raise InputError(
            f"labels must be whole numbers from 0 to {len(classes) - 1}, the numbers of the "
            f"scores, not {classes[:5].tolist()}"
        )
    found = []
    with progress(len(images), "describing images") as advance:
        for image in images:
            found.append(describe(image[None], design.step, design.radius)[0])
            advance(1)
    described = torch.stack(found)
    arrays = _vocabulary(described, design, seed)
    width = sum(count**2 for count in design.pyramid) * _width(design)
    blank = {"weight": np.zeros((1, width)), "bias": np.zeros(1)}
    untrained = VisualWords(design, size, arrays | blank)
    with torch.no_grad():
        features = torch.cat([_of_described(untrained, part) for part in described.split(16)])
    return VisualWords(design, size, arrays | _machine(features.numpy(), truth, C, seed))


def _width(design: Design) -> int:
    return design.components * (2 * design.dimensions if design.encoding == "fisher" else 1)


def _of_described(model: VisualWords, descriptors: Tensor) -> Tensor:
    found = _rooted(model.encoding(descriptors))
    length = found.norm(dim=1, keepdim=True)
    return found / length.masked_fill(length == 0, 1)


def _vocabulary(described: Tensor, design: Design, seed: int) -> dict[str, Any]:
    """PCA and mixture (or words) of the descriptors."""
    try:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise MissingExtraError("Fisher vectors", "fisher") from error
    flat = described.flatten(0, 1).numpy()
    drawn = np.random.default_rng(seed).permutation(len(flat))[:_SHOWN]
    pca = PCA(design.dimensions, random_state=seed).fit(flat[drawn])
    reduced = pca.transform(flat[drawn])
    arrays = {"mean": pca.mean_, "matrix": pca.components_}
    if design.encoding == "bag":
        words = KMeans(design.components, random_state=seed).fit(reduced)
        ones = np.ones((design.components, design.dimensions))
        shares = np.full(design.components, 1 / design.components)
        return arrays | {"centers": words.cluster_centers_, "variances": ones, "shares": shares}
    if design.encoding != "fisher":
        raise InputError(f"encoding={design.encoding!r}: choose 'fisher' or 'bag'")
    mixture = GaussianMixture(design.components, covariance_type="diag", random_state=seed)
    mixture.fit(reduced)
    return arrays | {
        "centers": mixture.means_,
        "variances": mixture.covariances_,
        "shares": mixture.weights_,
    }


def _machine(features: Any, labels: Any, C: float, seed: int) -> dict[str, Any]:
    from sklearn.svm import LinearSVC

    fitted = LinearSVC(C=C, random_state=seed, max_iter=10_000).fit(features, labels)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
    return {"weight": weight, "bias": bias}
