"""Torch networks that a user names on the command line."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from torch import nn

from steelyard import zoo
from steelyard._state import read_state
from steelyard.errors import UserError

__all__ = ["BUNDLED", "load_model"]

BUNDLED = "fashion"
VARIABLE = "model"


def load_model(name: str, weights: Path | None) -> nn.Module:
    """Network of a name in evaluation mode: the bundled one, a Python file's or a function's.

    Parameters
    ----------
    name : ``fashion``, ``FILE.py`` with a variable ``model``, or ``MODULE:FUNCTION``
    weights : state dictionary to load into it, .npz or a file of torch.save

    Raises
    ------
    UserError
        If there is no such network, its code fails, or the weights do not fit it.
    """
    if name == BUNDLED:
        return zoo.load(BUNDLED, weights)
    if name.endswith(".py"):
        model = _from_file(Path(name))
    elif ":" in name:
        model = _from_function(*name.split(":", 1))
    else:
        raise UserError(
            f"Model {name!r} is neither {BUNDLED!r}, a Python file nor MODULE:FUNCTION; give one "
            "of these."
        )
    if not isinstance(model, nn.Module):
        raise UserError(
            f"Model {name!r} is a {type(model).__name__} and must be a torch.nn.Module; "
            "return the network itself."
        )
    if weights is not None:
        _load_weights(model, weights)
    return model.eval()


def _from_file(path: Path) -> object:
    if not path.is_file():
        raise UserError(
            f"Model file {str(path)!r} does not exist; give a Python file that defines 'model'."
        )
    spec = importlib.util.spec_from_file_location("steelyard_user_model", path)
    if spec is None or spec.loader is None:
        raise UserError(f"Model file {str(path)!r} cannot be imported; give a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    _guarded(str(path), spec.loader.exec_module, module)
    if not hasattr(module, VARIABLE):
        raise UserError(
            f"Model file {str(path)!r} defines no variable {VARIABLE!r}; assign the network to it."
        )
    return getattr(module, VARIABLE)


def _from_function(module_name: str, function_name: str) -> object:
    # A module of the user's lies where the command is called, as for python -m.
    if "" not in sys.path:
        sys.path.insert(0, "")
    name = f"{module_name}:{function_name}"
    module = _guarded(name, importlib.import_module, module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(
            f"Module {module_name!r} has no function {function_name!r}; give MODULE:FUNCTION of "
            "one that returns the network."
        )
    return _guarded(name, function)


def _guarded(name: str, call: Any, *arguments: object) -> Any:
    """What `call` gives; what the user's own code raises becomes a sentence."""
    try:
        return call(*arguments)
    except Exception as error:  # Any error at all may come out of code that is not ours.
        reason = " ".join(str(error).split())
        raise UserError(
            f"Model {name!r} cannot be made, its code raised {type(error).__name__} ({reason}); "
            "mend it there."
        ) from error


def _load_weights(model: nn.Module, path: Path) -> None:
    advice = "give a state dictionary of this very network."
    try:
        model.load_state_dict(read_state(path))
    except FileNotFoundError:
        raise UserError(f"Weights {str(path)!r} do not exist; {advice}") from None
    except (OSError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(f"Weights {str(path)!r} cannot be loaded ({reason}); {advice}") from error
