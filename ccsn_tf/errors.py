"""The error that people are meant to read."""


class UserError(ValueError):
    """One sentence for a person: which file, argument or flag is wrong, and what to do about it.

    The library names arguments in backquotes; the scripts print `name` as --name where it is a flag.
    """
