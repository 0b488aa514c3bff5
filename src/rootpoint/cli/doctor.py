"""Is this installation sound? Versions, devices, extras, and one explanation that must add up."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from rootpoint import __version__
from rootpoint.cli.terminal import print_table
from rootpoint.errors import CheckFailedError

TOLERANCE = 1e-4  # of the score that the books may miss: float32 over some fifty layers
_MISSING = "missing"
DEVELOPMENT = ("dev", "test")  # extras for those who work on this package


def doctor() -> None:
    """Show versions, devices and extras, and check that an explanation adds up."""
    rows = [("python", platform.python_version())]
    rows.append(("rootpoint", __version__))
    rows += [(name, _version(name)) for name in _requirements(None)]
    rows += [("device", device) for device in _devices()]
    for extra in _extras():
        versions = [_version(name) for name in _requirements(extra)]
        rows.append(
            (f"extra {extra}", "not installed" if _MISSING in versions else ", ".join(versions))
        )
    rows.append(("self-check", _self_check()))
    print_table([{"item": name, "found": value} for name, value in rows])


def _self_check() -> str:
    """Explain a bundled photo with the default network; CheckFailedError if it does not add up."""
    from rootpoint.data import open_photo, photos
    from rootpoint.method import explain
    from rootpoint.models import load

    network = load()
    balance = explain(network.module, network.tensor(open_photo(photos()[0].path))).balance
    sums = (
        f"score {balance.score:.4f} = relevance {balance.relevance:.4f} "
        f"+ absorbed {sum(balance.absorbed.values()):.4f}"
    )
    if not abs(balance.gap) <= TOLERANCE * abs(balance.score):
        raise CheckFailedError(
            f"relevance is lost: {sums} + {balance.gap:.2g} unaccounted; please report this with "
            "the versions that `pip list` shows"
        )
    return f"ok: {sums}"


def _devices() -> Iterator[str]:
    import torch

    yield f"cpu, {torch.get_num_threads()} threads"
    for index in range(torch.cuda.device_count()):
        yield f"cuda:{index}, {torch.cuda.get_device_name(index)}"
    if torch.backends.mps.is_available():
        yield "mps"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _MISSING


def _requirements(extra: str | None) -> list[str]:
    """The packages that this one needs, or that one of its extras adds."""
    return [package for package, wanted in _declared() if wanted == extra]


def _extras() -> list[str]:
    return sorted({extra for _, extra in _declared() if extra} - set(DEVELOPMENT))


def _declared() -> list[tuple[str, str | None]]:
    """The packages named in this one's metadata, with the extra that each belongs to."""
    try:
        lines = requires("rootpoint") or []
    except PackageNotFoundError:  # run from its source, not installed
        return []
    extras = [re.search(r"extra == ['\"](.+?)['\"]", line) for line in lines]
    packages = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines]
    return [(p, e and e[1]) for p, e in zip(packages, extras, strict=True)]
