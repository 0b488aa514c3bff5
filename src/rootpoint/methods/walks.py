"""Relevance of walks through a graph network: GNN-LRP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter
from rootpoint.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.backward import Explained
    from rootpoint.inputs import Inputs, Model
    from rootpoint.propagation.composites import Composite
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class GNNLRP(Method):
    """GNN-LRP: how much each walk through the graph carries to the score.

    A walk (i, j, …, k) starts at node i of the input and passes node j behind the first layer, …,
    node k behind the last. Its relevance is what LRP passes on along it; walks that carry nothing
    are left out.

    layers      the paths of the modules behind which a walk is at a node, (nodes, …), in order,
                with all relevance passing each; None: every PyTorch Geometric convolution
    composite   which rule where, as of `lrp`; with γ: "attn-lrp(gamma=0.1)"
    Returns the relevance of the nodes' features, the sum over the walks from each; in `details`
    "walks" (walks, layers + 1), the nodes of each, and "relevance" (walks,), the greatest first.
    Σ over the walks is Σ over the features. Cost: one forward, and one backward through one layer
    for each end of a walk: nodes · degree^(layers − 1), the last of them to the input.
    Source: Schnake et al. 2022, IEEE TPAMI 44(11):7581.
    """

    name: ClassVar[str] = "gnn-lrp"
    summary: ClassVar[str] = "Relevance of walks through a graph network (GNN-LRP)"
    needs: ClassVar[tuple[str, ...]] = ("gradients", "graph")
    axioms: ClassVar[tuple[str, ...]] = ("conserving",)
    cost: ClassVar[str] = "1 forward; a backward through a layer per node · degree^(layers − 1)"

    layers: str | Sequence[str] | None = parameter(
        None, "modules behind which a walk is at a node: conv1,conv2"
    )
    composite: str | Composite = parameter("epsilon", "which rule where (docs/rules.md)")

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        import torch

        from rootpoint.backward import detached, forward, scored, shares
        from rootpoint.inputs import check_scores
        from rootpoint.propagation import Propagation, composite
        from rootpoint.target import scores

        self.inputs_only(at)
        found = []
        with torch.inference_mode(False), torch.enable_grad():
            engine = Propagation(composite(self.composite), model)
            paths = self._paths(model)
            output, entries, watched = forward(model, inputs, engine, paths)
            places = [_once(path, watched[path]) for path in paths]
            given = entries.explained()
            if len(given) != 1:
                raise InputError(
                    f"{self.name} follows one tensor of nodes, and was given {len(given)}: pass "
                    "the others by a function of the nodes"
                )
            for target in targets:
                score, resolved = scores(output, target, scored(output, target))
                check_scores(score)
                with engine.backward():
                    ends = list(_ends(score, [*given, *places]))
                nodes = sum((carried for _, carried in ends), torch.zeros_like(given[0].value))
                self._check(nodes, shares(score, given, engine, keep=True)[0])
                found.append(
                    Explanation(
                        relevance=entries.relevance(inputs, (nodes,)),
                        output=score.detach(),
                        target=resolved,
                        prediction=detached(output),
                        inputs=inputs,
                        method=self,
                        passes=Passes(1, len(ends)),
                        baseline_output=torch.zeros_like(score),
                        details=_by_walk(ends, len(places) + 1),
                    )
                )
        return found

    def _check(self, walked: Tensor, arrived: Tensor) -> None:
        """Raise UnsupportedModelError if relevance arrives that no walk carries."""
        if (walked - arrived).abs().sum() > 1e-3 * arrived.abs().sum():
            raise UnsupportedModelError(
                f"relevance goes around the layers that {self.name} walks along, as by skip "
                "connections: name modules that all of it passes, as the blocks around them, "
                'layers=["block1", "block2"]'
            )

    def _paths(self, model: Model) -> list[str]:
        if isinstance(self.layers, str):
            return self.layers.split(",")
        if self.layers is not None:
            return list(self.layers)
        named = getattr(model, "named_modules", tuple)()
        found = [name for name, m in named if _passes_messages(type(m))]
        if not found:
            raise InputError(
                f"{self.name} found no convolution of PyTorch Geometric: name the modules behind "
                'which a walk is at a node, layers=["conv1", "conv2"]'
            )
        return found


def _passes_messages(module_type: type) -> bool:
    return "MessagePassing" in {cls.__name__ for cls in module_type.__mro__}


def _once(path: str, runs: list[Explained]) -> Explained:
    if len(runs) == 1:
        return runs[0]
    raise UnsupportedModelError(f"{path} runs {len(runs)} times: a walk cannot tell which is meant")


def _ends(score: Tensor, chain: list[Explained]) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """What arrives at the input, like it, by the nodes of a walk behind the layers.

    chain   the input, and the outputs of the layers
    """
    import torch

    (m,) = torch.autograd.grad(score.sum(), [chain[-1].place], retain_graph=True)
    nodes = _nodes(m)
    with progress(len(nodes), "following walks") as done:
        for node in nodes:
            yield from _behind(chain, m, (node,))
            done(1)


def _behind(
    chain: list[Explained], m: Tensor, walk: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Of the multipliers m behind the last layer of a chain, those of the first node of a walk."""
    import torch

    *earlier, last = chain
    only = torch.zeros_like(m)
    only[walk[0]] = m[walk[0]]
    before = earlier[-1]
    (m,) = torch.autograd.grad(
        [last.place], [before.place], [only], retain_graph=True, allow_unused=True
    )
    if m is None:
        raise InputError("the layers of a walk are not in order: name them from input to output")
    if len(earlier) == 1:
        yield walk, before.share(before.value, m)
        return
    for node in _nodes(m):
        yield from _behind(earlier, m, (node, *walk))


def _nodes(m: Tensor) -> list[int]:
    """The nodes at which anything arrives."""
    return m.flatten(1).any(1).nonzero().flatten().tolist()


def _by_walk(ends: list[tuple[tuple[int, ...], Tensor]], length: int) -> dict[str, Tensor]:
    """The walks of so many nodes and their relevance, the greatest first."""
    import torch

    walks: list[tuple[int, ...]] = []
    relevance: list[float] = []
    for walk, carried in ends:
        starts = _nodes(carried)
        walks += [(start, *walk) for start in starts]
        relevance += carried.flatten(1).sum(1)[starts].tolist()
    each = torch.tensor(relevance, dtype=ends[0][1].dtype if ends else None)
    order = each.abs().argsort(descending=True)
    return {"walks": torch.tensor(walks).view(-1, length)[order], "relevance": each[order]}
