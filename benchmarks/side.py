"""A process that measures one side of a comparison, so that the sides share neither memory nor threads."""

from __future__ import annotations

import json
import subprocess
import tempfile

from ccsn_tf.errors import UserError


class Side:
    """Runs a command that answers lines of JSON on its standard input with lines of JSON; a context manager.

    Args:
        name: of the side, for errors.
        command: program and arguments.

    Attributes:
        first: the line that the process writes when it is ready.

    Raises:
        UserError: the program cannot be started, or ends early.
    """

    def __init__(self, name: str, command: list[str]):
        self._name = name
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed on exit)
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log, text=True)
        except OSError as error:
            self._log.close()
            raise UserError(f"{name}: {command[0]} cannot be started ({error.strerror}).") from None

    def __enter__(self) -> Side:
        try:
            self.first = self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def ask(self, **question) -> dict:
        """Sends a question and waits for the answer."""
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            reason = (self._log.read().strip().splitlines() or ["it gives no reason"])[-1]
            raise UserError(f"{self._name} failed: {reason}")
        return json.loads(line)
