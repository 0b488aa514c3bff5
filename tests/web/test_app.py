"""The API, as a program meets it: answers, refusals, streams, recovery."""

from __future__ import annotations

import base64
import io
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

import rootpoint as rp
from rootpoint import data, models

from .conftest import SAMPLE, events, serving


def test_an_explanation_is_the_librarys(client: httpx.Client) -> None:
    request = {
        **SAMPLE,
        "method": "lrp",
        "parameters": {"composite": "epsilon-plus"},
        "target": 281,
    }
    answer = client.post("api/explain", json=request).json()
    network = models.load("mobilenet-v2")
    (photo,) = [p for p in data.photos() if p.name == "chelsea"]
    x = network.tensor(data.open_photo(photo.path))
    expected = rp.explain(network.module, x, 281, composite="epsilon-plus")
    shown = answer["relevance"]
    found = np.frombuffer(base64.b64decode(shown["data"]), "<f2").astype(np.float32)
    found = torch.from_numpy(found.reshape(shown["height"], shown["width"]) * shown["scale"])
    wanted = expected.relevance[0].sum(0)
    torch.testing.assert_close(found, wanted, rtol=2e-3, atol=1e-3 * float(wanted.abs().max()))
    assert answer["score"] == pytest.approx(float(expected.output), rel=1e-5)
    assert answer["target"] == {"index": 281, "name": "tabby"}


def test_a_stream_ends_with_the_same_answer(client: httpx.Client, drawing: dict[str, Any]) -> None:
    said = events(client.post("api/explain/stream", json=drawing))
    assert [said[0]["event"], said[-1]["event"]] == ["queued", "answer"]
    whole = client.post("api/explain", json=drawing).json()
    assert said[-1]["answer"]["relevance"] == whole["relevance"]
    assert whole["target"]["name"] == "1"


def test_long_work_tells_how_far_it_is(client: httpx.Client) -> None:
    request = {**SAMPLE, "method": "occlusion", "parameters": {"window": 56, "stride": 28}}
    said = events(client.post("api/explain/stream", json=request))
    told = [(e["done"], e["total"]) for e in said if e["event"] == "progress"]
    assert told
    assert told == sorted(told)
    assert said[-1]["event"] == "answer"


def test_curves_come_point_by_point(client: httpx.Client, drawing: dict[str, Any]) -> None:
    cards = [drawing, {**drawing, "method": "random"}]
    said = events(client.post("api/curve", json={"requests": cards, "steps": 6}))
    points = [(e["card"], e["step"]) for e in said if e["event"] == "point"]
    assert sorted(points) == [(card, step) for card in (0, 1) for step in range(7)]
    assert said[-1] == {"event": "done"}
    assert [e["event"] for e in said].count("done") == 1


def test_layers_show_where_relevance_went(client: httpx.Client, drawing: dict[str, Any]) -> None:
    found = client.post("api/layers", json=drawing).json()
    assert [layer["name"] for layer in found["layers"]][:2] == ["features.0", "features.1"]
    assert {row["rule"].split("(")[0] for row in found["rules"]} >= {"box", "gamma", "epsilon"}
    last = found["balance"][-1]
    assert last["arrived"] == pytest.approx(found["score"], rel=1e-4)


def test_an_export_is_an_archive_of_numpy(client: httpx.Client, drawing: dict[str, Any]) -> None:
    answer = client.post("api/export", json=drawing)
    assert answer.headers["content-type"] == "application/octet-stream"
    found = np.load(io.BytesIO(answer.content))
    assert found["relevance"].dtype == np.float32
    assert found["relevance"].shape[-2:] == (28, 28)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model": "nope"}, 404, "no model is called"),
        ({"model": "../../etc/passwd"}, 404, "no model is called"),
        ({"input": {"kind": "sample", "name": "nope"}}, 404, "no sample photo"),
        ({"input": {"kind": "sample", "name": "../x"}}, 422, "input"),
        ({"input": {"kind": "text", "text": "hello"}}, 400, "text"),
        ({"input": {"kind": "photo", "data": "not base64!"}}, 400, "base64"),
        ({"target": 1000}, 400, "no class 1000"),
        ({"target": [3, 3]}, 422, "two different"),
        ({"target": float("1e400")}, 422, "target"),
        ({"method": "lpr"}, 404, "did you mean lrp"),
        ({"parameters": {"composite": "epsilom"}}, 404, "epsilon"),
        ({"parameters": {"compile": True}}, 400, "compile"),
        ({"method": "smoothgrad", "parameters": {"samples": 100_000}}, 400, "samples"),
        ({"method": "pattern-net"}, 400, "pattern-net"),
        ({"unknown": 1}, 422, "unknown"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(
    client: httpx.Client, change: dict[str, Any], status: int, message: str
) -> None:
    import json

    body = json.dumps({**SAMPLE, **change}).replace("Infinity", "1e400")
    answer = client.post("api/explain", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, message in answer.text) == (status, True), answer.text


def photo(content: bytes) -> dict[str, Any]:
    return {**SAMPLE, "input": {"kind": "photo", "data": base64.b64encode(content).decode()}}


def test_files_that_are_no_photos_are_refused(client: httpx.Client) -> None:
    from PIL import Image

    large = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(large, "PNG")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    gif = io.BytesIO()
    Image.new("RGB", (8, 8)).save(gif, "GIF")
    for content in (large.getvalue(), svg, gif.getvalue(), b"", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n"):
        answer = client.post("api/explain", json=photo(content))
        assert answer.status_code == 400, content[:20]


def test_bodies_too_large_are_refused_before_they_are_read(client: httpx.Client) -> None:
    def parts() -> Any:
        for _ in range(30):
            yield b" " * 2**20

    headers = {"content-type": "application/json"}
    with suppress(httpx.WriteError):  # the server hangs up in the middle, which is as good
        assert client.post("api/explain", content=parts(), headers=headers).status_code == 413


def test_paths_lead_nowhere_else(client: httpx.Client) -> None:
    for path in ("static/../app.py", "static/%2e%2e/app.py", "api/samples/..%2f..%2fapp.py", "x"):
        assert client.get(path).status_code == 404


def test_the_reference_is_offline(client: httpx.Client) -> None:
    assert client.get("api").headers["content-type"].startswith("text/html")
    document = client.get("openapi.json").json()
    assert {"/api/explain", "/api/layers", "/api/curve"} <= set(document["paths"])


def test_many_visitors_at_once_are_all_answered(server: str, drawing: dict[str, Any]) -> None:
    found: list[int] = []

    def visit() -> None:
        with httpx.Client(base_url=server, timeout=60) as own:
            found.extend(own.post("api/explain", json=drawing).status_code for _ in range(5))

    visitors = [threading.Thread(target=visit) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert found == [200] * 40


@pytest.mark.slow
def test_a_token_is_asked_for_and_a_file_says_what_is_served(tmp_path: Path) -> None:
    config = tmp_path / "models.toml"
    config.write_text('[[models]]\nname = "digits"\ntitle = "Numbers"\n')
    with serving("--config", str(config), "--token", "secret") as address:
        base, _, token = address.partition("#token=")
        assert token == "secret"
        assert httpx.get(base, timeout=60).status_code == 200
        assert httpx.get(base + "api/models", timeout=60).status_code == 401
        allowed = {"Authorization": "Bearer secret"}
        found = httpx.get(base + "api/models", headers=allowed, timeout=60).json()
        assert [model["title"] for model in found] == ["Numbers", "MobileNet V2, ImageNet"]


@pytest.mark.slow
def test_a_token_is_made_for_other_hosts() -> None:
    with serving("--host", "0.0.0.0") as address:
        base, _, token = address.partition("#token=")
        assert base.startswith("http://127.0.0.1:")  # where this machine itself finds it
        assert len(token) > 20
        assert httpx.get(base + "api/models", timeout=60).status_code == 401
        allowed = {"Authorization": f"Bearer {token}", "Host": "any.name"}
        assert httpx.get(base + "api/models", headers=allowed, timeout=60).status_code == 200


def test_a_file_that_says_nonsense_is_bad_input(tmp_path: Path, capsys: Any) -> None:
    from rootpoint.cli import main

    config = tmp_path / "models.toml"
    config.write_text('[[models]]\nname = "digits"\nqueue = 0\n')
    assert main(["serve", "--config", str(config)]) == 3
    assert "models[0].queue" in capsys.readouterr().err
