"""Globs of method names, as tokens, API keys and `rpc.public` hold them: `*` and `?` beside a name's letters.

A glob grants what it names, admin methods included: `drex_*` reads and sends, `*` is everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from drexnode.config import ConfigError

MAX_GLOBS = 64
_GLOB = re.compile(r"[A-Za-z0-9_.*?]{1,64}")


def check_globs(globs: Iterable[object], where: str) -> tuple[str, ...]:
    """The globs as a tuple. Raises `ConfigError` RPC_BAD_GLOB."""
    every = list(globs)
    given = tuple(glob for glob in every if isinstance(glob, str) and _GLOB.fullmatch(glob))
    bad = [glob for glob in every if glob not in given]
    if bad or len(given) > MAX_GLOBS:
        what = f"{str(bad[0])[:64]!r}" if bad else f"{len(given)} globs, at most {MAX_GLOBS},"
        message = f"{where}: {what} can't be used; a glob is a method's name, with * and ? for letters"
        raise ConfigError("RPC_BAD_GLOB", message, where=where)
    return given


def allows(globs: Iterable[str], method: str) -> bool:
    """True when one of them matches the whole name."""
    return any(fnmatchcase(method, glob) for glob in globs)
