"""MODEL_CARD.md of an export: who wants to use or publish it reads what it was made of, and what is left to fill in.

The sections are those of Mitchell et al., "Model Cards for Model Reporting" (2019), as far as metadata knows them.
"""

from __future__ import annotations

from collections.abc import Iterator

from ccsn_tf.config import Config
from ccsn_tf.config.settings import PREDICTIONS

FILE_NAME = "MODEL_CARD.md"

_FILL_IN = "*fill in*"
_FIGURES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class accuracy"}
# Of the groups of settings, what the card says in words already, and paths of the machine that trained.
_TOLD = {"dataset", "split", "classes", "backbone", "connection", "image_size", "flow_source", "flow_length"}
_TOLD |= {"init_spatial", "init_temporal"}


def model_card(metadata: dict, form: str, proof: str = "") -> str:
    """The card, as Markdown.

    Args:
        metadata: from `make_metadata`.
        form: of the export, as in "SavedModel".
        proof: a sentence on how it was compared with the trained model.
    """
    return "\n".join((*_head(metadata, form, proof), *_data(metadata), *_figures(metadata), *_input(metadata))) + "\n"


def _settings(metadata):
    return {name: value for group in metadata["training"].values() for name, value in group.items()}


def _head(metadata, form, proof) -> Iterator[str]:
    settings = _settings(metadata)
    versions = ", ".join(f"{name} {version}" for name, version in metadata["versions"].items())
    yield f"# Action recognition: {settings['dataset']}, {len(metadata['classes'])} classes"
    yield ""
    yield "Written by the export, from its metadata. What it cannot know is for you to fill in before you publish it."
    yield ""
    yield from _table(
        {
            "model": f"Cooperative Cross-Stream Network of frames and optical flow: {settings['backbone']}, connection "
            f"{settings['connection']}",
            "form": f"{form}, {metadata['exported']}",
            "made with": versions,
            "weights, SHA-256": metadata["weights_sha256"],
            "compared with the trained model": proof or "not compared",
            "owner, contact": _FILL_IN,
            "licence of the weights": _FILL_IN,
            "licence of the initial weights, if any": _FILL_IN,
            f"licence of the training data ({settings['dataset']})": _FILL_IN,
            "intended use; uses that it is not for": _FILL_IN,
        }
    )
    yield ""
    yield "It knows its classes and nothing else: every clip is answered with one of them, whatever it shows. Not"
    yield "measured: people, places and cameras unlike those of the training data, and how accuracy differs between"
    yield f"them: {_FILL_IN}."


def _data(metadata) -> Iterator[str]:
    settings, stored = _settings(metadata), metadata["preprocessing"]
    yield "\n## Data and training\n"
    yield from _table(
        {
            "data set": settings["dataset"],
            "split": settings["split"],
            "classes": ", ".join(metadata["classes"]),
            "preparation": ", ".join(f"{name} {value}" for name, value in stored.items()),
        }
    )
    yield "\nSettings other than the defaults of this version:\n"
    usual = Config().flat()
    flags = [
        f"--{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in settings.items()
        if name not in _TOLD and value != _as_json(usual.get(name))
    ]
    yield f"    {' '.join(flags) or 'none'}"


def _as_json(value):
    return list(value) if isinstance(value, tuple) else value


def _figures(metadata) -> Iterator[str]:
    yield "\n## Figures\n"
    if found := metadata["evaluation"]:
        yield from _evaluation(found)
    else:
        yield "The run was not evaluated: run scripts/evaluate.py, and export again."
    if accuracy := metadata.get("accuracy_by_segments"):
        yield f"\n{accuracy_in_words(accuracy, metadata['segments'])}"


def accuracy_in_words(accuracy: dict, told: int) -> str:
    """What `accuracy_by_segments` found, in a line; clients are `told` to send so many segments."""
    clips = f"{accuracy['clips']} of {accuracy['of']} test clips, evenly spaced"
    if accuracy["clips"] == accuracy["of"]:
        clips = f"{accuracy['of']} test clips"
    shares = ", ".join(f"{100 * share:.1f} % with {segments}" for segments, share in accuracy["top1"].items())
    return f"Top-1 by segments per clip ({clips}, centre crop): {shares}. Clients are told to send {told}."


def _evaluation(found) -> Iterator[str]:
    clips = f"{found.get('num_clips', '?')} clips of split {found.get('split', '?')}"
    yield f"Of the trained model: {found.get('dataset', '?')}, {clips}, {found.get('protocol', '?')}.\n"
    yield f"| stream | {' | '.join(_FIGURES.values())} |"
    yield f"|---|{'---|' * len(_FIGURES)}"
    for stream in (stream for stream in PREDICTIONS if stream in found):
        figures = (found[stream].get(name) for name in _FIGURES)
        yield f"| {stream} | {' | '.join('' if each is None else f'{100 * each:.1f} %' for each in figures)} |"
    if mistakes := found.get("most_confused"):
        pairs = (f"{each['class']} for {each['taken_for']} ({each['clips']})" for each in mistakes[:5])
        yield f"\nMost often taken for another class: {', '.join(pairs)}."


def _input(metadata) -> Iterator[str]:
    yield "\n## Input\n"
    size, length = metadata["image_size"], metadata["flow_length"]
    yield f"Snippets of {length + 1} frames at {size} x {size} pixels; {metadata['segments']} a clip, unless the caller"
    yield f"decides otherwise ({metadata['segments_in_training']} in training).\n"
    yield from _table(metadata["layout"])


def _table(rows) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for name, value in rows.items():
        text = str(value).replace("|", "\\|").replace("\n", " ")
        yield f"| {name} | {text} |"
