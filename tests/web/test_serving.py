"""Where the server listens, and when it cannot."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rootpoint.cli import main
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.web.serving import _listen


def test_answers_are_sent_at_once() -> None:
    """Only sockets named as TCP are spared Nagle's algorithm by asyncio: 40 ms for each answer."""
    with _listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_taken_port_is_said() -> None:
    with _listen("127.0.0.1", 0) as listening, pytest.raises(InputError, match="--port"):
        _listen("127.0.0.1", listening.getsockname()[1])


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_named_and_nothing_is_served(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("def build():\n    raise KeyError('no weights')\n")
    config = tmp_path / "models.toml"
    config.write_text('[[models]]\nname = "mine.py:build"\nkind = "text"\n')
    assert (
        main(["serve", "--config", str(config), "--port", "0"]) == UnsupportedModelError.exit_code
    )
    said = capfd.readouterr().err
    assert "mine.py:build cannot be served: KeyError: 'no weights'" in said
    assert "line 2, in build" in said  # the operator's own code, and where it fails
    assert "open http" not in said
