"""What candidates were measured to be, once each, and kept in a file if one is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rootpoint.errors import InputError, RootpointError, UnsupportedModelError
from rootpoint.evaluation.candidates import Explainer
from rootpoint.evaluation.metric import Case, Metric
from rootpoint.evaluation.result import Result, described
from rootpoint.inputs import Model
from rootpoint.progress import progress


@dataclass(eq=False)
class Measurements:
    """The results of candidates on parts of the data; a file lets an interrupted search go on.

    path       lines of JSON: what is measured, then one measurement each; None keeps no file
    about      what the measurements depend on: a file of other ones is refused
    failures   what candidates raised that could not be judged
    Raises InputError if the file cannot be used.
    """

    model: Model
    path: str | Path | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    _kept: dict[tuple[str, str], Result | str] = field(default_factory=dict)
    _of: dict[tuple[str, str], str] = field(default_factory=dict)
    _raised: list[RootpointError] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path is None:
            return
        path = Path(self.path)
        first = json.dumps(dict(self.about)) + "\n"
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            whole = text[: text.rfind("\n") + 1]  # the last line may have been interrupted
            if whole or not first.startswith(text):
                self._read(path, (whole or text).splitlines())
            if whole != text or not whole:
                path.write_text(whole or first, encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot use {path} as a checkpoint: {error}") from error

    def error(self) -> RootpointError:
        """What to raise if no candidate could be judged: the first error."""
        if self._raised:
            return self._raised[0]
        name, why = next(iter(self.failures.items()))
        return UnsupportedModelError(f"no candidate could be judged; {name}: {why}")

    def __call__(
        self,
        part: str,
        judged: Mapping[str, Any],
        cases: Sequence[Case],
        metrics: Sequence[Metric],
        doing: str,
    ) -> dict[str, Result]:
        """The result of each candidate on a part of the data, but of those that fail.

        Raises InputError if the file has the result of another candidate of the same name.
        """
        for name, candidate in judged.items():
            before, now = self._of.get((part, name)), described(candidate)
            if before not in (None, now):
                raise InputError(
                    f"{self.path} is the checkpoint of something else: {name} was {before}, not "
                    f"{now}; give another name, or delete it"
                )
        missing = [name for name in judged if (part, name) not in self._kept]
        with progress(len(missing) * len(cases) * len(metrics), doing) as advance:
            for name in missing:
                found = self._judge(Explainer(judged[name], self.model), cases, metrics, advance)
                self._kept[part, name] = found
                self._write(part, name, described(judged[name]), found)
        results: dict[str, Result] = {}
        for name in judged:
            found = self._kept[part, name]
            if isinstance(found, str):
                self.failures[name] = found
            else:
                results[name] = found
        return results

    def _judge(
        self,
        explainer: Explainer,
        cases: Sequence[Case],
        metrics: Sequence[Metric],
        advance: Callable[[int], None],
    ) -> Result | str:
        try:
            return judge(explainer, cases, metrics, advance)
        except RootpointError as error:
            self._raised.append(error)
            return f"{type(error).__name__}: {error}"

    def _read(self, path: Path, lines: Sequence[str]) -> None:
        try:
            about, *rows = map(json.loads, lines)
            for row in rows:
                key = row["part"], row["name"]
                self._kept[key] = row.get("failure") or Result.of_dict(row)
                self._of[key] = row.get("of")
            wanted = json.loads(json.dumps(dict(self.about)))
            changed = [key for key in wanted if about.get(key) != wanted[key]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is no checkpoint: give another name") from error
        if changed:
            raise InputError(
                f"{path} is the checkpoint of something else: it differs in {', '.join(changed)}; "
                "give another name, or delete it"
            )

    def _write(self, part: str, name: str, of: str, found: Result | str) -> None:
        if self.path is None:
            return
        row = {"failure": found} if isinstance(found, str) else found.to_dict()
        with Path(self.path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"part": part, "name": name, "of": of, **row}) + "\n")


def judge(
    explainer: Explainer,
    samples: Sequence[Case],
    metrics: Sequence[Metric],
    advance: Callable[[int], None],
) -> Result:
    """What all metrics say of one candidate, whose maps for the samples are made batch by batch."""
    found = Result()
    for case in samples:
        seconds = explainer.seconds
        relevance, base = explainer.explain(case.inputs, case.target)
        seconds = explainer.seconds - seconds
        case = replace(case, relevance=relevance, baseline_score=base, explainer=explainer)
        measured = {}
        for metric in metrics:
            measured[str(metric)] = metric.measure(case)
            advance(1)
        found.add(case, measured, seconds)
    return found
