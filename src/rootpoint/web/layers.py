"""Inside the network: relevance at several modules, the books, and which rule is where."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from rootpoint.errors import UnknownNameError
from rootpoint.web.answering import packed
from rootpoint.web.requests import (
    BalanceAnswer,
    LayerAnswer,
    LayersAnswer,
    LayersRequest,
    RuleAnswer,
)
from rootpoint.web.served import Served, served_by

DEPTH = 2  # names in the path of a layer that is listed
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@cache
def layers_of(served: Served) -> list[str]:
    """The modules whose output is a map, in the order in which they run: (1, C, H, W).

    Cost: one forward, once.
    """
    if served.image is None:
        return []
    names = {
        module: name
        for name, module in served.model.named_modules()
        if name and name.count(".") < DEPTH and not isinstance(module, CONTAINERS)
    }
    met: list[str] = []

    def meet(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and min(output.shape[2:]) > 1:
            met.append(names[module])

    hooks = [module.register_forward_hook(meet) for module in names]
    try:
        with torch.no_grad():
            served.model(_blank(served))
    finally:
        for hook in hooks:
            hook.remove()
    once = Counter(met)
    return [name for name in met if once[name] == 1]


def layers(models: dict[str, Served], request: LayersRequest) -> LayersAnswer:
    """Relevance at the request's modules (all that are listed, if none are named), in one pass.

    The books and the rules are those of methods that pass on relevance; of others they are empty.
    So are maps and rules of what is no picture.
    """
    served = served_by(models, request)
    known = layers_of(served)
    wanted = list(dict.fromkeys(request.layers)) if request.layers else known
    for name in wanted:
        if name not in known:
            raise UnknownNameError("layer", name, known)
    inputs, target = served.seen(request).inputs, served.target(request)
    bound = served.bound(request)
    maps = bound(inputs, target, at=wanted).relevance if wanted else {}
    rules = [] if served.image is None else _rules(bound.method, served, inputs)
    kinds = {(rule.index, rule.module): rule.kind for rule in rules}
    whole = bound(inputs, target)
    gap = whole.completeness_gap
    return LayersAnswer(
        layers=[_layer(name, maps[name][0]) for name in wanted],
        balance=[] if whole.account is None else _balance(whole.balance, kinds),
        rules=rules,
        score=float(whole.output[0]),
        gap=None if gap is None else float(gap[0]),
    )


def _layer(name: str, relevance: Tensor) -> LayerAnswer:
    flat = relevance.detach().cpu().sum(0)
    data, scale = packed(flat)
    return LayerAnswer(
        name=name,
        shape=list(relevance.shape),
        height=flat.shape[0],
        width=flat.shape[1],
        relevance=data,
        scale=scale,
        sum=float(relevance.double().sum()),
    )


def _balance(balance: Any, kinds: dict[tuple[int, str], str]) -> list[BalanceAnswer]:
    return [
        BalanceAnswer(
            module=entry.module,
            operation=entry.operation,
            kind=kinds.get((entry.index, entry.module), ""),
            rule=entry.rule,
            arrived=entry.arrived,
            passed=entry.passed,
            absorbed=sum(entry.absorbed.values()),
            by=dict(entry.absorbed),
        )
        for entry in balance.entries
    ]


def _rules(method: Any, served: Served, inputs: Tensor) -> list[RuleAnswer]:
    from rootpoint.methods.lrp import LRP
    from rootpoint.methods.propagating import Propagating
    from rootpoint.propagation import inspect

    if not isinstance(method, Propagating):
        return []
    if isinstance(method, LRP):
        method = method.chosen(served.model, inputs)
    return [
        RuleAnswer(
            index=step.index,
            module=step.module,
            operation=step.name,
            kind=step.kind,
            shape=list(step.shape),
            rule=str(step.rule),
        )
        for step in inspect(served.model, inputs, method.rules())
    ]


def _blank(served: Served) -> Tensor:
    image = served.image
    assert image is not None
    return image.low.expand(-1, image.size, image.size)[None]
