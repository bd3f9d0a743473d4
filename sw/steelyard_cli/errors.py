"""Errors of the command line."""


class BadResult(Exception):
    """Run that went through with a result that is not good; exit status 1."""
