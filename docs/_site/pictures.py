"""The pictures of README.md, from the report of a run: its front, and its network layer by layer.

python docs/_site/pictures.py runs/r20 0.3

takes them with Chromium, without a window. Those in docs/pictures are of the run of studies/resnet20_cifar10/README.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

OUT = Path(__file__).parents[1] / "pictures"
HEIGHT = 1400
STYLE = "<style>.note,h2,summary,caption,nav{display:none}body{padding:12px;max-width:none}</style>"


def main(run: Path, budget: str) -> None:
    """Write both pictures."""
    page = (run / "report.html").read_text(encoding="utf-8")
    layers = section(page, "layers")
    (one,) = [x for x in re.findall(r"<details.*?</details>", layers, re.DOTALL) if f">budget {budget}<" in x]
    take(page, section(page, "front"), 960, OUT / "front.png")
    take(page, one.replace("<details >", "<details open>"), 1180, OUT / "layers.png")


def section(page: str, name: str) -> str:
    """A part of the report by the id of its heading."""
    (found,) = re.findall(rf'<section aria-labelledby="{name}">.*?</section>', page, re.DOTALL)
    return str(found)


def take(page: str, part: str, width: int, path: Path) -> None:
    """A picture of a part of the report, in the report's own style, of 64 colours at most."""
    head = page.partition("</head>")[0]
    symbols = "".join(re.findall(r'<svg class="symbols".*?</svg>', page, re.DOTALL))
    with tempfile.TemporaryDirectory() as folder:
        html, shot = Path(folder) / "part.html", Path(folder) / "shot.png"
        html.write_text(f"{head}{STYLE}</head><body>{symbols}{part}</body></html>", encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        size = [f"--window-size={width},{HEIGHT}", f"--screenshot={shot}"]
        subprocess.run(["chromium", *options, *size, html.as_uri()], check=True, capture_output=True)
        with Image.open(shot) as image:
            whole = image.convert("RGB")
    white = Image.new("RGB", whole.size, whole.getpixel((0, 0)))
    left, top, right, bottom = ImageChops.difference(whole, white).getbbox() or (0, 0, *whole.size)
    cut = whole.crop((max(left - 12, 0), max(top - 12, 0), min(right + 12, width), bottom + 12))
    path.parent.mkdir(exist_ok=True)
    cut.quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
