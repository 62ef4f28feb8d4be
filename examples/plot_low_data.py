"""Draws accuracy over training clips per class from the table of scripts/recipes/low_data.toml.

python examples/plot_low_data.py A/ablation.json low_data.png
"""

import json
import pathlib
import sys

from matplotlib.figure import Figure

LINES = {  # label: row's first name, its figure, colour
    "RGB alone": ("separate", "spatial", "#0072B2"),
    "flow alone": ("separate", "temporal", "#D55E00"),
    "late fusion": ("separate", "mean", "#777777"),
    "CCS": ("full", "mean", "#009E73"),
}


def main(table, picture):
    rows = json.loads(pathlib.Path(table).read_text(encoding="utf-8"))["rows"]
    figure = Figure((6, 4), layout="constrained")
    axes = figure.subplots()
    for label, (kind, key, colour) in LINES.items():
        found = {int(name.rpartition("-")[2]): row for name, row in rows.items() if name.startswith(f"{kind}-")}
        values = [100 * row[key] for row in found.values()]
        spread = [100 * row["splits"]["1"]["deviation"] if key == "mean" else 0 for row in found.values()]
        axes.errorbar(list(found), values, spread, color=colour, marker="o", capsize=3, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(found), list(map(str, found)))
    axes.set_xlabel("training clips per class")
    axes.set_ylabel("top-1, %")
    axes.set_ylim(bottom=0)
    axes.grid(color="#DDDDDD")
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
