"""Connection blocks of one's own: every form in which `CCSN(connection=...)` takes them, saved and read again."""

import keras
import pytest
import small_models
from layers import randomise

import ccsn_tf as ct
from ccsn_tf.config.settings import BACKBONES, CONNECTIONS
from ccsn_tf.errors import UserError
from ccsn_tf.models import backbones, connections
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.connections import ConnectionBlock, register_connection


class Exchange(ConnectionBlock):
    """A block of one's own, without arguments."""

    def build_messages(self, shape):
        self.swap = self.pointwise(shape, shape[-1], "swap")

    def messages(self, spatial, temporal):
        return self.swap(temporal), self.swap(spatial)


class Scaled(Exchange):
    """One with an argument, and its configuration."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def messages(self, spatial, temporal):
        return tuple(self.factor * message for message in super().messages(spatial, temporal))

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Forgetful(Scaled):
    """One that leaves its argument out of its configuration."""

    def get_config(self):
        config = super().get_config()
        config.pop("factor")
        return config


def test_the_names_are_the_flags_choices():
    """The settings list what the registries hold, without loading them."""
    assert ["none", *connections._MAKERS] == CONNECTIONS and list(backbones._BUILDERS) == BACKBONES


def ccsn(connection, **arguments):
    return CCSN(3, small_models.backbone, connection=connection, image_size=16, flow_length=2, **arguments)


@pytest.mark.parametrize(
    ("connection", "kind"),
    [
        (lambda name: Scaled(2.0, name=name), Scaled),
        (Scaled(3.0), Scaled),
    ],
)
def test_every_form_of_a_block_joins_the_streams_and_is_saved(connection, kind, tmp_path):
    model = ccsn(connection)
    randomise(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    (ours,), (theirs,) = (m.connection_blocks for m in (model, loaded))
    assert type(ours) is type(theirs) is kind and ours.get_config() == theirs.get_config()
    inputs = small_models.clips(segments=2, flow_length=2)
    small_models.assert_same(small_models.predict(loaded, inputs), small_models.predict(model, inputs))


def test_an_instance_is_copied_for_every_further_stage():
    block = Scaled(2.0, dropout=0.25)
    model = CCSN(3, connection=block, connect_at=("stage1", "stage2"), image_size=16, flow_length=2)
    first, second = model.connection_blocks
    assert (first.factor, second.factor) == (2.0, 2.0) and second.dropout == 0.25
    assert first.swap.kernel.shape != second.swap.kernel.shape


def test_dropout_reaches_a_class_and_none_leaves_the_streams_apart():
    assert ccsn(Exchange, connection_dropout=0.5).connection_blocks[0].dropout == 0.5
    assert not ccsn(None).connection_blocks


@pytest.mark.parametrize("connection", ["add", 3, int, lambda name: 3])
def test_what_is_no_block_is_refused(connection):
    with pytest.raises(ValueError, match="connection"):
        ccsn(connection)


@pytest.mark.parametrize(
    "messages",
    [
        lambda s, t: (s[..., :1], t[..., :1]),
        lambda s, t: s,
        lambda s, t: None,
        lambda s, t: (0, 0),
    ],
)
def test_messages_that_are_not_two_of_the_streams_shape_are_refused(messages):
    narrow = type("Narrow", (Exchange,), {"messages": lambda self, *maps: messages(*maps)})
    with pytest.raises(UserError, match=r"^`connection` Narrow.messages\(\) must return two tensors .*\.$"):
        ccsn(narrow)


def test_a_class_that_lacks_what_it_needs_is_told_so(tmp_path):
    with pytest.raises(UserError, match=r"^`connection` Silent must define messages"):
        ccsn(type("Silent", (ConnectionBlock,), {}))
    with pytest.raises(UserError, match=r"^`connection` .*Scaled.* cannot be called .*'factor'"):
        ccsn(Scaled)
    closed = type("Closed", (Exchange,), {"__init__": lambda self: Exchange.__init__(self)})
    with pytest.raises(UserError, match=r"^`connection` Closed.__init__\(\) does not take"):
        ccsn(closed).save(tmp_path / "model.keras")


def test_an_argument_that_the_configuration_lacks_is_named_when_it_would_be_lost(tmp_path):
    model = ccsn(Forgetful(2.0))
    with pytest.raises(UserError, match="get_config"):
        model.save(tmp_path / "model.keras")
    with pytest.raises(UserError, match="get_config"):
        ccsn(Forgetful(2.0), connect_at=("first", "second"))


def test_classes_of_one_name_are_told_apart_by_their_modules(tmp_path):
    """As of two files that each have one, and of a notebook's cell that is run twice."""

    def saved(module):
        kind = type("Twin", (Exchange,), {"__module__": module})
        model = ccsn(kind)
        model.save(tmp_path / f"{module}.keras")
        return kind

    def loaded(module):
        return type(ct.load_model(tmp_path / f"{module}.keras").connection_blocks[0])

    one, two = saved("one"), saved("two")
    assert (loaded("one"), loaded("two")) == (one, two)
    again = type("Twin", (Exchange,), {"__module__": "one"})
    assert loaded("one") is again and loaded("two") is two
    one.__module__ = again.__module__ = "moved"
    with pytest.raises(UserError, match=r"`connection` Twin of the module one is not defined, but .*two"):
        loaded("one")
    two.__name__ = "Other"
    assert loaded("one") is again


def test_a_registered_block_is_a_name_and_can_be_replaced(monkeypatch):
    monkeypatch.setattr("ccsn_tf.models.connections._MAKERS", {})
    names = list(CONNECTIONS)
    try:
        register_connection("exchange", Exchange)
        assert "exchange" in CONNECTIONS
        with pytest.warns(UserWarning, match="exchange"):
            register_connection("exchange", lambda name: Scaled(2.0, name=name))
        assert isinstance(ccsn("exchange").connection_blocks[0], Scaled)
        for name, block in (("none", Exchange), ("x", 3)):
            with pytest.raises(UserError):
                register_connection(name, block)
    finally:
        CONNECTIONS[:] = names
