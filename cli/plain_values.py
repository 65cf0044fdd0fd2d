"""Values of options without pydantic, whose import takes longer than all the rest of a start.

typer converts every value through pydantic, loaded at the first one. Commands here take text,
numbers, flags and paths; that much is converted below. A typer that no longer asks for
`_runtime_param` loses the speed and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

_NAMES: dict[Any, str] = {int: "whole number", float: "number"}
_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: bool,
    Path: Path,
}


class PlainValue:
    """Converts one parameter's value, or says what would have been right."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value in the parameter's type; a sequence where it may be given repeatedly."""
        if param.multiple or param.nargs == -1:
            return tuple(self._one(item, param, ctx) for item in value or ())
        return None if value is None else self._one(value, param, ctx)

    def _one(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            converted = _CONVERTERS[self._kind](value)
        except ValueError:
            text = f"{value!r} is no {_NAMES.get(self._kind, 'value')}."
            raise typer.BadParameter(text, ctx=ctx, param=param) from None
        if isinstance(converted, int | float):
            low = param.min if param.min is not None else -math.inf
            high = param.max if param.max is not None else math.inf
            if converted < low or converted > high:
                bounds = f"{low} or more" if high == math.inf else f"from {low} to {high}"
                text = f"{value} is out of range; give {bounds}."
                raise typer.BadParameter(text, ctx=ctx, param=param)
        return converted


def lighten(command: Any) -> None:
    """Let the command's parameters, and those of its commands, be converted here."""
    assert isinstance(command, TyperCommand | TyperGroup)
    for param in command.params:
        if not isinstance(param, TyperOption | TyperArgument):
            continue
        kind: Any = param.type_descriptor.annotation
        if param.type_descriptor.is_list:
            kind = get_args(kind)[0]
        if kind in _CONVERTERS:
            param._runtime_param = PlainValue(kind)  # type: ignore[assignment]
    if isinstance(command, TyperGroup):
        for below in command.commands.values():
            lighten(below)
