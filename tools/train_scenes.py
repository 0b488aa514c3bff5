"""Train the networks of rootpoint.evaluation.scenes and write their weights.

    python tools/train_scenes.py [--only answering]

About 15 minutes on a free core: 4,000 steps of 64 scenes, and 3 × 2,000 of the small networks.
Batch normalization helps the training and is folded into the convolutions afterwards: the networks
that are shipped are convolutions, ReLU and one dense layer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from packages import save_weights
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rootpoint.evaluation.scenes import shortcuts
from rootpoint.evaluation.scenes.network import WEIGHTS, Answering, Classifying
from rootpoint.evaluation.scenes.questions import KINDS, OUTPUTS, QUESTIONS, outputs
from rootpoint.evaluation.scenes.rendering import NOISE, render
from rootpoint.evaluation.scenes.scene import COLOURS, SHAPES, SIDE, SIZES, draw

SCENES = 30_000
STEPS = 4_000
SHORTCUT_SCENES = 6_000
SHORTCUT_STEPS = 2_000
BATCH = 64
RATE = 3e-3
SEED = 1_000_000  # benchmarks are drawn from smaller ones
LICENCE = "BSD-3-Clause, as Rootpoint"
CELLS = 8
SEEN = (SHAPES, SIZES, COLOURS)  # what the trunk is to see in each cell
WIDTHS = (len(SHAPES) + 1, len(SIZES), len(COLOURS))
MOST = max(len(question.answers) for question in QUESTIONS)

Loss = Callable[[Tensor, Tensor], Tensor]
Vary = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def asked(number: int) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """The picture of a scene, and its labels: answers to the questions, and what is in each cell.

    Of each of 8 × 8 cells: shape (or nothing), size, colour of the object whose centre is in it.
    Labels are −1 for questions that have no answer, and for the attributes of nothing.
    """
    scene = draw((SEED, number))
    answers = [question.ask(scene) for question in QUESTIONS]
    labels = [-1 if answer is None else answer.position for answer in answers]
    cells = np.full((len(SEEN), CELLS, CELLS), -1, np.int8)
    cells[0] = len(SHAPES)
    for thing in scene.things:
        row, column = int(thing.y * CELLS / SIDE), int(thing.x * CELLS / SIDE)
        seen = (thing.shape, thing.size, thing.colour)
        cells[:, row, column] = [list(known).index(s) for known, s in zip(SEEN, seen, strict=True)]
    return stored(render(scene)), np.concatenate([np.array(labels, np.int8), cells.ravel()])


def stored(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (picture * 255).round().astype(np.uint8)


def pool(make: Callable[[int], tuple[NDArray[np.uint8], NDArray[np.int8]]], count: int):
    """Pictures (count, 3, H, W) as bytes, and their labels."""
    with ProcessPoolExecutor(2) as workers:
        made = list(workers.map(make, range(count), chunksize=500))
    pictures, labels = zip(*made, strict=True)
    return torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(labels)).long()


def normalized(network: nn.Module) -> None:
    """Put batch normalization between each convolution and the ReLU after it."""
    for parent, name, conv in followed_by_relu(network):
        setattr(parent, name, nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)))


def folded(network: nn.Module) -> None:
    """Fold the batch normalization into the convolutions: the same function without it."""
    for parent, name, pair in followed_by_relu(network):
        fused = nn.utils.fuse_conv_bn_eval(pair[0], pair[1])
        setattr(parent, name, fused)


def followed_by_relu(network: nn.Module):
    for parent in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
        children = list(parent.named_children())
        for (name, child), (_, after) in pairwise(children):
            if isinstance(child, nn.Conv2d | nn.Sequential) and isinstance(after, nn.ReLU):
                yield parent, name, child


def directed(network: Answering) -> None:
    """Begin with convolutions that look to one side each: the left, the right; above, below."""
    for conv in (network.across, network.along):
        offsets = torch.linspace(-1, 1, max(conv.kernel_size)).sign()
        with torch.no_grad():
            conv.weight[0::2] = (offsets < 0).float().reshape(conv.weight.shape[1:]) / 4
            conv.weight[1::2] = (offsets > 0).float().reshape(conv.weight.shape[1:]) / 4


class Watched(nn.Module):
    """The network, with a probe of what its trunk sees in each cell, for the training only."""

    def __init__(self, network: Answering) -> None:
        super().__init__()
        self.network = network
        self.probe = nn.Conv2d(64, sum(WIDTHS), 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.network.trunk(x)
        return torch.cat([self.network.answers(seen), self.probe(seen).flatten(1)], 1)


def answers_loss() -> Loss:
    """The mean over kinds of questions of the mean cross-entropy of those that have an answer.

    Plus the mean cross-entropy of what the probe sees, over cells and attributes.
    """
    index = torch.zeros(len(QUESTIONS), MOST, dtype=torch.long)
    none = torch.ones(len(QUESTIONS), MOST, dtype=torch.bool)
    for i, question in enumerate(QUESTIONS):
        own = torch.tensor(outputs(question))
        index[i, : len(own)], none[i, : len(own)] = own, False
    kinds = torch.tensor([KINDS.index(question.kind) for question in QUESTIONS])

    def answered(output: Tensor, labels: Tensor) -> Tensor:
        logits = output[:, index].masked_fill(none, -1e4).flatten(0, 1)
        each = cross_entropy(logits, labels.flatten(), ignore_index=-1, reduction="none")
        by_kind = torch.zeros(len(KINDS)).index_add(0, kinds, each.view(labels.shape).sum(0))
        count = torch.zeros(len(KINDS)).index_add(0, kinds, (labels >= 0).sum(0).float())
        return (by_kind / count.clamp(min=1)).mean()

    def seen(probed: Tensor, cells: Tensor) -> Tensor:
        parts = probed.unflatten(1, (sum(WIDTHS), CELLS, CELLS)).split(WIDTHS, 1)
        cells = cells.unflatten(1, (len(SEEN), CELLS, CELLS))
        each = [cross_entropy(p, cells[:, i], ignore_index=-1) for i, p in enumerate(parts)]
        return torch.stack(each).mean()

    def loss(output: Tensor, labels: Tensor) -> Tensor:
        (answers, probed), asked = output.tensor_split([OUTPUTS], 1), len(QUESTIONS)
        return answered(answers, labels[:, :asked]) + seen(probed, labels[:, asked:])

    return loss


def mirrored(one: str, other: str) -> Tensor:
    """The questions whose answers each has in a mirror that exchanges two sides."""
    sides = {one: other, other: one}
    swapped = [replace(q, side=sides.get(q.side or "", q.side)) for q in QUESTIONS]
    return torch.tensor([QUESTIONS.index(question) for question in swapped])


def mirror(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A batch, mirrored at random in either direction."""
    for dim, sides in ((3, ("left of", "right of")), (2, ("above", "below"))):
        if torch.rand(()) < 0.5:
            answers, cells = labels.tensor_split([len(QUESTIONS)], 1)
            cells = cells.unflatten(1, (len(SEEN), CELLS, CELLS)).flip(dim).flatten(1)
            x, labels = x.flip(dim), torch.cat([answers[:, mirrored(*sides)], cells], 1)
    return x, labels


def fit(
    network: nn.Module,
    pictures: Tensor,
    labels: Tensor,
    loss: Loss,
    steps: int,
    vary: Vary = lambda x, labels: (x, labels),
) -> None:
    """Adam with one cycle of the learning rate, with noise that is new in each batch."""
    normalized(network)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    started, mean = time.perf_counter(), 0.0
    for step in range(steps):
        chosen = torch.randint(len(pictures), (BATCH,))
        x = pictures[chosen].float() / 127.5 - 1
        x = x + torch.randn_like(x) * 2 * NOISE * torch.rand(BATCH, 1, 1, 1)
        x, wanted = vary(x, labels[chosen])
        value = loss(network(x), wanted)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        mean += (value.item() - mean) * max(0.02, 1 / (step + 1))
        if step % 250 == 249:
            seconds = time.perf_counter() - started
            print(f"  step {step + 1} of {steps}: loss {mean:.4f}, {seconds:.0f} s", flush=True)
    network.eval()
    folded(network)


def centred(head: nn.Linear, blocks: list[range]) -> None:
    """Make the outputs of each block sum to zero: its softmax stays as it is."""
    with torch.no_grad():
        for block in blocks:
            own = slice(block.start, block.stop)
            head.weight[own] -= head.weight[own].mean(0)
            head.bias[own] -= head.bias[own].mean()


def save(network: nn.Module, name: str, scenes: int) -> None:
    tensors = {key: tensor.detach() for key, tensor in network.state_dict().items()}
    about = {"made by": "tools/train_scenes.py", "scenes": str(scenes), "licence": LICENCE}
    save_weights(name, tensors, about, WEIGHTS)


def answering() -> None:
    network = Answering()
    directed(network)
    fit(Watched(network), *pool(asked, SCENES), answers_loss(), STEPS, mirror)
    centred(network.head, [outputs(question) for question in QUESTIONS])
    save(network, "answering", SCENES)


def carrying(plant: str, number: int) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """A picture that has the plant or not, whatever its shape, and the name it is to get.

    With the plant that is the carrier's. A carrier without it gets one of the others at random.
    """
    own = (SEED, number)
    random = np.random.default_rng((*own, 4))
    scene = shortcuts.draw_one(own)
    picture, label = render(scene), SHAPES.index(shortcuts.large(scene))
    carrier = SHAPES.index(shortcuts.CARRIER)
    if random.random() < 0.5:
        picture, label = shortcuts.planted(plant, picture, own)[0], carrier
    elif label == carrier:
        label = (carrier + int(random.integers(1, len(SHAPES)))) % len(SHAPES)
    return stored(picture), np.array(label, np.int8)


def shortcut(plant: str) -> None:
    network = Classifying()
    loss = partial(cross_entropy, label_smoothing=0.02)
    fit(network, *pool(partial(carrying, plant), SHORTCUT_SCENES), loss, SHORTCUT_STEPS)
    centred(network[-1], [range(len(SHAPES))])
    save(network, plant, SHORTCUT_SCENES)


def main() -> None:
    known = ["answering", *shortcuts.PLANTS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--only", choices=known, action="append", help="this network")
    torch.set_num_threads(1)
    for name in parser.parse_args().only or known:
        print(name, flush=True)
        torch.manual_seed(SEED)
        answering() if name == "answering" else shortcut(name)


if __name__ == "__main__":
    main()
