"""A plugin of pytest: in its process, the native extension looks as if it were not installed.

python -m pytest -p imagi_pipeline_tests.without_extension imagi_pipeline_tests/core/images
"""

from __future__ import annotations

import sys

sys.modules["imagi_pipeline.core.images._jpeg_coefficients"] = None  # type: ignore[assignment]
