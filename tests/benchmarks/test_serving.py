"""The benchmark of serving: what it reports, not how fast."""

import types

from benchmarks import serving


def test_report_and_table(workdir_config, monkeypatch):
    monkeypatch.setattr(serving, "BATCHES", (1, 2))
    report = serving.run(workdir_config, types.SimpleNamespace(serving_rounds=1))
    assert report["bytes"]["arrays"] > 3 * 32 * 32 * 13 and report["bytes"]["jpegs"] > 1000
    assert set(report["milliseconds"]) == {"not folded", "folded", "jpegs"}
    assert all(0 < time < 1e5 for times in report["milliseconds"].values() for time in times.values())
    rows = [line for line in serving.table(report).splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == ["1", "2"]
