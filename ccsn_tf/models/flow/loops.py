"""How iterations of a flow layer are run: by one kernel of XLA, as a loop of operations, or each written out."""

import contextlib
import contextvars
import functools
import logging
from collections.abc import Callable, Iterator

import keras
from keras import ops

COMPILED, LOOPED, WRITTEN_OUT = "compiled", "looped", "written out"
_way = contextvars.ContextVar("way", default=COMPILED)


@contextlib.contextmanager
def iterations(way: str) -> Iterator[None]:
    """Graphs that are made inside have their iterations in another way than `COMPILED`.

    Args:
        way: `COMPILED`: XLA makes one kernel of an iteration, under TensorFlow; other backends compile by themselves.
            `LOOPED`: plain operations in a loop, which every TensorFlow runs, a server's without XLA as well.
            `WRITTEN_OUT`: one iteration after the other, for converters and engines that do not get on with loops.
    """
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)


def repeat(step: Callable, times: int, state: tuple) -> tuple:
    """What `step`, of tensors and to as many of the same shapes, makes of `state` when it is applied `times` times."""
    if _way.get() == WRITTEN_OUT:
        for _ in range(times):
            state = step(*state)
        return state
    _, *state = ops.while_loop(
        lambda done, *_: done < times, lambda done, *state: (done + 1, *step(*state)), (0, *state), times
    )
    return state


def compiled(function: Callable) -> Callable:
    """`function`, of tensors, numbers and None: as kernels of XLA, where `iterations` says `COMPILED` and XLA works."""

    @functools.wraps(function)
    def called(*arguments):
        if _way.get() != COMPILED or keras.backend.backend() != "tensorflow" or not xla_works():
            return function(*arguments)
        tensors = [argument for argument in arguments if hasattr(argument, "shape")]
        kinds = (_kind(each) if hasattr(each, "shape") else each for each in arguments)
        return _by_xla(function, *kinds)(*tensors)

    return called


@functools.cache
def xla_works() -> bool:
    """Whether XLA compiles here; tried once. For a GPU, it needs files of CUDA that TensorFlow itself does without."""
    import tensorflow as tf

    try:
        with tf.init_scope():
            tf.function(tf.exp, jit_compile=True)(tf.ones(1))
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())
        logging.warning("XLA does not work here (%s): the network's flow is computed without it, and slower.", reason)
        return False
    return True


def _kind(tensor):
    return tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype)


@functools.lru_cache(maxsize=None, typed=True)
def _by_xla(function, *kinds):
    """Kernels for arguments of these kinds, (shape, dtype) or a value: one forwards, one backwards; both of tensors.

    Backwards goes forwards again, since XLA cannot hand one kernel's iterations to the other: none is kept in between.
    """
    import tensorflow as tf

    specs = [tf.TensorSpec(*kind) for kind in kinds if isinstance(kind, tuple)]

    def of_tensors(*tensors):
        rest = iter(tensors)
        return function(*(next(rest) if isinstance(kind, tuple) else kind for kind in kinds))

    def gradients(*tensors_and_gradients):
        tensors, given = tensors_and_gradients[: len(specs)], tensors_and_gradients[len(specs) :]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            results = of_tensors(*tensors)
        return tape.gradient(results, tensors, given, unconnected_gradients="zero")

    def kernel(computed, *specs):
        return tf.function(computed, jit_compile=True, autograph=False).get_concrete_function(*specs)

    forward = kernel(of_tensors, *specs)

    @functools.cache
    def backward():
        results = tf.nest.flatten(forward.structured_outputs)
        return kernel(gradients, *specs, *(tf.TensorSpec(result.shape, result.dtype) for result in results))

    @tf.custom_gradient
    def differentiable(*tensors):
        tensors = [tf.stop_gradient(tensor) for tensor in tensors]  # a tape would ask `forward` for its iterations
        return forward(*tensors), lambda *given: backward()(*tensors, *given)

    return differentiable
