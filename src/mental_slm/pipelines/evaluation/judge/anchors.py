"""The drift anchors: made-up posts with answers of known quality."""

from functools import cache
from pathlib import Path

import yaml
from pydantic import Field

from mental_slm.options import Options

_FILE = Path(__file__).with_name("drift_anchors.yml")


class Anchor(Options):
    """An answer whose scores are known within bands."""

    id: str
    post: str
    question: str
    answer: str
    bands: dict[str, tuple[int, int]] = Field(
        description="Criterion to lowest and highest acceptable score."
    )


@cache
def read_anchors() -> dict[str, Anchor]:
    """Return the anchors by id."""
    anchors = [Anchor.model_validate(each) for each in yaml.safe_load(_FILE.read_text("utf-8"))]
    return {anchor.id: anchor for anchor in anchors}
