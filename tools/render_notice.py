"""Draw the copyright notice of the Clever Hans demo, as an alpha mask of 224 × 224 pixels.

    apt-get download fonts-wqy-zenhei && dpkg -x fonts-wqy-zenhei_*.deb font
    python tools/render_notice.py font/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc

The font is WenQuanYi Zen Hei (GPL 2 with font exception); the package holds the drawing only.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TEXT = "版权所有翻印"  # "all rights reserved, reproduction …"
SIZE, LINES, HEIGHT = 224, 4, 36
OUTPUT = Path(__file__).parents[1] / "src/rootpoint/evaluation/shortcuts/notice.png"


def main(font: str) -> None:
    mask = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(mask)
    for line in range(LINES):
        top = round(SIZE * (0.05 + 0.2 * line))
        draw.text((2, top), TEXT, fill=255, font=ImageFont.truetype(font, HEIGHT))
    mask.save(OUTPUT, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
