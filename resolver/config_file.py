"""The settings file: TOML text <-> the tree of resolver.config.

An unknown key, a wrong type or a value out of range is refused with the key's full name, the
value and the next step; nothing is guessed. The writer gives a fully commented file.
"""

from __future__ import annotations

import difflib
import json
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from protocol.errors import SettingsError
from resolver.config import FILE_NAME, Port, Settings
from resolver.setting import Pairs

_WIDTH = 88
OFF = "off"


def load_settings(folder: Path) -> Settings:
    """The settings of a node's folder. Raises SettingsError."""
    path = folder / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"{folder} is no node's folder: there is no {FILE_NAME} in it; "
            f"make one with `biaoshi init {folder} --role … --prefix …`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    return parse_settings(text, str(path))


def parse_settings(text: str, source: str = FILE_NAME) -> Settings:
    """TOML text as settings; what it leaves out has its default. Raises SettingsError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{source} is not TOML: {error}; mend that line") from None
    settings: Settings = _build(Settings, data, "", source)
    _check_together(settings, source)
    return settings


@lru_cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _build(kind: Any, data: Mapping[str, Any], path: str, source: str) -> Any:
    """One dataclass of the tree from one TOML table."""
    known = {item.name: item for item in fields(kind)}
    hints = _hints(kind)
    made: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{path}{key}"
        if key not in known:
            raise SettingsError(_unknown(name, key, list(known), path, source))
        if is_dataclass(hints[key]):
            if not isinstance(value, dict):
                raise SettingsError(f"{source}: {name} is a section; write it as [{name}]")
            made[key] = _build(hints[key], value, f"{name}.", source)
        else:
            made[key] = _checked(value, hints[key], known[key].metadata, name, source)
    return kind(**made)


def _unknown(name: str, key: str, known: list[str], path: str, source: str) -> str:
    what = "section" if not path else "setting"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
    return f"{source}: there is no {what} {name!r}; the nearest one is {path + near!r}"


def _checked(value: Any, kind: Any, rules: Mapping[str, Any], name: str, source: str) -> Any:
    """A value of its type and within its bounds."""
    where = f"{source}: {name}"
    if kind == Port:
        if value == OFF:
            return None
        if type(value) is not int:
            raise SettingsError(
                f'{where} = {_shown(value)} is neither a port number, 0 (any free one) nor "off"'
            )
    elif kind == Pairs:
        return _checked_pairs(value, rules, name, source)
    elif get_origin(kind) is tuple:
        return _checked_list(value, get_args(kind)[0], name, source)
    elif kind is float and type(value) is int:
        value = float(value)
    elif type(value) is not kind:
        raise SettingsError(f"{where} = {_shown(value)} is not {_WORDS[kind]}")
    if rules["choices"] and value not in rules["choices"]:
        raise SettingsError(
            f"{where} = {_shown(value)} is none of {', '.join(rules['choices'])}; write one of them"
        )
    least, most = rules["least"], rules["most"]
    if (least is not None and value < least) or (most is not None and value > most):
        upper = "" if most is None else f" and at most {most!r}"
        raise SettingsError(f"{where} = {value} is out of range: at least {least!r}{upper}")
    return value


_WORDS = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def _checked_list(value: Any, kind: type, name: str, source: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise SettingsError(f"{source}: {name} = {_shown(value)} is not a list in [ ]")
    for item in value:
        if type(item) is not kind:
            raise SettingsError(f"{source}: {name}: {_shown(item)} is not {_WORDS[kind]}")
    return tuple(value)


def _checked_pairs(
    value: Any, rules: Mapping[str, Any], name: str, source: str
) -> tuple[tuple[str, str], ...]:
    """A table of text, each value one of the choices."""
    if not isinstance(value, dict):
        raise SettingsError(
            f'{source}: {name} = {_shown(value)} is not a table; write {{ "88.1" = "…" }}'
        )
    text = {"choices": rules["choices"], "least": None, "most": None}
    return tuple(
        (key, _checked(item, str, text, f"{name}.{_key(key)}", source))
        for key, item in value.items()
    )


def _key(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _check_together(settings: Settings, source: str) -> None:
    """What a single field cannot know: addresses, networks, and fields that need each other."""
    node = settings.node
    if not node.prefix and node.role != "recursive":
        raise SettingsError(f"{source}: node.prefix is empty; only role recursive goes without one")
    if (node.role == "mirror") != bool(settings.mirror.of):
        raise SettingsError(f"{source}: mirror.of is for role mirror, which needs it")
    if "/" in node.prefix or node.prefix != node.prefix.strip():
        raise SettingsError(f"{source}: node.prefix = {node.prefix!r} is no prefix: write 88.118.8")
    _check_hosts(settings, source)
    networks = (
        ("outbound.allow", settings.outbound.allow),
        ("http.trusted_proxies", settings.http.trusted_proxies),
        ("http.metrics_networks", settings.http.metrics_networks),
    )
    for name, values in networks:
        for network in values:
            _network(network, f"{source}: {name}")
    _check_parent(node.parent, source)
    _check_ports(settings, source)


def _check_hosts(settings: Settings, source: str) -> None:
    node = settings.node
    if not node.hosts:
        raise SettingsError(f'{source}: node.hosts is empty; write ["127.0.0.1"]')
    for name, values in (("node.hosts", node.hosts), ("node.announce", node.announce)):
        seen = set()
        for host in values:
            address = _address(host, f"{source}: {name}")
            if address in seen:
                raise SettingsError(f"{source}: {name} names {host} twice; leave one out")
            seen.add(address)


def _check_parent(parent: str, source: str) -> None:
    if not parent:
        return
    try:
        parts = urlsplit(parent)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a broken [IPv6] address
        good = False
    if good and "@" in parts.netloc:
        raise SettingsError(
            f"{source}: node.parent holds a user name; an application needs none, leave it out"
        )
    if not good:
        raise SettingsError(
            f"{source}: node.parent = {parent!r} is no address; "
            "write http://HOST:PORT or https://HOST:PORT"
        )


def _check_ports(settings: Settings, source: str) -> None:
    """At least one face, and none on another's port: all of them take TCP."""
    taken: dict[int, str] = {}
    ports = {item.name: getattr(settings.faces, item.name) for item in fields(settings.faces)}
    for name, port in ports.items():
        if port and port in taken:
            raise SettingsError(
                f"{source}: faces.{taken[port]} and faces.{name} both have port {port}; "
                "give one of them another"
            )
        if port:
            taken[port] = name
    if all(port is None for port in ports.values()):
        raise SettingsError(f"{source}: every port under [faces] is off; set at least one")


def _address(host: str, where: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(host)
    except ValueError:
        raise SettingsError(
            f"{where}: {host!r} is no IP address; write 127.0.0.1, ::1, 0.0.0.0 or ::"
        ) from None


def _network(network: str, where: str) -> None:
    try:
        ip_network(network)
    except ValueError as error:
        raise SettingsError(
            f"{where}: {network!r} is no network ({error}); write 10.0.0.0/8"
        ) from None


def format_settings(settings: Settings) -> str:
    """The tree as TOML, each setting under its explanation. parse_settings reads it back."""
    lines = [
        "# Settings of a Biaoshi node. A line left out has the default shown by",
        "# `biaoshi init`; an unknown key is an error. `kill -HUP` of the node, or a restart,",
        "# reads this file again.",
    ]
    for part in fields(settings):
        section = getattr(settings, part.name)
        kind: type = type(section)
        lines += ["", "", *_comment(str(type(section).__doc__)), f"[{part.name}]"]
        for item in fields(section):
            lines += ["", *_comment(_explained(item.metadata))]
            pairs = _hints(kind)[item.name] == Pairs
            text = _toml_pairs if pairs else _toml
            lines.append(f"{item.name} = {text(getattr(section, item.name))}")
    return "\n".join(lines) + "\n"


def _explained(rules: Mapping[str, Any]) -> str:
    least, most = rules["least"], rules["most"]
    if most is None:
        return str(rules["help"])
    return f"{rules['help']} ({least!r} to {most!r})"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]


def _toml_pairs(pairs: Pairs) -> str:
    """A table on one line."""
    inner = ", ".join(f"{_key(key)} = {_toml(value)}" for key, value in pairs)
    return f"{{ {inner} }}" if inner else "{}"


def _toml(value: Any) -> str:
    """One value as TOML. JSON strings are valid basic strings of TOML, DEL excepted."""
    if value is None:
        return f'"{OFF}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
