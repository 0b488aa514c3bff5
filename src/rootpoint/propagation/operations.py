"""The kind of every torch function that relevance can meet.

An operation's kind says which rules apply to it; the facts beside it say what the engine may
conclude from it. Functions not listed are run piece by piece if they are written in Python, and
refused if they are not (`UnsupportedOperationError`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from rootpoint.propagation import functions
from rootpoint.propagation.concepts import concepts

Function = Callable[..., Any]

LINEAR = ("convolution", "dense")
"""Kinds of linear maps with weights of their own; `kind="linear"` in a composite means both."""


@dataclass(frozen=True)
class Operation:
    """What is known of one torch function.

    kind         which rules apply
    sign         whether the output is non-negative: "never" known, "always", or "kept" from inputs
    gate         the output lies in [0, 1]: in a product it is the gate, not the signal
    functional   of an in-place function: the one of this name, which does the same out of place
    """

    name: str
    kind: str
    sign: str = "never"
    gate: bool = False
    functional: Function | None = None


def operation_of(function: Function) -> Operation | None:
    """The record of a torch function, or None if it is not listed."""
    return TABLE.get(function)


_SPACES = (
    torch,
    torch.Tensor,
    F,
    torch._C._nn,  # pyright: ignore[reportAttributeAccessIssue]
    torch.special,
    torch.linalg,
)

_SIGNED = {
    *("sub", "subtract", "rsub", "__rsub__", "neg", "negative", "cross"),
    *("affine_grid", "affine_grid_generator", "nan_to_num"),
    *("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"),
}
"""Operations whose results may be negative where their operands are not."""

SUMS = "add sub subtract rsub __radd__ __rsub__"
"""Sums of two operands, element by element."""

_SIMPLE = {
    # Only data moves: autograd already carries multipliers to where they belong.
    "movement": """
        view reshape flatten unflatten ravel permute transpose t swapaxes swapdims movedim moveaxis
        squeeze unsqueeze expand expand_as broadcast_to broadcast_tensors repeat repeat_interleave
        tile cat concat concatenate stack hstack vstack dstack column_stack row_stack split
        split_with_sizes chunk tensor_split hsplit vsplit dsplit unbind narrow select __getitem__
        index_select gather take take_along_dim masked_select flip fliplr flipud roll rot90 pad
        constant_pad_nd clone contiguous to type type_as float double half bfloat16 cpu cuda
        view_as reshape_as alias pixel_shuffle pixel_unshuffle channel_shuffle
        unfold tril triu diagonal diag diag_embed where masked_fill
        masked_scatter scatter index_put index_copy index_fill atleast_1d atleast_2d atleast_3d
        meshgrid positive dropout dropout1d dropout2d dropout3d alpha_dropout
        feature_alpha_dropout feature_dropout native_dropout adjoint __setitem__ copy copy_
        requires_grad_ real _pack_padded_sequence _pad_packed_sequence embedding
        unsafe_chunk unsafe_split unsafe_split_with_sizes narrow_copy alias_copy as_strided_copy
        diagonal_copy expand_copy permute_copy select_copy slice_copy split_copy
        split_with_sizes_copy squeeze_copy t_copy transpose_copy unbind_copy unfold_copy
        unsqueeze_copy view_copy conj conj_physical resolve_conj resolve_neg as_strided diagflat
        put select_scatter slice_scatter diagonal_scatter nan_to_num
        max_unpool1d max_unpool2d max_unpool3d block_diag cartesian_prod combinations
        xpu ipu mtia pin_memory _autocast_to_full_precision _autocast_to_reduced_precision
    """,
    # Linear, with weights fixed by the operation itself. In multipliers the z-rule is the gradient.
    "average": """
        avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
        adaptive_avg_pool3d mean sum nansum nanmean interpolate upsample upsample_bilinear
        upsample_nearest cumsum fold trace sum_to_size
        grid_sampler grid_sampler_2d grid_sampler_3d
    """,
    "maximum": """
        max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
        max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices
        adaptive_max_pool3d_with_indices amax max maximum fmax topk sort kthvalue median
        amin min minimum fmin nanmedian mode msort quantile nanquantile cummax cummin aminmax
        fractional_max_pool2d fractional_max_pool3d
        fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices
    """,
    "p-norm": "lp_pool1d lp_pool2d lp_pool3d norm vector_norm",
    "addition": f"""
        {SUMS} scatter_add index_add scatter_reduce index_reduce segment_reduce
        affine_grid affine_grid_generator
    """,
    "product": """
        mul multiply __rmul__ neg negative bmm einsum matmul mm mv dot vdot inner outer
        ger vecdot kron tensordot cross embedding_bag
    """,
    "quotient": "div divide true_divide __rdiv__ __rtruediv__",
    "normalization": "layer_norm group_norm instance_norm rms_norm",
    "batch-norm": "batch_norm",
    "softmax": "softmax softmin log_softmax logsumexp logcumsumexp logaddexp logaddexp2",
    # Neither values nor a slope carry anything through steps and draws: they absorb.
    "piecewise-constant": "floor ceil round trunc fix sign sgn bernoulli poisson",
    "attention": "scaled_dot_product_attention",
}

_LINEAR = {
    "convolution": """
        conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    """,
    "dense": "linear",
}

# Activations y = f(x): relevance passes unchanged. Those in [0, 1] can be gates.
_ACTIVATIONS = {
    "never": """
        leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish tanh softsign tanhshrink
        hardshrink softshrink hardtanh clamp clip threshold logsigmoid sin asinh atan sinh
        expm1 log1p log erf cos clamp_max clamp_min local_response_norm reciprocal
        tan log2 log10 atanh asin arcsin arcsinh arctan arctanh sinc logit lgamma digamma polygamma
        mvlgamma erfinv fmod remainder frac atan2 arctan2 igamma igammac nextafter
        fake_quantize_per_tensor_affine fake_quantize_per_channel_affine
        gammaln psi multigammaln gammainc gammaincc entr log_ndtr ndtri i1 i1e zeta airy_ai
        bessel_j0 bessel_j1 bessel_y0 bessel_y1 modified_bessel_i1 modified_bessel_k0
        modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1
        spherical_bessel_j0 chebyshev_polynomial_t chebyshev_polynomial_u chebyshev_polynomial_v
        chebyshev_polynomial_w hermite_polynomial_h hermite_polynomial_he laguerre_polynomial_l
        legendre_polynomial_p shifted_chebyshev_polynomial_t shifted_chebyshev_polynomial_u
        shifted_chebyshev_polynomial_v shifted_chebyshev_polynomial_w
    """,
    "always": """
        relu relu6 softplus exp square abs absolute sqrt rsqrt exp2 cosh acos arccos acosh arccosh
        erfc erfcx i0 i0e modified_bessel_i0
    """,
    "gate": "sigmoid hardsigmoid expit ndtr",
    "kept": "pow __pow__ float_power deg2rad rad2deg",
}

_OWN = {
    "distances": "distance",
    "soft_minimum": "soft-minimum",
    "harmonic_minimum": "harmonic-minimum",
    "exponential_difference": "exponential-difference",
    "columnwise": "columnwise",
}
"""The kinds of `propagation.functions`."""


def _build() -> dict[Function, Operation]:
    table: dict[Function, Operation] = {}

    def enter(name: str, operation: Operation) -> None:
        for space in _SPACES:
            if (function := getattr(space, name, None)) is not None:
                table.setdefault(function, operation)

    for kind, names in _SIMPLE.items():
        for name in names.split():
            kept = kind in ("movement", "average", "maximum", "addition", "product", "quotient")
            gate = name in ("softmax", "softmin")
            always = gate or kind == "p-norm"
            sign = "kept" if kept and name not in _SIGNED else "always" if always else "never"
            enter(name, Operation(name, kind, sign=sign, gate=gate))
    for kind, names in _LINEAR.items():
        for name in names.split():
            enter(name, Operation(name, kind))
    for sign, names in _ACTIVATIONS.items():
        for name in names.split():
            gate = sign == "gate"
            enter(name, Operation(name, "activation", sign="always" if gate else sign, gate=gate))
    for name, kind in _OWN.items():
        table[getattr(functions, name)] = Operation(name, kind)
    table[concepts] = Operation("concepts", "concept", sign="kept")
    _enter_properties(table)
    _enter_in_place(table)
    _enter_overwriting(table)
    return table


def _enter_properties(table: dict[Function, Operation]) -> None:
    """`x.T` and its like are functions too: the getters of their descriptors."""
    for name in ("T", "mT", "H", "mH", "real"):
        table[getattr(torch.Tensor, name).__get__] = Operation(name, "movement", sign="kept")


def _enter_in_place(table: dict[Function, Operation]) -> None:
    """For every operation, `operation_` does the same in place."""
    by_name = {operation.name: operation for operation in table.values()}
    for name, operation in by_name.items():
        for space in _SPACES:
            function = getattr(space, f"{name}_", None)
            functional = getattr(space, name, None) or getattr(torch, name, None)
            if function is None or name.endswith("_") or functional is None:
                continue
            table.setdefault(function, replace(operation, functional=functional))


_OVERWRITING = {
    "movement": "fill_ zero_ fill_diagonal_",
    "piecewise-constant": """
        bernoulli_ uniform_ normal_ random_ exponential_ cauchy_ geometric_ log_normal_
    """,
}
"""Operations in place that have no form out of place: values of their own replace the old ones."""


def _enter_overwriting(table: dict[Function, Operation]) -> None:
    for kind, names in _OVERWRITING.items():
        for name in names.split():
            function = getattr(torch.Tensor, name)
            table[function] = Operation(name, kind, functional=partial(_on_a_copy, function))


def _on_a_copy(function: Function, target: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    return function(target.clone(), *args, **kwargs)


TABLE = _build()
