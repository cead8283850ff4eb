"""The reader of a config.json, which holds it to the table of fields (`harness.runtime.fields`).

A config is a JSON object of the OCI runtime-spec. `read` returns it, or raises ConfigError with one line that names the
field. What the runtime-spec knows and this runtime does not is refused: none of it is dropped in silence. What neither
knows is ignored, as the runtime-spec wants it (section Extensibility); who reads strictly is told of each, with the
nearest known name.
"""

import difflib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from harness.runtime.errors import BundleError, ConfigError
from harness.runtime.fields import BRANCHES, CLOSED, FOREIGN, KINDS, KNOWN, UNSUPPORTED
from harness.runtime.kinds import Kind, unfit

Config = dict[str, Any]
LARGEST = 64 << 20  # bytes of a config.json; nobody has written such a one by hand or by program
MOST_LISTED = 100  # unknown fields that are told of; to find out what was meant takes a while for each


def read(value: object, strict: bool = False) -> Config:
    """Hold a value to the table and return it as a config, without what the table does not know.

    Raises ConfigError for the first field that is not supported, of the wrong kind, or missing; where it is read
    strictly, with a line for each that would be ignored.
    """
    if not isinstance(value, dict):
        raise ConfigError(f"config.json: expected an object, found {_kind_of(value)}")
    unknown: list[str] | None = [] if strict else None
    config: Config = _walk(value, "", "", unknown)
    if unknown:
        raise ConfigError(*unknown)
    _demand(config)
    if strict and powerless(config):
        raise ConfigError(*powerless(config))
    return config


def read_file(path: Path, strict: bool = False) -> Config:
    """Read a config.json.

    Raises BundleError where the file cannot be read, ConfigError where it holds no config.
    """
    try:
        # A FIFO would have it wait for somebody who writes.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
                raise BundleError(f"read {path}: it is no file, or larger than {LARGEST >> 20} MiB")
            text = file.read()
    except OSError as error:
        raise BundleError(f"read {path}: {error.strerror}: a bundle is a directory with a config.json") from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_number)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    try:
        return read(value, strict)
    except ConfigError as error:
        lines = str(error).splitlines()
        raise ConfigError(*(line.replace("config.json", str(path), 1) for line in lines)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; a name that stands there twice would mean one thing to us and another to the next reader."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{_short(name)} stands twice in one object")
        found[name] = value
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number there")


def _number(digits: str) -> int | float:
    """Return a number; one with more digits than Python reads is out of every range, and as a float can be told so."""
    return int(digits) if len(digits) < sys.int_info.default_max_str_digits else float(digits)


def powerless(config: Config) -> list[str]:
    """Return a line for each ambient capability that the kernel will not let be one: capabilities(7).

    `runc spec` writes such configs, and runc runs them with a warning, so they are no error.
    """
    sets = config["process"].get("capabilities", {})
    possible = {*sets.get("permitted", [])} & {*sets.get("inheritable", [])}
    return [
        f"config.json: process.capabilities.ambient[{index}]: {name} is left out: only what is permitted and "
        "inheritable too can be ambient; capabilities(7)"
        for index, name in enumerate(sets.get("ambient", []))
        if name not in possible
    ]


def namespaces(config: Config) -> set[str]:
    """Return the types of the namespaces that the config asks for, new or joined."""
    return {entry["type"] for entry in config.get("linux", {}).get("namespaces", [])}


def joined(config: Config) -> dict[str, str]:
    """Return the paths of the namespaces that are there already and are to be joined, by type."""
    entries = config.get("linux", {}).get("namespaces", [])
    return {entry["type"]: entry["path"] for entry in entries if "path" in entry}


def own(config: Config) -> set[str]:
    """Return the types of the namespaces that are made for the container."""
    return namespaces(config) - set(joined(config))


def _walk(value: Any, path: str, shown: str, unknown: list[str] | None) -> Any:
    """Return a value without what the table does not know, for which there is a line in `unknown` if that is a list."""
    if path in UNSUPPORTED:
        raise ConfigError(f"config.json: {shown}: this runtime does not support it; {UNSUPPORTED[path]}")
    if path in FOREIGN:
        raise ConfigError(f"config.json: {shown}: is for another system than Linux; take it out")
    kind = KINDS.get(path)
    if kind is not None:
        _hold(value, kind, shown)
        return value
    if f"{path}[]" in KINDS or f"{path}[]" in BRANCHES:
        if not isinstance(value, list):
            raise ConfigError(f"config.json: {shown}: expected a list, found {_kind_of(value)}")
        return [_walk(item, f"{path}[]", f"{shown}[{index}]", unknown) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        raise ConfigError(f"config.json: {shown}: expected an object, found {_kind_of(value)}")
    dot = "." if path else ""
    free = f"{path}.*" in KINDS or f"{path}.*" in BRANCHES
    kept = {}
    for key, item in value.items():
        inner, inner_shown = f"{path}{dot}{'*' if free else key}", f"{shown}{dot}{_short(key) or '(nothing)'}"
        if free and (reason := unfit(key)):
            raise ConfigError(f"config.json: {inner_shown}: the name has {reason}")
        if inner in KNOWN and (free or not set(".[*") & set(key)):
            kept[key] = _walk(item, inner, inner_shown, unknown)
            continue
        if path in CLOSED:
            raise ConfigError(_complaint(inner, inner_shown))
        if unknown is not None:
            if len(unknown) == MOST_LISTED:
                raise ConfigError(*unknown, f"config.json: there are more than {MOST_LISTED} unknown fields in it")
            unknown.append(_complaint(inner, inner_shown))
    return kept


def _complaint(path: str, shown: str) -> str:
    """Return the line about a field that is not known."""
    near = difflib.get_close_matches(path, KNOWN, 1)
    return f"config.json: {shown}: unknown field{f'; did you mean {near[0]}?' if near else ''}"


def _hold(value: object, kind: Kind, shown: str) -> None:
    """Hold one value to its kind. Raises ConfigError."""
    if kind.accepts(value):
        return
    if isinstance(value, str) and (reason := unfit(value)):
        raise ConfigError(f"config.json: {shown}: {_kind_of(value)} has {reason}")
    hint = kind.hint(value)
    raise ConfigError(
        f"config.json: {shown}: expected {kind.expected}, found {_kind_of(value)}"
        f"{f'; did you mean {hint}?' if hint else ''}"
    )


def _demand(config: Config) -> None:
    """Hold the config to what no single field can say."""
    if not config.get("root", {}).get("path"):
        raise ConfigError("config.json: root.path: missing; it names the directory that becomes /")
    if not config.get("process", {}).get("args"):
        raise ConfigError("config.json: process.args: missing; it names the program to run")
    wanted = [entry.get("type") for entry in config.get("linux", {}).get("namespaces", [])]
    if None in wanted:
        raise ConfigError("config.json: linux.namespaces: an entry has no type")
    for name in wanted:
        if wanted.count(name) > 1:
            raise ConfigError(f"config.json: linux.namespaces: {name} is listed twice")
    if "mount" not in wanted:
        raise ConfigError(
            "config.json: linux.namespaces: mount is missing; without it the host's own mounts would change"
        )
    if "mount" in joined(config):
        raise ConfigError(
            "config.json: linux.namespaces: mount: joining one by path is not supported: pivot_root(2) would move the "
            "root of everybody in it; leave path out"
        )
    for field, kind in (("hostname", "uts"), ("domainname", "uts")):
        if config.get(field) and kind not in wanted:
            raise ConfigError(
                f"config.json: {field}: needs a namespace of type {kind}; without it the host would be renamed"
            )
        if len(config.get(field, "").encode()) > 64:
            raise ConfigError(f"config.json: {field}: longer than the 64 bytes that the kernel takes")
    linux = config.get("linux", {})
    if linux.get("timeOffsets") and "time" not in own(config):
        raise ConfigError("config.json: linux.timeOffsets: needs a new namespace of type time, for others keep theirs")
    if config.get("annotations", {}).get("isoproof.init") not in (None, "true", "false"):
        raise ConfigError("config.json: annotations.isoproof.init: expected the text true or false")
    for field in ("uidMappings", "gidMappings"):
        if "user" in own(config) and not linux.get(field):
            raise ConfigError(
                f"config.json: linux.{field}: missing; a user namespace needs uidMappings and gidMappings"
            )
        if "user" not in own(config) and linux.get(field):
            raise ConfigError(f"config.json: linux.{field}: has no effect without a new namespace of type user")
    for point, entries in config.get("hooks", {}).items():
        for index, hook in enumerate(entries):
            if "path" not in hook:
                raise ConfigError(f"config.json: hooks.{point}[{index}].path: missing; it names the program to run")
    if linux.get("resources", {}).get("memory", {}).get("useHierarchy") is False:
        field = "config.json: linux.resources.memory.useHierarchy"
        raise ConfigError(f"{field}: since Linux 5.11 inner cgroups always count; leave it out")
    for index, cable in enumerate(linux.get("veth", [])):
        if not {"name", "hostName"} <= set(cable):
            raise ConfigError(f"config.json: linux.veth[{index}]: needs name and hostName")
    for index, mount in enumerate(config.get("mounts", [])):
        if "destination" not in mount:
            raise ConfigError(f"config.json: mounts[{index}].destination: missing")
    for index, limit in enumerate(config.get("process", {}).get("rlimits", [])):
        if set(limit) != {"type", "soft", "hard"}:
            raise ConfigError(f"config.json: process.rlimits[{index}]: needs type, soft and hard")
        if limit["soft"] > limit["hard"]:
            raise ConfigError(f"config.json: process.rlimits[{index}].soft: above the hard limit")
    for path, keys in (
        ("process.scheduler", ["policy"]),
        ("process.ioPriority", ["class", "priority"]),
        ("linux.personality", ["domain"]),
        ("linux.memoryPolicy", ["mode"]),
    ):
        part, name = path.split(".")
        found = config.get(part, {}).get(name)
        if found is not None and not set(keys) <= set(found):
            raise ConfigError(f"config.json: {path}: needs {' and '.join(keys)}")
    owners = [("linux", linux), *((f"mounts[{at}]", mount) for at, mount in enumerate(config.get("mounts", [])))]
    for owner, part in owners:
        for kind in ("uidMappings", "gidMappings"):
            for index, entry in enumerate(part.get(kind, [])):
                if set(entry) != {"containerID", "hostID", "size"}:
                    raise ConfigError(f"config.json: {owner}.{kind}[{index}]: needs containerID, hostID and size")


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    try:
        return _short(json.dumps(value))
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"  # only Python has such values, and integers that it does not write out


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
