"""What every torch function without a rule is: without relevance, met as others, or refused, why;
and the errors that say so.

Together with `operations.TABLE` and `written_out.WRITTEN_OUT` this classifies all functions that
`torch.overrides` lists; a test fails on those of a new release that are nowhere (`standing`).
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from torch import Tensor

from rootpoint.errors import UnsupportedModelError, UnsupportedOperationError
from rootpoint.propagation.introspection import calling_module, model_line, public_name
from rootpoint.propagation.operations import operation_of
from rootpoint.propagation.written_out import IN_PLACE, WRITTEN_OUT

Function = Callable[..., Any]

NO_RELEVANCE = {
    "comparison": """
        __eq__ __ge__ __gt__ __le__ __lt__ __ne__ eq eq_ ge ge_ gt gt_ le le_ lt lt_ ne ne_ greater
        greater_ greater_equal greater_equal_ less less_ less_equal less_equal_ not_equal
        not_equal_ equal allclose isclose isin isfinite isinf isnan isneginf isposinf isreal signbit
        all any logical_and logical_and_ logical_not logical_not_ logical_or logical_or_
        logical_xor logical_xor_ __bool__ __nonzero__ __contains__ is_nonzero is_same_size
        hash_tensor
    """,
    "integers": """
        __and__ __iand__ __ilshift__ __invert__ __ior__ __irshift__ __ixor__ __lshift__ __or__
        __rand__ __rlshift__ __ror__ __rrshift__ __rshift__ __rxor__ __xor__ bitwise_and
        bitwise_and_ bitwise_left_shift bitwise_left_shift_ bitwise_not bitwise_not_ bitwise_or
        bitwise_or_ bitwise_right_shift bitwise_right_shift_ bitwise_xor bitwise_xor_ gcd gcd_ lcm
        lcm_ bool byte char int long short argmax argmin argsort argwhere nonzero nonzero_static
        searchsorted bucketize bincount count_nonzero one_hot unravel_index histc
    """,
    "random": "multinomial",
    "creation": "empty_like full_like ones_like zeros_like",
    "shape and kind": """
        __len__ _dimI _dimV dim dim_order dense_dim sparse_dim ndimension size numel nelement
        element_size storage_offset data_ptr const_data_ptr get_device is_coalesced
        is_complex is_conj is_contiguous is_distributed is_floating_point is_inference is_neg
        is_pinned is_set_to is_shared is_signed _is_view _nnz _nested_tensor_size
        _nested_tensor_storage_offsets _nested_tensor_strides q_per_channel_axis
        q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme storage
        storage_type untyped_storage sym_float sym_int sym_ite sym_max sym_min sym_not sym_sum
        _sym_sqrt linalg_matrix_rank
    """,
    "leaves torch": """
        __array__ __array_wrap__ __complex__ __deepcopy__ __dlpack__ __dlpack_device__ __float__
        __format__ __index__ __int__ __long__ __reduce_ex__ __repr__ __setstate__ item numpy tolist
        module_load detach detach_ detach_copy
    """,
    "autograd": """
        backward register_hook register_post_accumulate_grad_hook retain_grad record_stream
        share_memory_ _clear_non_serializable_cached_data autocast
    """,
    "statistics of a training batch": """
        batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_gather_stats
        batch_norm_gather_stats_with_counts batch_norm_stats batch_norm_update_stats
        choose_qparams_optimized
    """,
}
"""By group: names whose results depend on the input by no values that relevance could go to."""

MET_AS_OTHERS = """
    __add__ __iadd__ __sub__ __isub__ __mul__ __imul__ __div__ __idiv__ __truediv__ __matmul__
    __mod__ __imod__ __ifloordiv__
"""
"""Operators that torch turns into functions before anyone is asked: `x + y` is `Tensor.add`."""

_DECOMPOSED = "a matrix is decomposed or inverted: its factors have no share in the values"
_COMPLEX = "relevance of complex numbers is not defined"
_SPARSE = "sparse tensors: only products of a constant sparse matrix have a rule"
_QUANTIZED = "quantized tensors: explain the model in floating point"
_LOSS = "a loss: explain the scores before it"
_VENDOR = "a kernel of one vendor's backend: call the torch function that it stands for"
_TRAINING = "used in training alone"
_BY_CALLABLE = "it calls a Python function for every value"
_STORAGE = "it changes the storage behind a tensor: reshape, pad or index instead"
_NO_SLOPE = "neither a sum nor a selection of values: write it by operations that are"

REFUSED = {
    _DECOMPOSED: """
        cholesky cholesky_inverse cholesky_solve geqrf inverse linalg_cholesky linalg_cholesky_ex
        linalg_cond linalg_det linalg_eig linalg_eigh linalg_eigvals linalg_eigvalsh
        linalg_householder_product linalg_inv linalg_inv_ex linalg_ldl_factor linalg_ldl_factor_ex
        linalg_ldl_solve linalg_lstsq linalg_lu linalg_lu_factor linalg_lu_factor_ex linalg_lu_solve
        linalg_matrix_exp linalg_matrix_norm linalg_pinv linalg_qr linalg_slogdet linalg_solve
        linalg_solve_ex linalg_solve_triangular linalg_svd linalg_svdvals linalg_tensorinv
        linalg_tensorsolve lobpcg logdet lu lu_solve lu_unpack matrix_exp nuclear_norm orgqr ormqr
        pca_lowrank pinverse qr slogdet svd svd_lowrank triangular_solve det
    """,
    _COMPLEX: """
        angle cdouble cfloat chalf complex polar view_as_complex view_as_complex_copy view_as_real
        view_as_real_copy imag stft istft fft_fft fft_fft2 fft_fftn fft_fftshift
        fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn fft_ifftshift fft_ihfft fft_ihfft2
        fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn
    """,
    _SPARSE: """
        _coalesced_ coalesce _indices _sparse_mask_projection _to_dense _values ccol_indices
        ccol_indices_copy col_indices col_indices_copy crow_indices crow_indices_copy hsmm hspmm
        indices indices_copy native_norm resize_as_sparse_ row_indices row_indices_copy saddmm
        smm sparse_mask sparse_resize_ sparse_resize_and_clear_ sspaddmm to_dense to_sparse values
        values_copy
    """,
    _QUANTIZED: """
        dequantize fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation
        fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation
        fbgemm_linear_quantize_weight fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix
        int_repr quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic
        quantized_batch_norm quantized_gru_cell quantized_lstm_cell quantized_max_pool1d
        quantized_max_pool2d quantized_max_pool3d quantized_rnn_relu_cell quantized_rnn_tanh_cell
    """,
    _LOSS: """
        binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy
        cross_entropy_loss ctc_loss gaussian_nll_loss hinge_embedding_loss kl_div
        linear_cross_entropy margin_ranking_loss multi_margin_loss multilabel_margin_loss
        multilabel_soft_margin_loss nll_loss nll_loss_nd poisson_nll_loss soft_margin_loss
        triplet_margin_loss triplet_margin_with_distance_loss
    """,
    _VENDOR: """
        batch_norm_elemt miopen_batch_norm miopen_convolution miopen_convolution_add_relu
        miopen_convolution_relu miopen_convolution_transpose miopen_depthwise_convolution miopen_rnn
        to_mkldnn
    """,
    _TRAINING: "fused_moving_avg_obs_fake_quant",
    _BY_CALLABLE: "apply_ map_ map2_",
    _STORAGE: "resize resize_ resize_as resize_as_ set_ slice_inverse",
    _NO_SLOPE: "frexp gradient histogram histogramdd linalg_vander unique unique_consecutive",
}
"""By reason: names that are refused where relevance arrives at them."""

IN_PARTS = {
    "scatter_reduce": "only sums, means and extremes have a rule",
    "index_reduce": "only sums, means and extremes have a rule",
    "segment_reduce": "only sums, means and extremes have a rule",
    "grid_sampler": "where to sample depends on the input: call torch.nn.functional.grid_sample",
}
"""Why a call of these is refused, where others are not."""

PIECE_BY_PIECE = """
    __floordiv__ __rfloordiv__ __reversed__ __rmatmul__ __rmod__ __rpow__ gumbel_softmax index
    multi_head_attention_forward normalize pow_
"""
"""Functions of torch that are written in Python: their own operations are met."""


def _by_name(groups: dict[str, str]) -> dict[str, str]:
    return {name: group for group, names in groups.items() for name in names.split()}


_NO_RELEVANCE, _REFUSED = _by_name(NO_RELEVANCE), _by_name(REFUSED)


def reason_of(function: Any) -> str:
    """Why a function is refused; empty if no reason is known."""
    name = function if isinstance(function, str) else getattr(function, "__name__", "")
    return _REFUSED.get(name) or IN_PARTS.get(name, "")


def is_refused(function: types.FunctionType) -> bool:
    """Whether a function written in Python is refused as a whole, not for what it calls."""
    return function.__name__ in _REFUSED and function.__module__.startswith("torch.")


def standing(function: Function) -> str:
    """What a torch function is: its kind, "written out", … ; empty if it is not classified."""
    if (operation := operation_of(function)) is not None:
        return operation.kind
    if function in WRITTEN_OUT or function in IN_PLACE:
        return "written out"
    name = getattr(function, "__name__", "")
    if name in ("__get__", "__set__", "__delete__"):
        return "without relevance: attributes"
    if name in _NO_RELEVANCE:
        return f"without relevance: {_NO_RELEVANCE[name]}"
    if name in _REFUSED:
        return f"refused: {_REFUSED[name]}"
    if name in MET_AS_OTHERS.split():
        return "met as another"
    known = name in PIECE_BY_PIECE.split() and isinstance(function, types.FunctionType)
    return "piece by piece" if known else ""


# -- errors --------------------------------------------------------------------------------------


def unsupported(
    function: Function, why: str, paths: dict[int, str], remedy: str
) -> UnsupportedOperationError:
    """An operation on the path cannot be explained.

    paths    of the model's modules, by their id
    remedy   what to do about it, with {} for the function's name
    """
    name = public_name(function)
    return UnsupportedOperationError(
        f"no rule for {name}, on the path from the input to the explained output"
        f"{f' ({why})' if why else ''}\n"
        f"  {_place(paths)}\n"
        f"  {remedy.format(name)}"
    )


def stranger(node: str) -> str:
    """Why a tensor cannot be explained that this node of autograd's made unseen."""
    if node == "CheckpointFunctionBackward":
        return (
            "its operand comes from a checkpoint in which operations cannot be seen: checkpoint "
            "with use_reentrant=False"
        )
    return (
        "its operand was computed from the input where operations cannot be seen: TorchScript, a "
        "C++ extension, a function of autograd's, torch.func, a view written to, as_subclass; it "
        f"comes from {node}"
    )


def hooked(by: str, paths: dict[int, str]) -> UnsupportedModelError:
    """The model changes gradients on their way, by this."""
    return UnsupportedModelError(
        f"the model uses {by}: hooks on gradients would see and change relevance instead\n"
        f"  {_place(paths)}\n"
        "  Remove the hook, or keep it off while the model is explained"
    )


def only_looking(hook: Callable[[Tensor], Any]) -> Callable[[Tensor], None]:
    """A hook of the model's on gradients, which must not change the relevance that it sees."""

    def look(multiplier: Tensor) -> None:
        if hook(multiplier.clone()) is not None:
            raise UnsupportedModelError(
                f"the model's hook {getattr(hook, '__name__', hook)} (Tensor.register_hook) "
                "changes gradients, and would change relevance: remove the hook"
            )

    return look


def _place(paths: dict[int, str]) -> str:
    """Where in the model the calling code is, for messages."""
    module = calling_module()
    path = paths.get(id(module), "") if module is not None else ""
    kind = type(module).__name__ if module is not None else "a function"
    return f"in {path or 'the model'} ({kind}), {model_line()}"
