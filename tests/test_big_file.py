"""The benchmark of a big file, at a small size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_killed_build_of_a_big_file_is_that_of_an_unkilled_one(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "big_file.py"), "--folder", str(tmp_path), "--compare"]
    size = ["--rows", "20500", "--characters", "400", "--shard", "1000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command + size, env=environment, check=True, capture_output=True, text=True)
    assert "killed after" in done.stdout
    assert "1,000 random rows" in done.stdout and "1,000 of them right" in done.stdout
    assert list(tmp_path.iterdir()) == []
