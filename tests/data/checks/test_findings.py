import json

from ccsn_tf.data.checks import Finding, as_json, as_text

WARNING = Finding("short", "a/1", "a/1 has 3 frames.")
BLOCKING = Finding("labels off by one", "", "The lists count from 0.", True)


def test_what_blocks_comes_first_and_of_a_kind_the_first_few():
    assert as_text([WARNING, BLOCKING, WARNING, WARNING], most=2).splitlines() == [
        "Training may not start before this is put right:",
        "  labels off by one: 1",
        "    The lists count from 0.",
        "Warnings:",
        "  short: 3",
        "    a/1 has 3 frames.",
        "    a/1 has 3 frames.",
        "    ... and 1 more",
        "Training may not start; problems: 1, warnings: 3.",
    ]
    assert as_text([]) == "Training may start; problems: 0, warnings: 0.\n"


def test_json_has_everything():
    report = json.loads(as_json([WARNING, BLOCKING, WARNING]))
    assert report["may_train"] is False and report["counts"] == {"short": 2, "labels off by one": 1}
    assert report["findings"][1] == {
        "kind": "labels off by one",
        "clip": "",
        "message": "The lists count from 0.",
        "blocks": True,
    }
    assert json.loads(as_json([])) == {"may_train": True, "counts": {}, "findings": []}
