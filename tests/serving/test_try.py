import numpy as np
def test_x(exported):
    from ccsn_tf.serving.clips import clips_to_try
    print(exported.verification)
    with clips_to_try(exported.config, tuple(exported.model.classes), 6, True) as clips:
        out = exported.model(clips.arrays(3), training=False)
        import keras
        print(keras.ops.softmax(out['logits']))
