"""Products of matrices and of many factors, written as products that have a rule.

Factors that depend on the input share equally (`uniform`): of n factors each gets R / n, which is
gradient × input divided by n. Where one alone does, the product is a linear map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rootpoint.errors import UnsupportedModelError
from rootpoint.propagation.written_out import scaled, writes_out

# -- sums with a product ---------------------------------------------------------------------------


@writes_out(torch.addmm, torch.Tensor.addmm)
def _addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    return scaled(input, beta) + scaled(mat1 @ mat2, alpha)


@writes_out(torch.baddbmm, torch.Tensor.baddbmm)
def _baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return scaled(input, beta) + scaled(torch.bmm(batch1, batch2), alpha)


@writes_out(torch.addbmm, torch.Tensor.addbmm)
def _addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return scaled(input, beta) + scaled(torch.bmm(batch1, batch2).sum(0), alpha)


@writes_out(torch.addmv, torch.Tensor.addmv)
def _addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return scaled(input, beta) + scaled(torch.mv(mat, vec), alpha)


@writes_out(torch.addr, torch.Tensor.addr)
def _addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    return scaled(input, beta) + scaled(torch.outer(vec1, vec2), alpha)


# -- products of several ---------------------------------------------------------------------------


@writes_out(F.bilinear)
def _bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x₁ᵀ W x₂ + b."""
    z = torch.einsum("...i,oij,...j->...o", input1, weight, input2)
    return z if bias is None else z + bias


@writes_out(torch.chain_matmul)
def _chain_matmul(*matrices: Tensor) -> Tensor:
    return _product_of_matrices(matrices)


@writes_out(torch.linalg.multi_dot)
def _multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The first may be a row, the last a column."""
    matrices = list(tensors)
    row, column = matrices[0].dim() == 1, matrices[-1].dim() == 1
    if row:
        matrices[0] = matrices[0].unsqueeze(0)
    if column:
        matrices[-1] = matrices[-1].unsqueeze(1)
    z = _product_of_matrices(matrices)
    z = z.squeeze(-1) if column else z
    return z.squeeze(0) if row else z


@writes_out(torch.linalg.matrix_power, torch.matrix_power, torch.Tensor.matrix_power)
def _matrix_power(input: Tensor, n: int) -> Tensor:
    if n < 0:
        raise UnsupportedModelError(f"matrix_power with n={n} inverts a matrix, which has no rule")
    if n == 0:
        return torch.linalg.matrix_power(input.detach(), 0)
    return input if n == 1 else _product_of_matrices([input] * n)


def _product_of_matrices(matrices: Sequence[Tensor]) -> Tensor:
    """One product of n factors, which share equally, rather than products of products."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    places = [f"...{letters[i : i + 2]}" for i in range(len(matrices))]
    return torch.einsum(f"{','.join(places)}->...a{letters[len(matrices)]}", *matrices)


@writes_out(torch.prod, torch.Tensor.prod)
def _prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Each factor gets R / n."""
    x = input if dtype is None else input.to(dtype)
    z = _product_of_factors((x.flatten() if dim is None else x).unbind(dim or 0))
    return z if dim is None or not keepdim else z.unsqueeze(dim)


@writes_out(torch.cumprod, torch.Tensor.cumprod)
def _cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Each product shares equally among its factors. Cost: n² / 2 multiplications of slices."""
    factors = (input if dtype is None else input.to(dtype)).unbind(dim)
    products = [_product_of_factors(factors[: n + 1]) for n in range(len(factors))]
    return torch.stack(products, dim)


def _product_of_factors(factors: Sequence[Tensor]) -> Tensor:
    if len(factors) == 1:
        return factors[0]
    return torch.einsum(f"{','.join(['...'] * len(factors))}->...", *factors)


@writes_out(F.grouped_mm, torch._grouped_mm)  # pyright: ignore[reportPrivateImportUsage]
def _grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Any = None, **_: Any
) -> Tensor:
    """One matrix product for each group of rows, as experts have them."""
    if offs is None or mat_a.dim() != 2 or mat_b.dim() != 3:
        product = torch.matmul(mat_a, mat_b)
    else:
        ends = offs.tolist()
        sizes = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        groups = mat_a[: ends[-1]].split(sizes)
        each = [rows @ weight for rows, weight in zip(groups, mat_b, strict=True)]
        rest = mat_a[ends[-1] :] @ mat_b[-1] * 0
        product = torch.cat([*each, rest])
    return product if bias is None else product + bias
