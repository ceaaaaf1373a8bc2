"""Configs: frozen dataclasses that check their values, nested ones too, against their annotations."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from coursework.errors import ConfigError

C = TypeVar("C")
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]  # a part of a whole, never all of it
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass_transform(frozen_default=True)
def config(cls: type[C]) -> type[C]:
    """Make a frozen dataclass that is checked when it is built: :class:`ConfigError` in one wording."""
    checked: Any = dataclass(frozen=True, config={"extra": "forbid"})(cls)
    build = checked.__init__

    def __init__(self: Any, *args: Any, **values: Any) -> None:
        try:
            build(self, *args, **values)
        except ValidationError as error:
            raise ConfigError(_sentence(error)) from None

    checked.__init__ = __init__
    return checked


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    if first["type"] in ("missing", "missing_argument"):
        return f"{where} is missing."
    if first["type"] == "unexpected_keyword_argument":
        return f"There is no field {where!r} in this config."
    if first["type"] == "value_error":  # raised by a check of the config's own
        return str(first["ctx"]["error"])
    said = first["msg"].removeprefix("Input ").removeprefix("Tuple ")
    return f"{where} is {first['input']!r}; it {said}."


def override(config: C, assignments: Sequence[str]) -> C:
    """A copy with ``plan.epochs=3`` and such applied: dots reach into groups; commas make tuples, or
    semicolons where an item holds a comma."""
    values = dataclasses.asdict(config)  # type: ignore[call-overload]
    for assignment in assignments:
        key, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals or not key:
            raise ConfigError(f"--set takes key=value, not {assignment!r}.")
        *path, last = key.split(".")
        group: Any = values
        for name in path:
            group = group.get(name) if isinstance(group, dict) else None
        if not isinstance(group, dict) or last not in group:
            known = ", ".join(group if isinstance(group, dict) else values)
            raise ConfigError(f"There is no key {key!r}; choose from {known}.")
        if isinstance(group[last], dict) and text.lower() != "none":
            parts = ", ".join(f"{key}.{name}" for name in group[last])
            raise ConfigError(f"{key} is a group of keys; set one of {parts}.")
        listed = isinstance(group[last], tuple | list)
        items = [part.strip() for part in text.split(";" if ";" in text else ",") if part.strip()]
        group[last] = None if text.lower() == "none" else items if listed else text
    return type(config)(**values)


def as_record(config: Any) -> dict[str, Any]:
    """A config as plain JSON values; calling its class with them builds it again."""
    found: dict[str, Any] = TypeAdapter(Any).dump_python(config, mode="json")
    return found
