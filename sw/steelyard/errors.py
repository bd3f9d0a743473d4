"""Errors that are the user's to mend."""


class UserError(ValueError):
    """Mistake in what the user gave: one sentence with the culprit, what is allowed and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class FileRefused(UserError):
    """Program or weight file that is truncated, altered, newer, or not one of ours."""


class DoesNotFit(UserError):
    """Network that needs more than a configuration has; the sentence says by how much."""
