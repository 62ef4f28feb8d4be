"""What `benchmarks/run.py NAME` measures: one module per benchmark.

Each has `define_flags()` for options of its own, `run(config, options) -> dict`, which measures and returns plain JSON
values, and `table(report) -> str`, which writes a report as Markdown. The sides of a comparison take turns within one
run: read the ratios, not the times.
"""
