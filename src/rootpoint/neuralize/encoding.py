"""Fisher vectors and bags of words: sums over descriptors, and how relevance goes back to them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rootpoint.propagation.call import Back, Call
from rootpoint.propagation.functions import overridable
from rootpoint.propagation.rules import rule

_ROUNDING = 1e-14  # of the sum of absolute values: a sum no larger is zero


@overridable
def encode(
    descriptors: Tensor,
    cells: Tensor,
    kind: str,
    mean: Tensor,
    matrix: Tensor,
    centers: Tensor,
    variances: Tensor,
    shares: Tensor,
) -> Tensor:
    """Φ_cd = Σ_l c_l m_d(l) of descriptors (B, L, D) after PCA, for cells c: (B, cells · F).

    cells  (cells, L): 1 / the number of its descriptors where one lies in the cell, else 0

    kind   "fisher": m = (γ_k (x − μ_k)/σ_k / √w_k, γ_k ((x − μ_k)²/σ_k² − 1) / √(2 w_k)) of each
           component k, γ its responsibility; "bag": 1 for the nearest center
    Source: Perronnin, Sánchez, Mensink 2010, ECCV.
    """
    m = mappings(descriptors, kind, mean, matrix, centers, variances, shares)
    return torch.einsum("cl,blf->bcf", cells, m).flatten(1)


def mappings(
    descriptors: Tensor,
    kind: str,
    mean: Tensor,
    matrix: Tensor,
    centers: Tensor,
    variances: Tensor,
    shares: Tensor,
) -> Tensor:
    """m_d(l) of each descriptor, (B, L, F)."""
    x = (descriptors.to(mean) - mean) @ matrix.T
    apart = (x.unsqueeze(2) - centers) / variances.sqrt()  # (B, L, K, D)
    near = -apart.square().sum(-1) / 2
    if kind == "bag":
        return torch.nn.functional.one_hot(near.argmax(-1), len(centers)).to(x)
    size = centers.shape[1] * math.log(2 * math.pi)
    logs = near - (variances.log().sum(1) + size) / 2 + shares.log()
    gamma = torch.softmax(logs, -1).unsqueeze(-1)
    first = gamma * apart / shares.sqrt()[:, None]
    second = gamma * (apart.square() - 1) / (2 * shares).sqrt()[:, None]
    return torch.cat([first.flatten(2), second.flatten(2)], 2)


@rule("mapping", operation=encode, exact=True)
def share_by_mapping(call: Call, m: Tensor, *, epsilon: float = 0.0) -> Back:
    """R_l = Σ_d m_d(l) / (Σ_l m_d(l) + ε sign) · R_d: by what each descriptor adds to dimension d.

    Dimensions whose sum is zero, but for rounding, share evenly over their cell. Conserves for
    ε = 0. A descriptor's relevance stands evenly in its values.
    Source: Lapuschkin et al. 2016, CVPR; for ε: Binder et al. 2018.
    """
    names = ("descriptors", "cells", "kind", "mean", "matrix", "centers", "variances", "shares")
    given = call.step.bound(call.tensors, *names)
    x, cells = given["descriptors"], given["cells"]
    phi, r = (t.unflatten(1, (len(cells), -1)) for t in (call.output, call.relevance(m)))
    stable = phi + torch.where(phi < 0, -epsilon, epsilon)
    mapped = mappings(x, *(given[name] for name in names[2:]))
    zero = stable.abs() <= _ROUNDING * torch.einsum("cl,blf->bcf", cells, mapped.abs())
    q = (r / stable.masked_fill(zero, 1)).masked_fill(zero, 0)
    found = torch.einsum("bcf,cl,blf->bl", q, cells, mapped)
    found = found + torch.einsum("bcf,cl->bl", r * zero, cells)
    return Back(relevance=(found / x.shape[2]).unsqueeze(2).expand_as(x).to(x.dtype))
