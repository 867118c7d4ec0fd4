"""A service under fire for minutes: what `imagi_pipeline_tests/test_chaos.py` does for half a minute.

python benchmarks/chaos.py
python benchmarks/chaos.py --seed 7 --requests 100 --seconds 900
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from imagi_pipeline_tests.chaos import Chaos, run_chaos


def main() -> None:
    """Run it and print the figures; a broken promise is an AssertionError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seconds-between-kills", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagi-chaos-") as folder:
        print(json.dumps(run_chaos(Chaos(Path(folder), **vars(options))), indent=1))


if __name__ == "__main__":
    main()
