from __future__ import annotations

from pathlib import Path

import pytest

from imagi_pipeline_tests.chaos import Chaos, run_chaos


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_or_done_twice_while_processes_are_killed(tmp_path: Path) -> None:
    figures = run_chaos(Chaos(tmp_path, requests=4, seconds=20.0, seconds_between_kills=6.0))
    assert sum(figures["statuses"].values()) == 4
    assert sum(figures["kills"].values()) >= 1
