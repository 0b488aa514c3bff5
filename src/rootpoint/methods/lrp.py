"""Layer-wise relevance propagation and deep Taylor decomposition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rootpoint.errors import InputError
from rootpoint.method import At, parameter
from rootpoint.methods.propagating import Propagating

if TYPE_CHECKING:
    from rootpoint.explanation import Explanation
    from rootpoint.inputs import Inputs, Model
    from rootpoint.propagation.composites import Composite
    from rootpoint.target import Target


DEFAULT = "epsilon-plus-flat"
"""The composite for networks that recommend none."""

OF_IDS = "attn-lrp"
"""The composite for models of tokens, given by their ids, that recommend none."""

RECOMMENDED = "rootpoint_composite"
"""The attribute by which a network names the composite that explains it best."""


@dataclass(frozen=True, eq=False)
class LRP(Propagating):
    """Layer-wise relevance propagation: the score is shared backwards, layer by layer.

    composite   which rule where: a preset's name, perhaps with options
                ("epsilon-gamma-box(low=-2.1, high=2.6)"), or a `Composite`; "recommended" is the
                one that the model names by its attribute `rootpoint_composite`, of a network
                whose best composite is known, else attn-lrp for ids of tokens, epsilon-plus-flat
                for anything else
    compile     run as one graph of torch.compile, made for each shape of the inputs
    through     only what passes some concepts: by the path of a module, channels (dimension 1 of
                its output) or a mask that broadcasts to it, {"layer4": [17, 203]}; on a command
                line "layer4:17,203". Additive over the channels of a module; of several modules
                relevance must pass all (Achtibat et al. 2023, Nat. Mach. Intell. 5:1006)
    In models of 16 bits, and under autocast, rules compute in float32, multipliers go from one to
    the next in the model's own dtypes, and relevance is float32. Models may recompute activations
    (torch.utils.checkpoint.checkpoint with use_reentrant=False) to explain long inputs in less
    memory: the map is the same.
    Conserves up to what biases and stabilizers absorb (`Explanation.balance`). `bind` keeps
    modified weights between calls. Cost: one forward and one backward, plus what the rules add:
    nothing for ε, half as much again for z⁺ and γ, as much again for αβ.
    Source: Bach et al. 2015, PLOS ONE 10(7):e0130140.
    """

    name: ClassVar[str] = "lrp"
    summary: ClassVar[str] = "Layer-wise relevance propagation by a composite of rules"
    cost: ClassVar[str] = "1 forward, 1 backward; z⁺ and γ 1.5 ×, αβ 2 × that"

    composite: str | Composite = parameter(
        "recommended",
        "which rule where: a preset's name (docs/rules.md), a Composite, or the model's own",
    )
    through: Mapping[str, Any] | str | None = parameter(
        None, "only through these channels of these modules: layer4:17,203"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.through and self.compile:
            raise InputError("through= cannot be compiled: leave out compile")

    def within(self, model: Model) -> AbstractContextManager[None]:
        from rootpoint.propagation.concepts import only_through

        return only_through(model, self.through)

    def chosen(self, model: Model, inputs: Inputs | None = None) -> LRP:
        """This method with the composite that is recommended for a model, if that is wanted."""
        if self.composite != "recommended":
            return self
        from rootpoint.inputs import holds_ids

        default = OF_IDS if inputs is not None and holds_ids(inputs) else DEFAULT
        return replace(self, composite=getattr(model, RECOMMENDED, default))

    def run(
        self, model: Model, inputs: Inputs, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        return super(LRP, self.chosen(model, inputs)).run(model, inputs, targets, at, prepared)

    def rules(self) -> Composite:
        from rootpoint.propagation.composites import composite

        return composite(self.composite)


@dataclass(frozen=True, eq=False)
class DeepTaylor(Propagating):
    """Deep Taylor decomposition: a Taylor expansion of each neuron's relevance at a root point.

    input     root point of the first layer: "box" for pixels between low and high, "embedding" for
              inputs without bounds, or as hidden
    hidden    "rescaled-excitations" (rule z⁺), "rescaled-activation" (LRP-0), "nearest" (w²)
    low, high least and greatest input value; None: those of each sample
    compile   run as one graph of torch.compile, made for each shape of the inputs
    maximum   max-pooling shares "proportional" to activation, or the "winner" takes all
    Conserves where every neuron has a root (no positive biases). Cost: as LRP with z⁺.
    Source: Montavon et al. 2017, Pattern Recognition 65:211.
    """

    name: ClassVar[str] = "deep-taylor"
    summary: ClassVar[str] = "Deep Taylor decomposition, each layer's rule named by its root point"
    cost: ClassVar[str] = "1 forward, 1 backward; 1.5 × that for rescaled excitations"

    input: str = parameter(
        "box",
        "root point of the first layer",
        choices=("box", "embedding", "nearest", "rescaled-excitations", "rescaled-activation"),
    )
    hidden: str = parameter(
        "rescaled-excitations",
        "root point of the other layers",
        choices=("rescaled-excitations", "rescaled-activation", "nearest"),
    )
    low: float | None = parameter(None, "least input value; None: that of each sample", number=True)
    high: float | None = parameter(
        None, "greatest input value; None: that of each sample", number=True
    )
    maximum: str = parameter(
        "proportional", "how max-pooling shares", choices=("proportional", "winner")
    )

    def rules(self) -> Composite:
        from rootpoint.propagation.composites import DeepTaylor as composite

        return composite(self.input, self.hidden, self.low, self.high, self.maximum)
