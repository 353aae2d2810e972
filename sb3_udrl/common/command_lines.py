"""What command lines say of themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def what_it_does(function: Callable[..., Any]) -> str:
    """
    The docstring of a function up to its parameters, as ``--help`` shows it.

    :param function: what the command line calls
    """
    return (inspect.getdoc(function) or "").partition("\n\n:")[0]
