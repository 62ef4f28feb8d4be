import collections
import dataclasses

import pytest

from ccsn_tf.config import Config
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.data.records.selection import cautions, evaluated_clips, few_per_class, fold_of, select_clips, untested


def clip(label, group):
    return StoredClip(f"{label}/{group}", label, group, 0, 0, 0, 0, 0)


def test_each_fold_is_kept_from_training_and_tested(tiny_data, tiny_manifest):
    config = Config(data=tiny_data).replace(folds=3)
    classes, everything, test = select_clips(config)
    assert (
        not {c.name for c in everything} & {c.name for c in test}
        and evaluated_clips(config, tiny_manifest, classes) == test
    )
    tested = []
    for fold in (1, 2, 3):
        of_fold = config.replace(fold=fold)
        _, training, held = select_clips(of_fold)
        assert evaluated_clips(of_fold, tiny_manifest, classes) == held
        assert select_clips(of_fold.replace(validate_on="none")) == (classes, training, [])
        assert not {(c.label, c.group) for c in training} & {(c.label, c.group) for c in held}
        assert sorted(c.name for c in [*training, *held]) == sorted(c.name for c in everything)
        tested += held
    assert sorted(c.name for c in tested) == sorted(c.name for c in everything)


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_have_about_as_many_clips_of_each_class(folds):
    sizes = {"a": [9, 1, 1, 2, 5, 3, 3], "b": [4] * 10, "c": [2, 1]}
    clips = [clip(label, f"g{n}") for label, of in sizes.items() for n, size in enumerate(of) for _ in range(size)]
    dealt = fold_of(clips, folds)
    assert set(dealt.values()) == set(range(1, folds + 1))
    for label, of in sizes.items():
        found = collections.Counter(dealt[c.label, c.group] for c in clips if c.label == label)
        assert max(found.values()) - min(found[n] for n in range(1, folds + 1)) <= max(of)
    assert fold_of(clips[::-1], folds) == dealt  # whatever the order


def test_the_only_group_of_a_class_always_trains():
    assert fold_of([clip("a", "x"), clip("b", "x"), clip("b", "y")], 2) == {("a", "x"): 0, ("b", "x"): 1, ("b", "y"): 2}


def test_few_clips_come_from_many_groups_and_from_any_draw_of_more():
    sizes = {"a": [5, 1, 1], "b": [2, 2]}
    clips = [
        dataclasses.replace(clip(label, f"g{n}"), name=f"{label}{n}{k}")
        for label, of in sizes.items()
        for n, size in enumerate(of)
        for k in range(size)
    ]
    drawn = {count: few_per_class(clips, count) for count in (1, 3, 4, 9)}
    assert [collections.Counter(c.label for c in drawn[n]) for n in (1, 3, 4)] == [{"a": n, "b": n} for n in (1, 3, 4)]
    assert {c.group for c in drawn[3] if c.label == "a"} == {"g0", "g1", "g2"} and drawn[9] == clips
    for less, more in ((1, 3), (3, 4)):
        assert [c for c in drawn[more] if c in drawn[less]] == drawn[less]
    assert few_per_class(clips[::-1], 3) == drawn[3][::-1]


def test_a_run_trains_on_few_clips_and_is_tested_on_all(tiny_data):
    config = Config(data=tiny_data)
    (_, training, test), (_, everything, all_tests) = select_clips(config.replace(train_clips=1)), select_clips(config)
    assert sorted(c.label for c in training) == sorted({c.label for c in everything}) and test == all_tests


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
