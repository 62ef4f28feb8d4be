import pytest

from ccsn_tf.data.records.selection import cautions, untested


@pytest.mark.parametrize(
    "classes, training, test, expected",
    [
        ("AB", "AABB", "AB", []),
        ("AB", "AABB", "A", ["No test clip of B: all figures, mean class accuracy too, are of 1 of 2 classes."]),
        ("AB", "AABB", "", ["There is no test clip: nothing is measured."]),
        ("AB", "AAB", "AB", ["A single training clip of B: "]),
        ("A", "AA", "A", ["A is the only class: "]),
        ("AB", "", "AB", ["No training clip of A, B: the set can be evaluated on, but train.py refuses it."]),
        ("ABCDEFG", "AA", "", ["No training clip of B, C, D, E, F ...: ", "There is no test clip"]),
    ],
)
def test_cautions(classes, training, test, expected):
    found = cautions(classes, training, test)
    assert len(found) == len(expected) and all(map(str.startswith, found, expected))
    assert (untested(classes, test) == found[-1]) if "test clip" in str(expected) else not untested(classes, test)
