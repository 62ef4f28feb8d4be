"""What `benchmarks/run.py` measures: one module a benchmark.

Each has `define_flags()`, for options of its own, `run(config, options) -> dict`, which measures and returns plain
JSON values, and `table(report) -> str`, which writes a report as Markdown. Timings of one report were taken in one run,
the sides to be compared in turn: ratios are what counts.
"""
