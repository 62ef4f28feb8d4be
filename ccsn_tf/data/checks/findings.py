"""What checks find, and how it is reported."""

from __future__ import annotations

import collections
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
    """The findings by kind, those that block first, and the verdict; of a kind, `most` are written out (all)."""
    lines = []
    for blocks, title in ((True, "Training may not start before this is put right:"), (False, "Warnings:")):
        by_kind = collections.defaultdict(list)
        for finding in findings:
            if finding.blocks == blocks:
                by_kind[finding.kind].append(f"    {finding.message}")
        lines += [title] if by_kind else []
        for kind, messages in by_kind.items():
            lines += [f"  {kind}: {len(messages)}", *messages[:most]]
            if most is not None and len(messages) > most:
                lines.append(f"    ... and {len(messages) - most} more")
    problems = sum(finding.blocks for finding in findings)
    verdict = f"Training {'may not' if problems else 'may'} start; problems: {problems}"
    return "\n".join([*lines, f"{verdict}, warnings: {len(findings) - problems}.\n"])


def as_json(findings: Sequence[Finding]) -> str:
    """{"may_train", "counts" by kind, "findings"}."""
    counts = collections.Counter(finding.kind for finding in findings)
    report = {"may_train": may_train(findings), "counts": counts, "findings": list(map(dataclasses.asdict, findings))}
    return json.dumps(report, indent=1) + "\n"
