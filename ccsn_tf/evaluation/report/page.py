"""The page of a report: its sections in HTML, from plain numbers and pictures. No TensorFlow, no files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

import numpy as np

from ccsn_tf.evaluation.report import charts
from ccsn_tf.evaluation.report.charts import STREAMS, percent
from ccsn_tf.evaluation.report.style import PAGE


@dataclasses.dataclass(frozen=True)
class Strip:
    """A row of pictures: data URI, what stands below it, and what is read out in its place."""

    image: str
    caption: str
    text: str


@dataclasses.dataclass(frozen=True)
class ClipCard:
    """A clip as it is shown: names of the true and the predicted class, and each stream's probability of the latter."""

    name: str
    true_class: str
    predicted: str
    probabilities: dict[str, float]
    strips: Sequence[Strip]


def render(
    report: dict,
    confusion: np.ndarray,
    right: Sequence[ClipCard],
    wrong: Sequence[ClipCard],
    attention: str,
    wheel: str,
    settings: Sequence[tuple[str, str]],
) -> str:
    """The whole page.

    Args:
        report: content of evaluation.json.
        confusion: integers (C, C) of the fused prediction, in the order of `report["classes"]`.
        right: the clips that are most confidently right.
        wrong: those that are most confidently wrong.
        attention: how to read the attention in the cards, or why there is none; plain text.
        wheel: data URI of the key to the flow's colours.
        settings: name and value of what the run was made with.
    """
    classes = [row["class"] for row in report["classes"]]
    sections = {
        "figures": ("Figures", _figures(report)),
        "confusion": ("Confusion", _confusion(report, confusion, classes)),
        "classes": ("Classes", _protocol(report, "Top-1 in %") + charts.class_bars(report["classes"])),
        "embeddings": ("Embeddings", _embeddings(report)),
        "attention": ("Where each stream looked in the other", f"<p>{escape(attention)}</p>"),
        "right": ("Most confidently right", _clips(right, wheel, "At most one clip a class.")),
        "wrong": ("Most confidently wrong", _clips(wrong, wheel, "At most one clip a pair of classes.")),
        "settings": ("Settings", _settings(settings)),
    }
    title = f"{report['dataset']}, split {report['split']}: {report['num_classes']} classes"
    return PAGE.substitute(
        title=escape(title),
        subtitle=escape(f"Connection {report['connection']}. {report['num_clips']} test clips, {report['protocol']}."),
        notes=_notes(report),
        links="".join(f'<a href="#{name}">{escape(head)}</a>' for name, (head, _) in sections.items()),
        sections="\n".join(
            f'<section id="{name}"><h2>{escape(head)}</h2>\n{body}</section>' for name, (head, body) in sections.items()
        ),
    )


def _notes(report):
    if not report["num_skipped"]:
        return ""
    count = report["num_skipped"]
    return f'<p class="alarm">Not counted: {count} more test clips, which could not be prepared (manifest.json).</p>'


def _protocol(report, what):
    return f'<p class="protocol">{escape(what)}. {report["num_clips"]} test clips, {escape(report["protocol"])}.</p>'


def _figures(report):
    protocol = f"{report['num_clips']} clips, {report['protocol']}"
    cards = [
        (stream, f"top-1, {label}", report[stream]["top1"], protocol)
        for stream, label in sorted(STREAMS.items(), key=lambda item: item[0] != "fused")
    ]
    found = report["embeddings"]["retrieval"]["flow_to_rgb"]
    queries = f"{found['queries']} queries, {report['protocol']}"
    cards.append(("", "recall@1, flow finds RGB", found["recall_at_1"], queries))
    shown = "".join(
        f'<div class="card {kind}">{escape(label)}<b>{_with_sign(value)}</b><small>{escape(how)}</small></div>'
        for kind, label, value, how in cards
    )
    rows = [[label, *(percent(report[stream][key]) for key in _FIGURES)] for stream, label in STREAMS.items()]
    text = (
        f"One clip is {100 / max(1, report['num_clips']):.2g} points of top-1. This is one run: how much another seed "
        "would change is not in these figures."
    )
    if report["connection"] != "none":
        text += (
            " The streams are connected: each has seen the other, so that its own figures say nothing about RGB alone "
            "or flow alone."
        )
    return (
        f'<div class="cards">{shown}</div>'
        + charts.table(["", *_FIGURES.values()], rows, f"In %. {protocol}.")
        + f"<p>{escape(text)}</p>"
    )


_FIGURES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class accuracy"}


def _confusion(report, confusion, classes):
    pairs = [[row["class"], row["taken_for"], str(row["clips"])] for row in report["most_confused"]]
    below = (
        charts.table(["class", "taken for", "clips"], pairs, "The most confused pairs.")
        if pairs
        else "<p>No clip was taken for another class.</p>"
    )
    return (
        _protocol(report, "Fused prediction; rows are the true class, columns the predicted one, depth its share")
        + charts.confusion_svg(confusion, classes)
        + below
    )


def _embeddings(report):
    found = report["embeddings"]
    if found["not_finite"]:
        return f'<p class="alarm">{found["not_finite"]} clips have embeddings that are not finite: no figures.</p>'
    names = {"spatial": "RGB to RGB", "temporal": "flow to flow", "cross": "across the streams"}
    distances = [
        [name, *(_number(found[key][which]) for key in ("variation", "nearest_other_class"))]
        for which, name in names.items()
    ]
    directions = {"flow_to_rgb": "flow finds RGB", "rgb_to_flow": "RGB finds flow"}
    retrieval = [
        [name, str(row["queries"]), percent(row["recall_at_1"]), percent(row["mean_average_precision"])]
        for name, row in ((name, found["retrieval"][key]) for key, name in directions.items())
    ]
    return (
        _protocol(report, "Distances between unit vectors, 0 to 2; the embeddings of a clip's views are averaged")
        + charts.table(
            ["", "within the class", "to the nearest clip of another"],
            distances,
            "Variation: the lower the first and the higher the second, the better.",
        )
        + charts.table(
            ["", "queries", "recall@1, %", "mean average precision, %"],
            retrieval,
            "Retrieval across the streams: to find a clip of the same class, not the same clip.",
        )
    )


def _clips(cards, wheel, choice):
    if not cards:
        return "<p>There is none.</p>"
    alt = "Key to the colours of flow: right is red, down yellow, left blue-green, up violet"
    key = f'<img class="wheel" src="{wheel}" alt="{alt}">'
    text = (
        f"By the fused probability of the predicted class. {choice} Snippets of each, evenly spaced; the centre "
        "square, in which flow is coloured by its direction (key at the right) and the deeper the faster."
    )
    return f'{key}<p>{escape(text)}</p><div class="clips">{"".join(map(_card, cards))}</div>'


def _card(card):
    probabilities = ", ".join(f"{name} {percent(value)} %" for name, value in card.probabilities.items())
    facts = {"clip": card.name, "true class": card.true_class, "probability of the predicted class": probabilities}
    listed = "".join(f"<div><dt>{escape(name)}: </dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    strips = "".join(
        f'<figure><img src="{strip.image}" alt="{escape(strip.text)}"><figcaption>{escape(strip.caption)}</figcaption>'
        "</figure>"
        for strip in card.strips
    )
    head = card.predicted if card.predicted == card.true_class else f"Taken for {card.predicted}"
    return f'<article class="clip"><h3>{escape(head)}</h3><dl>{listed}</dl>{strips}</article>'


def _settings(settings):
    inner = charts.table(["setting", "value"], settings)
    return f'<details class="text"><summary>What the run was made with</summary>{inner}</details>'


def _with_sign(value):
    return "-" if value is None else f"{percent(value)} %"


def _number(value):
    return "-" if value is None else f"{value:.2f}"
