"""HTML pages from the templates beside this file."""

from typing import Any

import jinja2

__all__ = ["rendered"]


def rendered(template: str, **values: Any) -> str:
    """Page of a template, what it is given escaped; a name that it is not given is an error.

    Parameters
    ----------
    template : its file's name

    Raises
    ------
    jinja2.UndefinedError
        If the template names something else.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**values)
