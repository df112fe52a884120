"""Builds models from parsed manifests, and turns pydantic's errors into ManifestErrors with file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from bb_jupyter.errors import ManifestError, did_you_mean
from bb_jupyter.manifest.parse import Document, Loc, kind_of
from bb_jupyter.text.visible import quoted

M = TypeVar("M", bound=BaseModel)

# The loader's own fields: no key of a manifest.
GIVEN = frozenset({"name", "origin", "path", "prompt"})
_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
}
# Types whose values cannot be a secret in the wrong place, so that a message may show them.
_SHOWABLE = ("bool", "int", "float", "finite")


def build(model: type[M], document: Document, given: Mapping[str, object], *, base: Path) -> M:
    """Make the model of a document.

    Args:
        model: the bottle's or the agent's.
        document: its keys.
        given: the loader's fields: name, origin, path and the text below the frontmatter.
        base: the folder that relative paths start from.

    Raises:
        ManifestError: for the first thing that is wrong, in the order of the file.
    """
    data = dict(document.data)
    declared = data.pop("name", given["name"])
    if declared != given["name"]:
        raise document.error(f"is {quoted(declared)} here and '{given['name']}' outside", ("name",), "Leave it out.")
    if surplus := GIVEN & data.keys():
        raise _unknown(model, document, (min(surplus),))
    try:
        return model.model_validate({**given, **data}, context={"base": base})
    except ValidationError as error:
        raise explained(model, document, error) from None


def explained(model: type[BaseModel], document: Document, error: ValidationError) -> ManifestError:
    """Return the first of pydantic's errors, in the order of the file, as a ManifestError."""
    # A missing key comes last on its line: an unknown one beside it may be the same key, misspelt.
    items = sorted((dict(item) for item in error.errors(include_url=False)), key=lambda item: item["type"] == "missing")
    return min((_one(model, document, item) for item in items), key=lambda one: one.line or 0)


def _one(model: type[BaseModel], document: Document, item: dict[str, Any]) -> ManifestError:
    loc: Loc = tuple(part for part in item["loc"] if part != "[key]")
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(model, document, loc)
    if kind == "missing":
        return document.error("is required", loc)
    if kind == "value_error":
        message, _, hint = str(context["error"]).partition("\n")
        return document.error(message, loc, hint)
    if kind == "literal_error":
        hint = did_you_mean(value, _choices(context["expected"])) if isinstance(value, str) else ""
        return document.error(f"expected {context['expected']}, got {_seen(kind, value)}", loc, hint)
    if kind in _EXPECTED:
        return document.error(f"expected {_EXPECTED[kind]}, got {_seen(kind, value)}", loc)
    return document.error(item["msg"].replace("Input should", "must"), loc)


def _seen(kind: str, value: object) -> str:
    readable = kind.startswith(_SHOWABLE) or kind == "literal_error"
    return quoted(value) if readable and not isinstance(value, Mapping | list | tuple | None) else kind_of(value)


def _choices(expected: str) -> list[str]:
    return [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]


def _unknown(model: type[BaseModel], document: Document, loc: Loc) -> ManifestError:
    return document.error("unknown key", loc, did_you_mean(str(loc[-1]), known_keys(model, loc[:-1])))


def known_keys(model: type[BaseModel], loc: Loc = ()) -> set[str]:
    """Return the keys that a manifest may have at *loc*, a place that holds a part with fixed keys."""
    part: Any = model
    for step in loc:
        arguments = get_args(part)
        part = part.model_fields[_field(part, str(step))].annotation if _is_model(part) else arguments[-1]
        if isinstance(step, int):
            part = arguments[0]
        part = _stripped(part)
    own = GIVEN if part is model else set()
    return {field.alias or name for name, field in part.model_fields.items() if name not in own}


def _is_model(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _field(part: type[BaseModel], key: str) -> str:
    return next(name for name, field in part.model_fields.items() if key in (name, field.alias))


def _stripped(part: object) -> object:
    """Take off ``Annotated[...]`` and ``... | None``."""
    while hasattr(part, "__metadata__") or type(None) in get_args(part):
        part = next(argument for argument in get_args(part) if argument is not type(None))
    return part
