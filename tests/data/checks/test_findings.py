import json

from ccsn_tf.data.checks.findings import Finding, as_json, as_text, may_train

WARNING = Finding("short", "a/1", "a/1 has 3 frames.")
BLOCKING = Finding("labels off by one", "", "The lists count from 0.", True)


def test_what_blocks_comes_first():
    text = as_text([WARNING, BLOCKING, WARNING])
    assert text.splitlines() == [
        "Training may not start before this is put right:",
        "  labels off by one: 1",
        "    The lists count from 0.",
        "Warnings:",
        "  short: 2",
        "    a/1 has 3 frames.",
        "    a/1 has 3 frames.",
        "Training may not start: 1 problem; 2 warnings.",
    ]


def test_a_few_of_each_kind():
    lines = as_text([WARNING] * 5 + [Finding("absent", "b", "b is not there.")], most=2).splitlines()
    assert lines[1:5] == ["  short: 5", "    a/1 has 3 frames.", "    a/1 has 3 frames.", "    ... and 3 more"]
    assert lines[-1] == "Training may start; 6 warnings."


def test_nothing_found():
    assert as_text([]) == "Training may start; 0 warnings.\n"
    assert json.loads(as_json([])) == {"may_train": True, "counts": {}, "findings": []}


def test_warnings_do_not_block():
    assert may_train([WARNING]) and not may_train([WARNING, BLOCKING])


def test_json_has_everything():
    report = json.loads(as_json([WARNING, BLOCKING, WARNING]))
    assert report["may_train"] is False and report["counts"] == {"short": 2, "labels off by one": 1}
    assert report["findings"][1] == {
        "kind": "labels off by one",
        "clip": "",
        "message": "The lists count from 0.",
        "blocks": True,
    }
