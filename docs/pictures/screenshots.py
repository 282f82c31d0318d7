"""Takes the README's pictures of a report: its answer, and its chart of the weights. Needs chromium and pillow.

python docs/pictures/screenshots.py runs/quickstart/report.html
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, SCALE = 660, 4400, 1.5
PARTS = {"report-answer": (26, 322), "report-weights": (3272, 3960)}  # from and to where, in pixels of the page


def main(report: Path) -> None:
    """Write both pictures beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "report.png"
        size = [f"--window-size={WIDTH},{HEIGHT}", f"--force-device-scale-factor={SCALE}"]
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *size]
        subprocess.run(["chromium", *flags, f"--screenshot={whole}", report.resolve().as_uri()], check=True)
        page = Image.open(whole).convert("RGB")
        for name, (top, bottom) in PARTS.items():
            part = page.crop((0, round(SCALE * top), page.width, round(SCALE * bottom)))
            part.quantize(64).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
