from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
CHARTS = [BENCHMARKS.parent / "docs" / "images" / name for name in ("png.svg", "jpeg.svg")]


def run(script: str, *arguments: str, folder: Path) -> str:
    """From another folder, so that nothing is found by chance."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_table_of_peers_starts(tmp_path: Path) -> None:
    assert "--celery-python" in run("peers.py", "--help", folder=tmp_path)


def test_the_charts_show_the_figures_of_the_tables(tmp_path: Path) -> None:
    drawn = [chart.read_text() for chart in CHARTS]

    run("charts.py", folder=tmp_path)

    assert [chart.read_text() for chart in CHARTS] == drawn
