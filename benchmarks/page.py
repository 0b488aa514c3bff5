"""The interactive page: how soon it answers, what it bears, and how it looks.

Starts `rootpoint serve`, draws in Debian's Chromium and asks by 32 visitors at once.

    python benchmarks/page.py [--seconds 60] [--output docs]
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Page, sync_playwright

VISITORS, DRAWINGS, PHOTOS = 32, 20, 5

_WATCH = "() => addEventListener('{}', () => (window.up = performance.now()), true)"
_PAINTED = "() => Number(document.querySelector('.card .heatmap canvas').dataset.painted)"


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, int]]:
    """A server's address, and the number of its process."""
    program = "import sys; from rootpoint.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = (re.search(r"http://\S+", line) for line in process.stderr)
            address = next(found[0] for found in said if found)
            httpx.get(address + "api/models", timeout=60)
            yield address, process.pid
        finally:
            process.send_signal(signal.SIGINT)


def draw(page: Page, slant: float) -> float:
    """Draw a one by mouse; milliseconds from pen up to the last painted map, 0 if it was before."""
    page.get_by_role("button", name="Clear").click()
    page.wait_for_timeout(200)
    box: Any = page.locator("#drawing").bounding_box()
    x, y, side = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.2, box["width"]
    page.mouse.move(x + slant * side, y)
    page.mouse.down()
    page.mouse.move(x - slant * side, y + 0.6 * side, steps=10)
    page.evaluate(_WATCH.format("pointerup"))
    page.mouse.up()
    page.wait_for_timeout(600)
    return max(0.0, page.evaluate(_PAINTED) - page.evaluate("() => window.up"))


def choose(page: Page, photo: int) -> float:
    """Choose a sample photo; milliseconds from the click to the painted map."""
    page.evaluate(_WATCH.format("click"))
    page.locator(".thumbs button").nth(photo).click()
    page.wait_for_timeout(2500)
    return page.evaluate(_PAINTED) - page.evaluate("() => window.up")


def looked_at(address: str, output: Path | None) -> list[str]:
    """Times in a browser, and pictures of the page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector(".heatmap canvas")
        page.wait_for_timeout(1500)
        if output is not None:
            page.screenshot(path=output / "images" / "page-draw.png")
        page.wait_for_timeout(500)
        drawn = [draw(page, 0.01 * k) for k in range(DRAWINGS)]
        page.click("#input-image")
        page.wait_for_timeout(2500)
        chosen = [choose(page, 1 + k % 3) for k in range(PHOTOS)]
        page.click(".add")
        page.click("#deeper-challenge")
        page.click("#flip")
        page.wait_for_timeout(6000)
        if output is not None:
            page.screenshot(path=output / "images" / "page-photo.png", full_page=True)
            phone = browser.new_page(viewport={"width": 375, "height": 800}, color_scheme="dark")
            phone.goto(address)
            phone.wait_for_selector(".heatmap canvas")
            phone.wait_for_timeout(1500)
            phone.screenshot(path=output / "images" / "page-phone.png")
        browser.close()
    return [
        f"| pen up to painted map, digits | {median(drawn):.0f} ms | 100 ms |",
        f"| click to painted map, photo | {median(chosen):.0f} ms | 1000 ms |",
    ]


def visited(address: str, seconds: float) -> tuple[list[float], int, int]:
    """Seconds of each answer to visitors who ask again at once; 503s; other errors."""
    times: list[float] = []
    statuses: list[int] = []
    end = time.perf_counter() + seconds

    def visit(number: int) -> None:
        with httpx.Client(base_url=address, timeout=120) as client:
            while time.perf_counter() < end:
                started = time.perf_counter()
                status = client.post("api/explain", json=request(number)).status_code
                statuses.append(status)
                if status == 200:
                    times.append(time.perf_counter() - started)
                elif status == 503:
                    time.sleep(1)

    threads = [threading.Thread(target=visit, args=(k,)) for k in range(VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    busy = statuses.count(503)
    return times, busy, len(statuses) - len(times) - busy


def request(number: int) -> dict[str, Any]:
    canvas = np.zeros((140, 140), np.uint8)
    canvas[25:115, 60 + number % 16 : 72 + number % 16] = 255
    data = base64.b64encode(canvas.tobytes()).decode()
    return {
        "model": "digits",
        "input": {"kind": "drawing", "width": 140, "height": 140, "data": data},
    }


def memory(pid: int) -> float:
    """MiB of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in [pid, *children])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def borne(seconds: float, folder: Path) -> list[str]:
    """What 32 visitors get, in batches and one by one."""
    rates: dict[int, float] = {}
    lines = []
    for batch in (16, 1):
        config = folder / "models.toml"
        config.write_text(f'[[models]]\nname = "digits"\nbatch = {batch}\n')
        with serving("--config", str(config)) as (address, pid):
            visited(address, 3)
            before = memory(pid)
            times, busy, errors = visited(address, seconds)
            grown = memory(pid) - before
        rates[batch] = len(times) / seconds
        p95 = sorted(times)[int(0.95 * len(times))]
        lines.append(
            f"| {batch} | {rates[batch]:.0f} | {1000 * median(times):.0f} ms | {1000 * p95:.0f} ms "
            f"| {busy} | {errors} | {grown:+.0f} MiB |"
        )
    return [*lines, "", f"Batches make {rates[16] / rates[1]:.2f} × of the answers one by one."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--output", type=Path, help="the folder of the docs")
    options = parser.parse_args()
    with serving() as (address, _):
        times = looked_at(address, options.output)
    with tempfile.TemporaryDirectory() as folder:
        load = borne(options.seconds, Path(folder))
    page = "\n".join(
        [
            "# Speed of the interactive page",
            "",
            "Made by `benchmarks/page.py` on 2 cores, the browser and the visitors on the same.",
            "",
            "| from … to … | median | wanted |",
            "|---|---|---|",
            *times,
            "",
            f"{VISITORS} visitors who ask for digits again as soon as they are answered, "
            f"{options.seconds:g} s:",
            "",
            "| batch | answers per second | median | 95 % within | 503s | errors | memory |",
            "|---|---|---|---|---|---|---|",
            *load,
            "",
        ]
    )
    print(page)
    if options.output is not None:
        (options.output / "speed-page.md").write_text(page)


if __name__ == "__main__":
    main()
