"""Torch networks that a user names on the command line."""

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from steelyard import zoo
from steelyard.errors import UserError

from .weights import load_weights

__all__ = ["BUNDLED", "user_model"]

BUNDLED = "fashion"
VARIABLE = "model"
RUNNING = "steelyard_user_model"
"""Name of the module that a file is run as."""
FOREIGN = {
    ".onnx": "an ONNX file, which pruning cannot change; quantize it as it is with "
    "'steelyard quantize FILE --calibration X.npy -o Q.onnx', or give the Python file of the "
    "network",
    ".ipynb": "a notebook; turn it into a Python file with "
    "'jupyter nbconvert --to script FILE' and give that",
}
STATES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".npz", ".pt2")


@contextlib.contextmanager
def user_model(name: str, weights: Path | None) -> Iterator[nn.Module]:
    """Network of a name, with its weights loaded.

    Inside the block imports find what lies beside the network's file, or in the current folder for
    MODULE:NAME, since a forward may import too; behind it sys.path and sys.modules are as before.

    Parameters
    ----------
    name : ``fashion``, ``FILE.py`` with a variable ``model``, ``FILE.py:NAME`` or ``MODULE:NAME``,
        where NAME is a network or a function without arguments that returns one
    weights : file of weights to load into it

    Raises
    ------
    UserError
        If there is no such network, its code fails, or the weights do not fit it.
    """
    if name == BUNDLED:
        yield zoo.load(BUNDLED, weights)
        return
    place, attribute = _split(name)
    folder = place.resolve().parent if isinstance(place, Path) else Path.cwd()
    with _beside(folder), _uncompiled(), _without_remarks(), _settings() as reset:
        if isinstance(place, Path):
            made = _from_file(name, place, attribute)
        else:
            made = _from_module(name, place, attribute)
        reset()
        if not isinstance(made, nn.Module):
            raise UserError(_no_network(name, made))
        if weights is not None:
            load_weights(made, weights)
        yield made


def _split(name: str) -> tuple[Path | str, str | None]:
    """File or module, and the attribute that is asked for."""
    file, colon, attribute = name.rpartition(":")
    if name.endswith(".py"):
        return Path(name), None
    if colon and file.endswith(".py"):
        return Path(file), attribute
    if colon and attribute.isidentifier() and all(p.isidentifier() for p in file.split(".")):
        return file, attribute
    suffix = Path(name).suffix
    if suffix in FOREIGN:
        raise UserError(f"Model {name!r} is {FOREIGN[suffix].replace('FILE', name)}.")
    if suffix in STATES:
        raise UserError(
            f"Model {name!r} is a file of weights, which do not say what the network computes; "
            f"give the Python file that makes it, and the weights with --weights {name}."
        )
    raise UserError(
        f"Model {name!r} is neither {BUNDLED!r}, a Python file nor MODULE:FUNCTION; give one of "
        "these."
    )


def _from_file(name: str, path: Path, attribute: str | None) -> object:
    if not path.is_file():
        raise UserError(
            f"Model file {str(path)!r} does not exist; give a Python file that defines 'model'."
        )
    spec = importlib.util.spec_from_file_location(RUNNING, path)
    if spec is None or spec.loader is None:
        raise UserError(f"Model file {str(path)!r} cannot be imported; give a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[RUNNING] = module
    _guarded(name, _run_file, path, module)
    wanted = attribute or VARIABLE
    if not hasattr(module, wanted):
        found = [key for key, value in vars(module).items() if isinstance(value, nn.Module)]
        advice = (
            f"give {path}:{found[0]}"
            if found
            else "assign the network to it, outside of functions and of any 'if __name__' block"
        )
        raise UserError(f"Model file {str(path)!r} defines no variable {wanted!r}; {advice}.")
    made = getattr(module, wanted)
    return made if attribute is None else _called(name, made)


def _run_file(path: Path, module: ModuleType) -> None:
    # The source itself: bytecode beside it may be that of a version of the same second.
    source = path.read_bytes()
    exec(compile(source, str(path), "exec"), vars(module))


def _from_module(name: str, module_name: str, attribute: str | None) -> object:
    module = _guarded(name, importlib.import_module, module_name)
    made = getattr(module, str(attribute), None)
    if not callable(made):
        raise UserError(
            f"Module {module_name!r} has no function {attribute!r}; give MODULE:FUNCTION of "
            "one that returns the network."
        )
    return _called(name, made)


def _called(name: str, made: Any) -> object:
    """The network itself, or what a function of the user's returns."""
    return made if isinstance(made, nn.Module) or not callable(made) else _guarded(name, made)


def _no_network(name: str, made: object) -> str:
    if isinstance(made, type):
        return (
            f"Model {name!r} is the class {made.__name__}, a torch.nn.Module is needed; make one: "
            f"{VARIABLE} = {made.__name__}()."
        )
    if callable(made):
        return (
            f"Model {name!r} is a function, a torch.nn.Module is needed; call it: {VARIABLE} = "
            f"{getattr(made, '__name__', 'function')}()."
        )
    return (
        f"Model {name!r} is a {type(made).__name__} and must be a torch.nn.Module; "
        "return the network itself."
    )


def _guarded(name: str, call: Any, *arguments: object) -> Any:
    """What `call` gives; what the user's own code raises becomes a sentence."""
    arguments_before, folder = sys.argv, Path.cwd()
    sys.argv = [name]
    try:
        # Standard output belongs to the command line.
        with contextlib.redirect_stdout(sys.stderr):
            return call(*arguments)
    except (Exception, SystemExit) as error:  # Any error may come out of code that is not ours.
        raise UserError(
            f"Model {name!r} cannot be made, {_place(error)} raised {type(error).__name__} "
            f"({_reason(error)}); {_remedy(name, error)}."
        ) from error
    finally:
        sys.argv = arguments_before
        os.chdir(folder)


def _reason(error: BaseException) -> str:
    reason = " ".join(str(error).split()).rstrip(".")
    return reason if len(reason) <= 300 else f"{reason[:300]} ..."


def _place(error: BaseException) -> str:
    """Line of the user's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith("<") and not _is_library(f.filename)]
    return f"{Path(own[-1].filename).name} line {own[-1].lineno}" if own else "its code"


def _is_library(file: str) -> bool:
    libraries = (Path(__file__).parent, Path(torch.__file__).parents[1], Path(os.__file__).parent)
    return any(Path(file).is_relative_to(library) for library in libraries)


def _remedy(name: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"install {error.name!r}, or put it beside the file that imports it"
    if isinstance(error, FileNotFoundError):
        return (
            "call steelyard in the folder from which its paths start, or build them from __file__"
        )
    if isinstance(error, SystemExit):
        return (
            "make the network without reading the command line, under no condition that ends "
            "the program"
        )
    return "correct it there"


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Imports that find what lies in a folder, as where Python runs a file of it."""
    before, known = list(sys.path), dict(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
        for name, module in list(sys.modules.items()):
            if name == RUNNING or (name not in known and _lies_in(module, name, folder)):
                del sys.modules[name]


def _lies_in(module: ModuleType, name: str, folder: Path) -> bool:
    """Whether a module was found in the folder itself, not in an environment below it."""
    origin = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    if origin is None:
        return False
    top = name.partition(".")[0]
    path = Path(origin)
    return any(path.is_relative_to(folder / each) for each in (top, f"{top}.py"))


@contextlib.contextmanager
def _settings() -> Iterator[Callable[[], None]]:
    """Function that undoes what a user's file set for all of torch; called behind the block too."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()

    def reset() -> None:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(True)
        if torch.get_default_device().type != "cpu":
            torch.set_default_device(None)

    try:
        yield reset
    finally:
        reset()


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Keeps torch's warnings on the user's network off standard error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch(\.|$)")
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """torch.compile hands on what it is given: nothing would be gained, and no export traces it."""
    before = torch.compile

    def compile(model: Any = None, **_options: object) -> Any:
        return model if model is not None else lambda function: function

    torch.compile = compile
    try:
        yield
    finally:
        torch.compile = before
