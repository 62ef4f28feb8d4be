"""The one error that a user is meant to read."""


class UserError(ValueError):
    """A mistake in the input: one sentence that names the file or flag and the remedy.

    Library code raises it where the cause lies outside the program (a flag, a file, a folder); scripts print it and
    end with a status other than 0. Anything else that is raised is a defect of ours and keeps its traceback.
    """
