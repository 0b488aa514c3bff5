"""Is this installation sound? Versions, devices, extras, and one explanation that must add up."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from rootpoint.cli.terminal import print_table
from rootpoint.errors import CheckFailedError

TOLERANCE = 1e-4  # of the score that the books may miss: float32 over some fifty layers
DEVELOPMENT = ("dev", "test")  # extras for those who work on this package


def doctor() -> None:
    """Show versions, devices and extras, and check that an explanation adds up."""
    rows = [("python", platform.python_version())]
    rows += [(name, _version(name)) for name in ("rootpoint", *_requirements(None))]
    rows += [("device", device) for device in _devices()]
    for extra in _extras():
        found = ", ".join(f"{name} {_version(name)}" for name in _requirements(extra))
        rows.append((f"extra {extra}", found))
    rows.append(("self-check", _self_check()))
    print_table([{"": name, " ": value} for name, value in rows])


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
        return "missing"


def _requirements(extra: str | None) -> list[str]:
    """The packages that this one needs, or that one of its extras adds."""
    found = []
    for line in requires("rootpoint") or ():
        requirement, _, marker = line.partition(";")
        wanted = re.search(r"extra == ['\"](.+?)['\"]", marker)
        if (wanted[1] if wanted else None) == extra:
            found.append(re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0])
    return found


def _extras() -> list[str]:
    lines = " ".join(requires("rootpoint") or ())
    return sorted(set(re.findall(r"extra == ['\"](.+?)['\"]", lines)) - set(DEVELOPMENT))
