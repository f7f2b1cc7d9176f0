"""Take the pictures of README.md: what the demo prints, and the page that `evaluate --html` writes.

    python benchmarks/pictures.py docs/images [RUN/report.html]

With the report of a run of `rewardsmith rl` it takes that of docs/rl.md alone, `rl-report.png`.

Needs rich (a dependency), playwright and a Chromium ($CHROMIUM, else /usr/bin/chromium). Takes about two minutes.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
COLUMNS = 92
# The end of what the demo prints: the verdict, the tables and three scored answers.
FIRST_LINE = "accuracy 0"
COMMAND = [sys.executable, "-m", "rewardsmith"]


def run(arguments: list[str], folder: Path) -> str:
    """Run a command as on a terminal of COLUMNS columns and return what it prints on stdout."""
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def draw_terminal(printed: str, out: Path) -> None:
    """Draw the end of what the demo printed as an SVG."""
    lines = printed.splitlines()
    start = next(number for number, line in enumerate(lines) if FIRST_LINE in line)
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text("$ rewardsmith demo", style="bold"))
    console.print(Text.from_ansi("\n".join(lines[start:])))
    console.save_svg(str(out), title="rewardsmith demo")


def photograph(page: Path, out: Path, height: int = 900) -> None:
    """Photograph the top of an HTML page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1100, "height": height}, color_scheme="light")
        tab.goto(page.as_uri())
        tab.screenshot(path=str(out))
        browser.close()


def main() -> None:
    out = Path(sys.argv[1]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) > 2:
        photograph(Path(sys.argv[2]).resolve(), out / "rl-report.png", 1540)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_terminal(run(["demo"], folder), out / "terminal.svg")
        run(["evaluate", "demo/model", "demo/held_out.jsonl", "--html", "report.html"], folder)
        photograph(folder / "report.html", out / "report.png")


if __name__ == "__main__":
    main()
