"""Scenes of shapes with questions, and networks that answer them: ground truth for explanations.

    import rootpoint as rp
    from rootpoint.evaluation import scenes

    b = scenes.benchmark(200)
    rp.evaluate(b.model, b.inputs, "lrp", "relevance-mass", target=b.targets, masks=b.masks)

Everything is drawn from a seed when it is needed; only the networks' weights are shipped, made by
`tools/train_scenes.py`. The network answers all of a fixed list of questions at once and the target
picks a question with its answer. So the picture is the only input, relevance has nowhere else to
go, and every method for classifiers works as it is. Whether an object exists, and how many there
are, is not asked: the whole picture answers that.
"""

from rootpoint.evaluation.scenes.benchmark import Benchmark, benchmark
from rootpoint.evaluation.scenes.questions import KINDS, QUESTIONS, Answer, Question, outputs
from rootpoint.evaluation.scenes.rendering import masks, render
from rootpoint.evaluation.scenes.scene import COLOURS, SHAPES, SIZES, Scene, Thing, draw
from rootpoint.evaluation.scenes.shortcuts import PLANTS, Shortcut, shortcut

__all__ = [
    "COLOURS",
    "KINDS",
    "PLANTS",
    "QUESTIONS",
    "SHAPES",
    "SIZES",
    "Answer",
    "Benchmark",
    "Question",
    "Scene",
    "Shortcut",
    "Thing",
    "benchmark",
    "draw",
    "masks",
    "outputs",
    "render",
    "shortcut",
]
