"""No record has a type that makes msgspec 0.22 write past its memory.

Such a type is a union of a tuple of fixed length with another member that has a bound (length or value).
Making its decoder is already harmful, so the types are looked at without msgspec. Found by `test_garbage`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

ROOMS = ("primitives", "consensus", "ledger", "storage")


def _struct_types() -> list[type[msgspec.Struct]]:
    """Every record class of the rooms whose decoders read what others wrote."""
    found: set[type[msgspec.Struct]] = set()
    for room in ROOMS:
        package = importlib.import_module(room)
        for entry in pkgutil.walk_packages(package.__path__, f"{room}."):
            for value in vars(importlib.import_module(entry.name)).values():
                if isinstance(value, type) and issubclass(value, msgspec.Struct):
                    found.add(value)
    return sorted(found, key=lambda found_type: (found_type.__module__, found_type.__name__))


def _inner(annotation: Any) -> Iterator[Any]:
    """An annotation and all annotations within it."""
    yield annotation
    for part in get_args(annotation):
        yield from _inner(part)


def _members(annotation: Any) -> Iterator[Any]:
    """The members of a union, of unions within it too."""
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _members(part)
    else:
        yield annotation


def _is_fixed_tuple(annotation: Any) -> bool:
    return get_origin(annotation) is tuple and Ellipsis not in get_args(annotation)


def _is_corrupting(annotation: Any) -> bool:
    members = list(_members(annotation))
    has_bound = any(get_origin(member) is Annotated for member in members)
    return len(members) > 1 and has_bound and any(map(_is_fixed_tuple, members))


def test_the_dangerous_shape_is_recognised() -> None:
    bounded = Annotated[bytes, msgspec.Meta(max_length=4)]
    assert _is_corrupting(bounded | tuple[int, bytes] | None)
    assert not _is_corrupting(bytes | tuple[int, bounded] | None)
    assert not _is_corrupting(bounded | tuple[int, ...])
    assert not _is_corrupting(bounded | None)


@pytest.mark.parametrize(
    "record", _struct_types(), ids=lambda record: f"{record.__module__}.{record.__name__}"
)
def test_no_record_has_the_dangerous_shape(record: type[msgspec.Struct]) -> None:
    for name, annotation in get_type_hints(record, include_extras=True).items():
        assert not any(map(_is_corrupting, _inner(annotation))), name
