"""What a method may cost on a picture of some size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootpoint.errors import InputError

if TYPE_CHECKING:
    from rootpoint.method import Method

WINDOWS = 5000  # that occlusion may cover


def check_windows(chosen: Method, size: int) -> None:
    """Raise InputError if occlusion would cover more windows than the server computes."""
    if chosen.name != "occlusion":
        return
    stride: Any = getattr(chosen, "stride", None) or getattr(chosen, "window", None)
    if stride is None:
        return
    steps = [stride, stride] if isinstance(stride, int | float) else list(stride)[-2:]
    count = 1
    for step in steps:
        count *= -(-size // max(1, int(step)))
    if count > WINDOWS:
        raise InputError(
            f"occlusion would cover {count} windows, more than {WINDOWS}: choose a larger stride"
        )
