"""Settings of the test protocol."""

from __future__ import annotations

import dataclasses

from ccsn_tf.config.setting import Checked, setting


@dataclasses.dataclass(frozen=True)
class EvalConfig(Checked):
    """The test protocol (TSN's: views of segments x crops, scores averaged)."""

    test_on: str = setting(
        "test",
        "Clips that are tested: the split's, or the training groups that --holdout_groups keeps back.",
        ("test", "holdout"),
    )
    test_segments: int = setting(25, "Segments a test clip.", minimum=1)
    test_crops: int = setting(
        1,
        "Crops a segment: centre, 3 along the long side, 5 (centre and corners), 10 (mirrored too).",
        choices=(1, 3, 5, 10),
    )
    average: str = setting("logits", "What is averaged over crops.", choices=("logits", "probabilities"))
    top_k: int = setting(5, "Classes printed for a predicted video.", minimum=1)

    @property
    def side(self) -> str:
        """The side of the split that the tested clips are on: "test" or "train"."""
        return "test" if self.test_on == "test" else "train"
