"""Errors that are the user's to fix."""

from collections.abc import Mapping, Sequence


class UserError(ValueError):
    """Mistake in what the user gave: one sentence with the culprit, what is allowed and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class FileRefused(UserError):
    """Program or weight file that is truncated, altered, of another version, or not one of ours."""


class DoesNotFit(UserError):
    """Network that needs more than a configuration has; the sentence says by how much.

    Parameters
    ----------
    problem : what does not fit, with the amounts
    advice : what to do
    needs : fields of the configuration with the least values that would do, if those help
    """

    def __init__(self, problem: str, advice: str = "", needs: Mapping[str, int] | None = None):
        super().__init__(f"{problem}; {advice}" if advice else problem)
        self.problem = problem
        self.needs = dict(needs or {})


class Obstacles(UserError):
    """Everything that keeps a network from running, each in a sentence.

    Parameters
    ----------
    what : the network, as sentences begin
    sentences : one or more, each with the culprit, what is allowed and what to do
    """

    def __init__(self, what: str, sentences: Sequence[str]) -> None:
        lines = "".join(f"\n- {each}" for each in sentences)
        several = f"{what} cannot run for {len(sentences)} reasons:{lines}"
        super().__init__(sentences[0] if len(sentences) == 1 else several)
        self.sentences = tuple(sentences)
