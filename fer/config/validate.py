"""One-line error messages for pydantic validation errors: file, key, problem, valid choices."""

import difflib
import types
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fer.errors import CallerError

Model = TypeVar("Model", bound=BaseModel)
MAX_SHOWN = 3


def validate(model: type[Model], tree: Any, place: str) -> Model:
    """Return `tree` as an instance of `model`.

    Raises:
        CallerError: names `place` (the file), each wrong key and the valid choices.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        problems = [_sentence(model, problem) for problem in error.errors()]
        unique = list(dict.fromkeys(problems))
        more = f" (and {len(unique) - MAX_SHOWN} more)" if len(unique) > MAX_SHOWN else ""
        raise CallerError(f"{place}: {'; '.join(unique[:MAX_SHOWN])}{more}") from None


def _sentence(model: type[BaseModel], problem: Any) -> str:
    location = [part for part in problem["loc"] if not str(part).startswith("function-")]
    key = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_known_keys(model, location)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"the key '{key}' is missing"
    shown = repr(problem.get("input"))
    found = f", found {shown}" if len(shown) < 60 and problem["type"] != "value_error" else ""
    return f"{key}: {message}{found}" if key else message


def _known_keys(model: type[BaseModel], location: list[Any]) -> str:
    owner = _model_at(model, location[:-1])
    if owner is None:
        return ""
    names = sorted(field.alias or name for name, field in owner.model_fields.items())
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    guess = f" (did you mean '{close[0]}'?)" if close else ""
    return f"{guess}; valid keys: {', '.join(names)}"


def _model_at(model: type[BaseModel] | None, location: list[Any]) -> type[BaseModel] | None:
    """Return the model with the keys at `location`, inside containers and unions too."""
    for part in location:
        if model is None:
            return None
        by_name = {field.alias or name: field for name, field in model.model_fields.items()}
        if part in by_name:
            inner = _models_in(by_name[part].annotation)
            model = inner[0] if inner else None
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) or isinstance(annotation, types.UnionType):
        return [found for part in typing.get_args(annotation) for found in _models_in(part)]
    return []
