"""What checks find, and how it is reported."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault.

    `kind` in a few words; `clip` that it is about, empty where it is about the whole; `message` one sentence.
    A finding that `blocks` would make training fail or its figures wrong; the others are warnings.
    """

    kind: str
    clip: str
    message: str
    blocks: bool = False


def may_train(findings: Sequence[Finding]) -> bool:
    """Whether nothing that was found blocks training."""
    return not any(finding.blocks for finding in findings)


def as_text(findings: Sequence[Finding], most: int | None = None) -> str:
    """The findings by kind, those that block first, and the verdict.

    Args:
        findings: all.
        most: how many of a kind are written out; default: all.
    """
    lines = []
    for blocks in (True, False):
        kinds = list(dict.fromkeys(finding.kind for finding in findings if finding.blocks == blocks))
        if kinds:
            lines.append("Training may not start before this is put right:" if blocks else "Warnings:")
        for kind in kinds:
            messages = [f.message for f in findings if (f.kind, f.blocks) == (kind, blocks)]
            lines.append(f"  {kind}: {len(messages)}")
            lines += [f"    {message}" for message in messages[:most]]
            if most is not None and len(messages) > most:
                lines.append(f"    ... and {len(messages) - most} more")
    blocking = sum(finding.blocks for finding in findings)
    verdict = "may start" if not blocking else f"may not start: {_number(blocking, 'problem')}"
    return "\n".join([*lines, f"Training {verdict}; {_number(len(findings) - blocking, 'warning')}.\n"])


def as_json(findings: Sequence[Finding]) -> str:
    """{"may_train", "counts" by kind, "findings"}."""
    counts = {}
    for finding in findings:
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
    report = {"may_train": may_train(findings), "counts": counts, "findings": list(map(dataclasses.asdict, findings))}
    return json.dumps(report, indent=1) + "\n"


def _number(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"
