"""Where values come from and go to: `drexnode.toml`, read and written, and `DREX_*` of the environment."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from drexnode.config_keys import KEYS, ConfigError, Value, check_value, parse_text, refuse_unknown
from drexnode.config_sections import SECTIONS

_VARIABLES = {spec.variable: spec for spec in KEYS.values()}
# Read by the command line and for tests of crashes and clocks; no configuration keys.
_OTHER_VARIABLES = frozenset(
    {
        "DREX_HOME",
        "DREX_DIR",
        "DREX_RPC",
        "DREX_TOKEN",
        "DREX_TOKEN_FILE",
        "DREX_CA_FILE",
        "DREX_CLIENT_CERT",
        "DREX_FAILPOINT",
        "DREX_KEYSTORE",
        "DREX_ADDRESS_BOOK",
        "DREX_TEST_CLOCK_OFFSET_MS",
    }
)


def read_file(path: Path) -> dict[str, Value]:
    """Keys of one `drexnode.toml`. Raises `ConfigError` CONFIG_UNREADABLE, CONFIG_UNKNOWN_KEY,
    CONFIG_BAD_VALUE.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError("CONFIG_UNREADABLE", f"{path}: {error.strerror}", path=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("CONFIG_UNREADABLE", f"{path}: not TOML: {error}", path=str(path)) from None
    found: dict[str, Value] = {}
    for section, table in document.items():
        if section not in SECTIONS or not isinstance(table, dict):
            raise refuse_unknown(section, str(path), [*SECTIONS, *KEYS])
        for key, value in table.items():
            name = f"{section}.{key}"
            if name not in KEYS:
                raise refuse_unknown(name, str(path), list(KEYS))
            found[name] = check_value(KEYS[name], value, str(path))
    return found


def read_environment(environment: Mapping[str, str]) -> dict[str, Value]:
    """Keys from `DREX_<SECTION>_<KEY>`. Raises `ConfigError` CONFIG_UNKNOWN_KEY, CONFIG_BAD_VALUE."""
    found: dict[str, Value] = {}
    for variable in sorted(environment):
        if not variable.startswith("DREX_") or variable in _OTHER_VARIABLES:
            continue
        if variable not in _VARIABLES:
            raise refuse_unknown(variable, "environment", [*_VARIABLES, *_OTHER_VARIABLES])
        spec = _VARIABLES[variable]
        found[spec.name] = parse_text(spec, environment[variable], f"environment {variable}")
    return found


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def render_file(chosen: Mapping[str, Value]) -> str:
    """A whole `drexnode.toml`: chosen keys set, every other one shown as a comment with its default and
    help.
    """
    lines = ["# drexnode configuration. Precedence: flag > DREX_* environment > this file > default."]
    for section, kind in SECTIONS.items():
        lines += ["", f"# {(kind.__doc__ or '').strip()}", f"[{section}]"]
        for spec in KEYS.values():
            if spec.section == section:
                value = chosen.get(spec.name)
                line = f"{spec.key} = {_toml(spec.default if value is None else value)}"
                lines.append(f"{line if value is not None else '# ' + line}  # {spec.help}")
    return "\n".join(lines) + "\n"
