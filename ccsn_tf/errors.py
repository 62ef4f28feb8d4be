"""The error that people are meant to read."""


class UserError(ValueError):
    """One sentence for a person: which file, argument or flag is wrong, and what to do about it.

    The library names arguments in backquotes; the scripts print `name` as --name where it is a flag.
    """

    _keras_call_info_injected = True  # else Keras, where a layer raises it, would add a page on the layer's arguments
