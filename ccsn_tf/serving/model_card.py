"""What stands beside an export, or in its folder: its model card, and the sums of its files.

MODEL_CARD.md   who wants to use or publish it reads what it was made of, and what is left to fill in. The sections are
                those of Mitchell et al., "Model Cards for Model Reporting" (2019), as far as metadata knows them.
SHA256SUMS      is it what was written? Damage and mix-ups are found; who can write there can write both.
"""

import hashlib
import pathlib
from collections.abc import Iterable, Iterator, Mapping

from ccsn_tf.config import Config
from ccsn_tf.config.settings import PREDICTIONS
from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text

CARD, SUMS = "MODEL_CARD.md", "SHA256SUMS"

_FILL_IN = "*fill in*"
_FIGURES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class accuracy"}
# Of the groups of settings, what the card says in words already, and paths of the machine that trained.
_TOLD = {"dataset", "split", "classes", "backbone", "connection", "image_size", "flow_source", "flow_length"}
_TOLD |= {"init_spatial", "init_temporal"}


def write_beside(
    export: str | pathlib.Path, metadata: dict, form: str, proof: str = "", also: Iterable[pathlib.Path] = ()
) -> None:
    """Writes card (see `model_card`) and sums of an export, a folder or a file; `also` are files that belong to it."""
    path = pathlib.Path(export)
    card = path / CARD if path.is_dir() else path.with_name(f"{path.name}.{CARD}")
    write_text(card, model_card(metadata, form, proof))
    write_sums(path, *also, card)


def sha256(path: pathlib.Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(export: pathlib.Path, *beside: pathlib.Path) -> None:
    """Writes the sums of all files below a folder into it, or those of a file and others beside it, there.

    They are as `sha256sum --check` takes them.
    """
    sums = _sums_of(export)
    files = sorted(sums.parent.rglob("*")) if sums.name == SUMS else [export, *beside]
    lines = [f"{sha256(path)}  {path.relative_to(sums.parent).as_posix()}\n" for path in files if path.is_file()]
    write_text(sums, "".join(lines))


def check_sums(export: str | pathlib.Path) -> None:
    """Checks an export, a folder or a file, if its sums are there; but for its card, which people fill in.

    Raises:
        UserError: a file is missing or is not what was written.
    """
    sums = _sums_of(export)
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        path = sums.parent / name
        if not name.endswith(CARD) and not (path.is_file() and sha256(path) == digest):
            raise UserError(f"{path} is not the file that {sums} tells of: export the model again.")


def identity(export: str | pathlib.Path) -> str:
    """Differs where exports do: the sum of a file, or of a folder's SHA256SUMS, which names all that is in it."""
    path = pathlib.Path(export)
    path = path / SUMS if path.is_dir() else path
    return sha256(path) if path.is_file() else ""


def _sums_of(export):
    path = pathlib.Path(export)
    return path / SUMS if path.is_dir() else path.with_name(f"{path.name}.sha256")


def model_card(metadata: dict, form: str, proof: str = "") -> str:
    """The card, as Markdown.

    Args:
        metadata: from `make_metadata`.
        form: of the export, as in "SavedModel".
        proof: a sentence on how it was compared with the trained model.
    """
    settings = {name: value for group in metadata["training"].values() for name, value in group.items()}
    data_set = settings["dataset"]
    about = {
        "model": f"Cooperative Cross-Stream Network of frames and optical flow: {settings['backbone']}, connection "
        f"{settings['connection']}",
        "form": f"{form}, {metadata['exported']}",
        "made with": ", ".join(f"{name} {version}" for name, version in metadata["versions"].items()),
        "weights, SHA-256": metadata["weights_sha256"],
        "compared with the trained model": proof or "not compared",
    }
    to_fill_in = ("owner, contact", "licence of the weights", "licence of the initial weights, if any")
    to_fill_in += (f"licence of the training data ({data_set})", "intended use; uses that it is not for")
    data = {
        "data set": data_set,
        "split": settings["split"],
        "classes": ", ".join(metadata["classes"]),
        "preparation": ", ".join(f"{name} {value}" for name, value in metadata["preprocessing"].items()),
    }
    return f"""\
# Action recognition: {data_set}, {len(metadata["classes"])} classes

Written by the export, from its metadata. What it cannot know is for you to fill in before you publish it.

{_table(about | dict.fromkeys(to_fill_in, _FILL_IN))}

It knows its classes and nothing else: every clip is answered with one of them, whatever it shows. Not
measured: people, places and cameras unlike those of the training data, and how accuracy differs between
them: {_FILL_IN}.

## Data and training

{_table(data)}

Settings other than the defaults of this version:

    {" ".join(_flags(settings)) or "none"}

## Figures

{_figures(metadata)}

## Input

Snippets of {metadata["flow_length"] + 1} frames at {metadata["image_size"]} x {metadata["image_size"]} pixels;
{metadata["segments"]} a clip, unless the caller decides otherwise ({metadata["segments_in_training"]} in training).

{_table(metadata["layout"])}
"""


def accuracy_in_words(accuracy: dict, told: int) -> str:
    """What `accuracy_by_segments` found, in a line; clients are `told` to send so many segments."""
    clips = f"{accuracy['clips']} of {accuracy['of']} test clips, evenly spaced"
    if accuracy["clips"] == accuracy["of"]:
        clips = f"{accuracy['of']} test clips"
    shares = ", ".join(f"{100 * share:.1f} % with {segments}" for segments, share in accuracy["top1"].items())
    return f"Top-1 by segments per clip ({clips}, centre crop): {shares}. Clients are told to send {told}."


def _flags(settings) -> Iterator[str]:
    usual = Config().flat()
    for name, value in settings.items():
        default = usual.get(name)
        if name not in _TOLD and value != (list(default) if isinstance(default, tuple) else default):
            yield f"--{name}={','.join(map(str, value)) if isinstance(value, list) else value}"


def _figures(metadata):
    text = "The run was not evaluated: run scripts/evaluate.py, and export again."
    if found := metadata["evaluation"]:
        clips = f"{found.get('num_clips', '?')} clips of split {found.get('split', '?')}"
        text = f"Of the trained model: {found.get('dataset', '?')}, {clips}, {found.get('protocol', '?')}.\n\n"
        text += f"| stream | {' | '.join(_FIGURES.values())} |\n|---|{'---|' * len(_FIGURES)}"
        for stream in (stream for stream in PREDICTIONS if stream in found):
            figures = (found[stream].get(name) for name in _FIGURES)
            cells = ("" if each is None else f"{100 * each:.1f} %" for each in figures)
            text += f"\n| {stream} | {' | '.join(cells)} |"
        if mistakes := found.get("most_confused"):
            pairs = (f"{each['class']} for {each['taken_for']} ({each['clips']})" for each in mistakes[:5])
            text += f"\n\nMost often taken for another class: {', '.join(pairs)}."
    if accuracy := metadata.get("accuracy_by_segments"):
        text += f"\n\n{accuracy_in_words(accuracy, metadata['segments'])}"
    return text


def _table(rows: Mapping[str, object]) -> str:
    cells = {name: str(value).replace("|", "\\|").replace("\n", " ") for name, value in rows.items()}
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {text} |" for name, text in cells.items())
