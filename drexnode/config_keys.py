"""One configuration key as a value: its name, type and bounds, and how a given value is checked against them.

A key that does not exist is refused with the one that may have been meant.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, cast, get_args, get_origin

from drexnode.config_sections import SECTIONS
from primitives.errors import DrexError

Value = str | int | bool | tuple[str, ...]


class ConfigError(DrexError):
    """The configuration can't be used. Codes CONFIG_*; exit 3."""


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One declared key: `name` is `section.key`, `kind` is str, int, bool or list."""

    name: str
    section: str
    key: str
    kind: Literal["str", "int", "bool", "list"]
    default: Value
    help: str
    low: int | None
    high: int | None
    one_of: tuple[str, ...]

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return f"DREX_{self.section}_{self.key}".upper()


def _kind(annotation: object) -> Literal["str", "int", "bool", "list"]:
    if get_origin(annotation) is tuple and get_args(annotation)[0] is str:
        return "list"
    names: dict[object, Literal["str", "int", "bool"]] = {str: "str", int: "int", bool: "bool"}
    return names[annotation]


def _declared() -> Iterator[KeySpec]:
    for section, kind in SECTIONS.items():
        for item in fields(kind):
            meta = item.metadata
            yield KeySpec(
                f"{section}.{item.name}", section, item.name, _kind(item.type), cast(Value, item.default),
                meta["help"], meta["low"], meta["high"], meta["one_of"],
            )  # fmt: skip


KEYS: dict[str, KeySpec] = {spec.name: spec for spec in _declared()}


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def refuse_unknown(name: str, where: str, known: list[str]) -> ConfigError:
    return ConfigError("CONFIG_UNKNOWN_KEY", f"{where}: unknown key {name}{_suggest(name, known)}", key=name)


def check_value(spec: KeySpec, value: object, where: str) -> Value:
    """Check type and bounds of a value. Raises `ConfigError` CONFIG_BAD_VALUE."""
    wanted: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "list": (list, tuple)}
    wrong_bool = isinstance(value, bool) and spec.kind != "bool"
    if wrong_bool or not isinstance(value, wanted[spec.kind]):
        raise ConfigError(
            "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be {spec.kind}, not {value!r}", key=spec.name
        )
    if isinstance(value, list | tuple):
        if not all(isinstance(item, str) for item in value):
            raise ConfigError(
                "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be a list of strings", key=spec.name
            )
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool):
        low, high = spec.low, spec.high
        if (low is not None and value < low) or (high is not None and value > high):
            raise ConfigError(
                "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be {low} … {high}, not {value}", key=spec.name
            )
    if spec.one_of and value not in spec.one_of:
        allowed = ", ".join(spec.one_of)
        raise ConfigError(
            "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be one of {allowed}, not {value!r}", key=spec.name
        )
    return cast(Value, value)


def parse_text(spec: KeySpec, text: str, where: str) -> Value:
    """A value from a flag or the environment; lists are separated by commas. Raises `ConfigError`."""
    if spec.kind == "int":
        try:
            return check_value(spec, int(text.replace("_", "")), where)
        except ValueError:
            raise ConfigError(
                "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be int, not {text!r}", key=spec.name
            ) from None
    if spec.kind == "bool":
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigError(
                "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be true or false, not {text!r}", key=spec.name
            )
        return text.lower() in ("true", "1")
    if spec.kind == "list":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return check_value(spec, text, where)
