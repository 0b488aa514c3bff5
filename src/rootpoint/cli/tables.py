"""Rows of a table explained, for estimators of scikit-learn: a table, a CSV, bar pictures, JSON."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from rootpoint.cli.terminal import complain, each, free, out, print_json, save, talk, written
from rootpoint.errors import InputError, UnsupportedModelError

if TYPE_CHECKING:
    from pandas import DataFrame

    from rootpoint.explanation import Explanation
    from rootpoint.method import BoundMethod, Method
    from rootpoint.visualize.bars import Bar

SHOWN = 20  # rows of a table that are printed and drawn
LISTED = 6  # columns of a row that are printed
BATCH = 1024  # rows explained at once
TREES = "tree-shapley"


@dataclass(frozen=True, eq=False)
class Decider:
    """An estimator, what is explained in its place, and what it says of its tables and scores.

    model    its network; the estimator itself for methods that need one
    columns  None if unknown
    plain    whether it takes nothing but numbers
    """

    estimator: Any
    model: Any
    outputs: tuple[str, ...]
    names: tuple[str, ...] | None
    columns: int | None
    plain: bool = True

    def target(self, text: str) -> Any:
        """What `--target` means: a class by its name; by its index, if classes are no numbers."""
        from sklearn.base import is_regressor

        from rootpoint.models.image_model import named

        if text == "predicted":
            if len(self.outputs) > 1 and is_regressor(self.estimator):
                raise InputError(
                    f"the model predicts {len(self.outputs)} values, not classes: name the one to "
                    f"explain with --target: {', '.join(self.outputs[:10])}"
                )
            return text
        if text in self.outputs:
            return self.outputs.index(text)
        numeric = any(output.removeprefix("-").isdecimal() for output in self.outputs)
        if text.isdecimal() and int(text) < len(self.outputs) and not numeric:
            return int(text)
        if text.removeprefix("-").isdecimal():
            raise InputError(f"there is no class {text}: the model has {', '.join(self.outputs)}")
        return named(text, self.outputs)

    def fitted(self, path: Path, table: DataFrame) -> DataFrame:
        """The columns that the model was fitted to; others are left out, if it knows names."""
        if self.names is not None:
            found = [name for name in self.names if name in table.columns]
            if len(found) < len(self.names):
                missing = next(name for name in self.names if name not in table.columns)
                raise InputError(
                    f"{path} has no column {missing!r} ({len(self.names) - len(found)} of "
                    f"{len(self.names)} missing); it has {_few(table.columns)}"
                )
            if others := [name for name in table.columns if name not in self.names]:
                talk(f"{path}: ignored, as the model was not fitted to it: {_few(others)}")
            return table.loc[:, list(self.names)]
        if self.columns not in (None, table.shape[1]):
            raise InputError(
                f"{path} has {table.shape[1]} columns ({_few(table.columns)}), but the model was "
                f"fitted to {self.columns}, whose names it does not know: leave out the others, "
                "or fit the model to a data frame"
            )
        return table


@dataclass(frozen=True, eq=False)
class Rows:
    """Explained rows of one table, as far as they are given out together."""

    decider: Decider
    table: DataFrame
    explanation: Explanation

    def label(self, i: int) -> tuple[int, str]:
        target: Any = self.explanation.target
        return int(target[i]), self.decider.outputs[int(target[i])]

    def facts(self, i: int) -> tuple[str, ...]:
        from rootpoint.visualize.bars import sums

        name, (score, *others) = self.label(i)[1], sums(self.explanation, i)
        if len(self.decider.outputs) > 1:
            return (f"explained class: {name}", score, *others)
        return (score.replace("score", name, 1), *others)

    def bars(self, i: int) -> list[Bar]:
        from rootpoint.visualize.bars import top

        values = self.table.iloc[i].tolist()
        return top(list(self.table.columns), values, self.explanation.relevance[i], LISTED)

    def numbers(self, i: int) -> list[float]:
        return self.explanation.relevance[i].tolist()

    @cached_property
    def gaps(self) -> list[float] | None:
        found = self.explanation.completeness_gap
        return None if found is None else found.tolist()

    def to_dict(self, i: int) -> dict[str, Any]:
        index, name = self.label(i)
        contributions = dict(zip(map(str, self.table.columns), self.numbers(i), strict=True))
        return {
            "row": int(self.table.index[i]),
            "target": {"index": index, "name": name},
            "score": float(self.explanation.output[i]),
            "relevance": sum(contributions.values()),
            "gap": None if self.gaps is None else self.gaps[i],
            "contributions": contributions,
        }


def explain_tables(
    tables: Sequence[Path],
    *,
    model: str,
    target: str,
    method: str,
    parameters: dict[str, str],
    data: Path | None,
    output: Path,
    as_json: bool,
    rows: str | None,
    trust: Sequence[str],
    unpickle: bool,
) -> None:
    """See `rootpoint explain`."""
    from rootpoint.data.tables import read_table

    chosen_rows = None if rows is None else _rows(rows)
    decider, chosen = decide(_loaded(model, trust, unpickle), method, parameters)
    wanted = decider.target(target)
    if "data" in chosen.needs and data is not None:
        background = decider.fitted(data, read_table(data))
        encode = getattr(decider.model, "rootpoint_encode", lambda table: table)
        chosen = chosen.fit(decider.model, encode(background))
    elif chosen.name == TREES and not parameters:
        raise InputError(
            f"{TREES} compares with a background: give a table of 100 usual rows with --data"
        )
    bound = chosen.bind(decider.model)
    documents: list[dict[str, Any]] = []
    for path in tables:
        try:
            table = decider.fitted(path, read_table(path, chosen_rows))
            explained = explain_rows(decider, bound, table, wanted)
        except InputError as error:
            complain(error, "" if str(path) in str(error) else str(path))
            continue
        stem = output / f"{path.stem}-{chosen.name}.csv"
        documents.append(_given_out(path, explained, stem, documents, as_json))
    if as_json:
        print_json({"model": model, "method": chosen.name, "tables": documents})
    if len(documents) < len(tables):
        raise typer.Exit(InputError.exit_code)


def decide(estimator: Any, method: str, parameters: dict[str, str]) -> tuple[Decider, Method]:
    """What is explained, and how: trees, which have no network, by their Shapley values."""
    from rootpoint.method import method as by_name
    from rootpoint.neuralize.network import Network
    from rootpoint.neuralize.neuralize import neuralize

    chosen = by_name(method, **parameters)
    if "estimator" not in chosen.needs:
        try:
            network = neuralize(estimator)
        except UnsupportedModelError:
            if method != "lrp" or parameters or not _is_trees(estimator):
                raise
            talk(f"{type(estimator).__name__} has no network: explained by {TREES}")
            chosen = by_name(TREES)
        else:
            plain = type(network).rootpoint_encode is Network.rootpoint_encode
            _check_tables(estimator, network)
            outputs = tuple(map(str, network.outputs))
            return (
                Decider(estimator, network, outputs, network.names, network.columns, plain),
                chosen,
            )
    from sklearn.base import is_outlier_detector

    names = getattr(estimator, "feature_names_in_", None)
    score = "outlier score" if is_outlier_detector(estimator) else "prediction"
    return Decider(
        estimator,
        estimator,
        tuple(map(str, getattr(estimator, "classes_", (score,)))),
        None if names is None else tuple(map(str, names)),
        getattr(estimator, "n_features_in_", None),
    ), chosen


def explain_rows(decider: Decider, bound: BoundMethod, table: DataFrame, target: Any) -> list[Rows]:
    """All rows of a table, in batches. Raises InputError, with the place, for unusable values."""
    from rootpoint.data.tables import flaw

    found = []
    for start in each(range(0, len(table), BATCH), "Explaining"):
        some = table.iloc[start : start + BATCH]
        try:
            found.append(Rows(decider, some, bound(some, target)))
        except InputError as error:
            place = flaw(some if decider.plain else some.select_dtypes("number"))
            if place is None:
                raise
            raise InputError(f"{error} (first: {place})") from error
    return found


def _given_out(
    path: Path,
    explained: Sequence[Rows],
    contributions: Path,
    earlier: Sequence[dict[str, Any]],
    as_json: bool,
) -> dict[str, Any]:
    """Write the CSV and the pictures, print the first rows, and give all of it as a document."""
    contributions = free(contributions, [Path(d["contributions"]) for d in earlier])
    _write(explained, contributions)
    pairs = [(rows, i) for rows in explained for i in range(len(rows.table))]
    documents: list[dict[str, Any]] = []
    if not as_json:
        out().print(path.name, style="bold", markup=False)
    for place, (rows, i) in enumerate(pairs):
        picture = None
        if place < SHOWN:
            number = rows.table.index[i]
            picture = contributions.with_name(f"{contributions.stem}-row{number}.png")
            _draw(rows, i, f"{path.name}, row {number}", picture)
            if not as_json:
                _print(rows, i)
        if as_json:
            shown = None if picture is None else str(picture)
            documents.append({**rows.to_dict(i), "picture": shown})
    if not as_json:
        more = "" if len(pairs) <= SHOWN else f", of the first {SHOWN} rows; choose by --rows"
        lines = (
            f"contributions of {len(pairs)} rows: {contributions}",
            f"pictures: {contributions.with_name(contributions.stem)}-row*.png{more}",
        )
        for line in lines:
            out().print(line, markup=False, soft_wrap=True)
    return {"table": str(path), "contributions": str(contributions), "rows": documents}


def _write(explained: Sequence[Rows], path: Path) -> None:
    """row, target, score, sum, and then the contribution of each column."""
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["row", "target", "score", "sum", *explained[0].table.columns])
            for rows in explained:
                for i, index in enumerate(rows.table.index):
                    numbers = rows.numbers(i)
                    score = float(rows.explanation.output[i])
                    writer.writerow([index, rows.label(i)[1], score, sum(numbers), *numbers])


def _draw(rows: Rows, i: int, title: str, path: Path) -> None:
    from rootpoint.visualize import bars

    relevance = rows.explanation.relevance[i]
    values = rows.table.iloc[i].tolist()
    save(bars(list(rows.table.columns), values, relevance, title=title, facts=rows.facts(i)), path)


def _print(rows: Rows, i: int) -> None:
    """The most relevant columns of a row: name, value, relevance and a bar."""
    from rootpoint.visualize import number

    console, bars = out(), rows.bars(i)
    console.print(f"  row {rows.table.index[i]} · {' · '.join(rows.facts(i))}", markup=False)
    width = min(console.width, 110)
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(width=1)
    table.add_column(overflow="fold", max_width=width // 3)
    table.add_column(overflow="fold", justify="right", max_width=width // 5)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    least, most = (f(0.0, *(b.relevance for b in bars)) for f in (min, max))
    unit = max(6, width // 3) / (most - least or 1.0)
    for bar in bars:
        length = round(abs(bar.relevance) * unit)
        before = round(-least * unit) - (length if bar.relevance < 0 else 0)
        style = "dim" if bar.others else "blue" if bar.relevance < 0 else "red"
        sign = "+" if bar.relevance > 0 else ""
        drawn = Text(" " * max(0, before) + "━" * length, style=style)
        table.add_row("", Text(bar.name), Text(bar.value), sign + number(bar.relevance), drawn)
    console.print(table)
    console.print()


def _loaded(model: str, trust: Sequence[str], unpickle: bool) -> Any:
    """The estimator; what it warns of is said on stderr."""
    from rootpoint.models import load_estimator

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = load_estimator(model, trust, unpickle)
    for warning in caught:
        talk(f"warning: {warning.message}")
    return estimator


def _check_tables(estimator: Any, network: Any) -> None:
    """Raise UnsupportedModelError if a model reads texts, not tables with a column of them."""
    from rootpoint.neuralize.texts import Texts

    reads = any(isinstance(module, Texts) for module in network.modules())
    if reads and not hasattr(estimator, "n_features_in_"):
        raise UnsupportedModelError(
            "the model reads texts, not rows of a table: explain them in Python by "
            "rp.explain(rp.neuralize(model), [text, …])"
        )


def _is_trees(estimator: Any) -> bool:
    from rootpoint.additive.trees import FAMILIES

    return any(cls.__name__ in FAMILIES for cls in type(estimator).__mro__)


def _rows(text: str) -> range:
    """`20` is one row, `0:20` the first twenty."""
    start, colon, stop = (part.strip() for part in text.partition(":"))
    try:
        first = int(start or 0)
        found = range(first, int(stop) if colon else first + 1)
    except ValueError:
        found = range(0)
    if not found or found.start < 0:
        raise typer.BadParameter(f"--rows {text!r}: write it as START:STOP, as 0:20, or one number")
    return found


def _few(names: Any) -> str:
    names = list(map(str, names))
    return ", ".join(names[:8]) + (f", … ({len(names)})" if len(names) > 8 else "")
