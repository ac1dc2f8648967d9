"""Settings of an outpost: `outpost.toml`, overlaid by OUTPOST_* variables, overlaid by command-line options. Read once.

Secrets never stand here: provider keys are files in ``secrets_dir``. Unknown keys are refused.
"""

import difflib
import errno
import ipaddress
import os
import re
import shlex
import socket
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from outpost.core.errors import OutpostError

ENVIRONMENT_PREFIX = "OUTPOST_"
DEFAULT_FILE = "outpost.toml"
DEFAULT_STATE = ".outpost"
# Not ours: Kubernetes writes the address of a service named outpost into variables of these names.
_FOREIGN_VARIABLES = re.compile(r"OUTPOST_(?:SERVICE_(?:HOST|PORT)|PORT_[0-9]+_(?:TCP|UDP))(?:_[A-Z0-9_]+)?$")
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_COMMANDS = re.compile(r"(?<!controlplane )\boutpost (?:run|status|enroll|doctor|verify-audit)\b(?! --state)")
MAX_FILE_BYTES = 64 * 1024  # an order of magnitude over every setting written out with comments
MAX_WORKERS = 64  # event loops; the largest hosts that we know of


class SettingsError(OutpostError):
    """A settings file or variable is not acceptable."""

    code = "settings.invalid"


class ListenError(SettingsError):
    """An address cannot be listened on."""

    code = "settings.listen"


class Settings(BaseModel):
    """What an outpost can be told. Every field has a safe default: new code runs with old files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Path = Field(default=Path(DEFAULT_STATE), description="folder for identity, cache and audit log")
    host: str = Field(
        default="127.0.0.1", description="address that clients connect to; other than loopback turns TLS on"
    )
    port: int = Field(
        default=8300, ge=0, le=65535, description="port of the OpenAI-compatible listener; 0 picks a free one"
    )
    tls: bool | None = Field(default=None, description="TLS on the listener; unset: on, except on loopback")
    tls_certificate_file: Path | None = Field(
        default=None, description="PEM chain; unset: a local CA is made in the state folder"
    )
    tls_key_file: Path | None = Field(default=None, description="PEM key of the chain")
    metrics_host: str = Field(default="127.0.0.1", description="address of the metrics and health listener")
    metrics_port: int = Field(
        default=9091,
        ge=0,
        le=65535,
        description="port of the metrics and health listener; 0 picks a free one",
    )
    workers: int = Field(
        default=1, ge=0, le=MAX_WORKERS, description="gateway processes; 0 runs everything in one process"
    )
    secrets_dir: Path | None = Field(
        default=None, description="folder of provider keys, one file each; unset: secrets in the state folder"
    )
    heartbeat_seconds: float = Field(default=10.0, gt=0, le=60, description="time between two status messages")
    canary_seconds: float = Field(default=60.0, gt=0, le=600, description="time between two canary prompts")
    reconnect_cap_seconds: float = Field(
        default=60.0, gt=0, le=300, description="longest wait between two connection attempts"
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least severe log line written"
    )

    def uses_tls(self) -> bool:
        """Whether the listener speaks TLS: unless said otherwise, on every address but loopback.

        Raises:
            SettingsError: TLS was switched off on an address that others can reach.
        """
        if self.tls is False and not is_loopback(self.host):
            raise SettingsError(
                "TLS can be off on loopback only: keys and prompts would cross the network in clear",
                field="tls",
                next_step="remove tls = false, or listen on 127.0.0.1",
            )
        return self.tls if self.tls is not None else not is_loopback(self.host)

    def secrets_folder(self) -> Path:
        """Where provider keys are."""
        return self.secrets_dir if self.secrets_dir is not None else self.state / "secrets"


def is_loopback(host: str) -> bool:
    """Whether an address stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def with_state(text: str, state: Path) -> str:
    """A text with our commands as they must be typed for a state folder; the default folder needs no option."""
    if state == Path(DEFAULT_STATE):
        return text
    return _COMMANDS.sub(lambda found: f"{found[0]} --state {shlex.quote(str(state))}", text)


def load(file: Path | None, options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Read, overlay, check.

    Args:
        file: settings file; None looks for ``outpost.toml`` in the working folder and does without it.
        options: command-line values; None entries do not count.
        environment: variables; the process's own when not given.

    Raises:
        SettingsError: unreadable file, unknown key or a value out of bounds; names the field, never the value.
    """
    values: dict[str, Any] = _read_file(file)
    source = dict.fromkeys(values, f"the file {file if file is not None else DEFAULT_FILE}")
    for key, text in (os.environ if environment is None else environment).items():  # noqa: TID251 - the one place
        if key.startswith(ENVIRONMENT_PREFIX) and not _FOREIGN_VARIABLES.match(key):
            name = key.removeprefix(ENVIRONMENT_PREFIX).lower()
            if name not in Settings.model_fields:
                raise SettingsError(f"the variable {key} is no setting", field=key, next_step=_nearest(name, key))
            values[name], source[name] = text, f"the variable {key}"
    for key, value in options.items():
        if value is not None:
            values[key], source[key] = value, f"the option --{key.replace('_', '-')}"
    return check(values, source)


def _nearest(name: str, key: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, 1)
    if near:
        written = near[0] if name == key else ENVIRONMENT_PREFIX + near[0].upper()
        return f"is {written} meant? `outpost config schema` shows the settings"
    return "remove it; `outpost config schema` shows the settings"


def check(values: Mapping[str, Any], source: Mapping[str, str] | None = None) -> Settings:
    """Checked settings from plain values.

    Args:
        values: by name.
        source: where each came from, for the message.

    Raises:
        SettingsError: names the field, the cause and where the value came from.
    """
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        came = (source or {}).get(str(first["loc"][0]) if first["loc"] else "", "")
        unknown = first["type"] == "extra_forbidden"
        step = _nearest(name, name) if unknown else "see `outpost config schema` for the settings"
        raise SettingsError(
            f"setting {name}: {'there is no such setting' if unknown else first['msg']}{came and f' (from {came})'}",
            field=name,
            next_step=step,
        ) from None


RUN_ELSEWHERE = "stop what uses the port, or choose another: outpost run --port PORT --metrics-port PORT"


@contextmanager
def listening(setting: str, host: str, port: int, next_step: str = RUN_ELSEWHERE) -> Iterator[None]:
    """Name the setting behind an address that cannot be bound.

    Raises:
        ListenError: the address is taken or is none of this machine.
    """
    try:
        yield
    except (OSError, OverflowError) as error:
        raise ListenError(
            f"{host}:{port} cannot be listened on: {_why_not(error)}", field=setting, next_step=next_step
        ) from error


def _why_not(error: OSError | OverflowError) -> str:
    if isinstance(error, OverflowError):
        return "a port is a number from 0 to 65535"
    if isinstance(error, socket.gaierror):
        return "the name has no address"
    return os.strerror(error.errno or errno.EINVAL)


def _read_file(file: Path | None) -> dict[str, Any]:
    path = file if file is not None else Path(DEFAULT_FILE)
    if file is None and not path.exists():
        return {}
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"the settings file is larger than {MAX_FILE_BYTES} bytes", field=str(path))
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"the settings file cannot be read: {error.strerror}",
            field=str(path),
            next_step="check the path and its rights",
        ) from error
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))  # the rest of its text may repeat what the file holds
        where = f" at line {place[1]}, column {place[2]}" if place else ""
        raise SettingsError(
            f"the settings file is no TOML{where}",
            field=str(path),
            next_step='correct that line: setting = value, and texts in "quotes"',
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(
            "the settings file is no TOML: it is not UTF-8", field=str(path), next_step="save the file as UTF-8"
        ) from None
