"""Settings of a control plane: ``controlplane.toml`` in the state directory, overlaid by CONTROLPLANE_* variables.

Read once, by ``bootstrap``. Unknown keys are refused, and no error shows a value.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from certs.errors import TrustError
from certs.join_token import split_endpoint
from certs.spiffe import require_trust_domain
from controlplane.domain.errors import ConfigurationError
from controlplane.domain.throttle import CONNECTS_PER_SECOND

PREFIX = "CONTROLPLANE_"
FILE_NAME = "controlplane.toml"
MAX_FILE_BYTES = 64 * 1024  # ours has a few hundred
MAX_HOSTS = 15  # of one server certificate; certs.profiles.MAX_DNS_NAMES is 16
MAX_SYNC_ENDPOINTS = 8  # sync.proto: Endpoints.sync
LISTS = frozenset({"hosts", "sync_endpoints"})  # written with commas in a variable
# Variables of the command line: where it finds the file, and how it reaches an API; the setting ``api`` has none.
NOT_SETTINGS = frozenset({"state", "api", "token_file", "ca_file", "session"})


class SettingsError(ConfigurationError):
    """A setting that cannot be used."""

    code = "settings.invalid"


class Settings(BaseModel):
    """All settings, with safe defaults: new code runs with an old file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    trust_domain: str = Field("outpost.internal", description="SPIFFE trust domain; fixed at init")
    hosts: tuple[str, ...] = Field(
        ("127.0.0.1", "localhost"), max_length=MAX_HOSTS, description="names in the server certificate"
    )
    listen: str = Field("127.0.0.1", description="address of both listeners")
    enroll_port: int = Field(8443, ge=0, le=65535, description="enrollment, server TLS; 0 = any free port")
    grpc_port: int = Field(8444, ge=0, le=65535, description="outposts, mTLS; 0 = any free port")
    api: bool = Field(True, description="serve the admin API")
    api_port: int = Field(8100, ge=0, le=65535, description="admin API over HTTPS; 0 = any free port")
    api_certificate_file: str = Field("", description="PEM chain of the admin API; empty = the control plane's own")
    api_key_file: str = Field("", description="PEM key of that chain")
    enroll_endpoint: str = Field("", description="host:port that join tokens carry; empty = first host and the port")
    sync_endpoint: str = Field("", description="host:port that outposts call; empty = first host and the port")
    sync_endpoints: tuple[str, ...] = Field(
        (),
        max_length=MAX_SYNC_ENDPOINTS,
        description="host:port of every replica, told to outposts; empty = those in the database",
    )
    connect_rate: int = Field(
        CONNECTS_PER_SECOND, ge=1, le=100_000, description="streams that this replica takes in any one second"
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="least severe log line")
    status_write_seconds: int = Field(5, ge=1, le=3600, description="heartbeats of one outpost are stored this often")
    database_url_file: str = Field("", description="file with the PostgreSQL URL; empty = SQLite in the state folder")
    database_pool: int = Field(10, ge=2, le=500, description="most connections of one replica to PostgreSQL")
    kek_file: str = Field(
        "", description="key-encryption key, the same at every replica; empty = kek in the state folder"
    )

    pkcs11_module: str = Field("", description="PKCS#11 library that holds the CA keys; empty = sealed in the vault")
    pkcs11_token: str = Field("", description="label of the token")
    pkcs11_pin_file: str = Field("", description="private file with the PIN of the token's user")
    ingress: bool = Field(default=False, description="an ingress that proves itself may pass certificates on")

    @field_validator("trust_domain")
    @classmethod
    def _trust_domain(cls, value: str) -> str:
        return _plain(require_trust_domain, value)

    @field_validator("enroll_endpoint", "sync_endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if value:
            _plain(split_endpoint, value)
        return value

    @field_validator("sync_endpoints")
    @classmethod
    def _endpoints(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            _plain(split_endpoint, each)
        return value


def load(folder: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a state directory.

    Args:
        folder: the state directory.
        environment: variables; the process's own when None.

    Raises:
        SettingsError: unreadable, unknown key or bad value; the message names the key and never the value.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise SettingsError(
            f"{folder} is not the state directory of a control plane: it has no {FILE_NAME}",
            field="state",
            next_step="make one: controlplane init, or name another with --state",
        )
    variables = os.environ if environment is None else environment  # noqa: TID251 -- settings are the one reader
    values: dict[str, Any] = {**_read(path), **_overlay(variables)}
    return checked(values)


def checked(values: Mapping[str, Any]) -> Settings:
    """Settings from raw values. Raises SettingsError."""
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"the setting {field} is not usable: {first['msg']}",
            field=field,
            next_step=f"correct it in {FILE_NAME} or in {PREFIX}{field.upper()}",
        ) from None


def listen_for(hosts: Sequence[str]) -> str:
    """The address that ``init`` writes for ``listen``: all addresses as soon as a host is not of this machine alone."""
    if all(host == "localhost" or _is_loopback(host) for host in hosts):
        return "127.0.0.1"
    return "::" if ":" in hosts[0] else "0.0.0.0"  # noqa: S104 -- outposts call from elsewhere; both listeners use TLS


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False  # a name


def render(settings: Settings) -> str:
    """The file that ``init`` writes."""
    lines = ["# Settings of this control plane; every key may be overlaid by CONTROLPLANE_<KEY>.", ""]
    for name, info in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, tuple):
            text = "[" + ", ".join(f'"{item}"' for item in value) + "]"
        else:
            text = f'"{value}"' if isinstance(value, str) else str(value).lower()  # TOML writes true and false
        lines.append(f"{name} = {text}  # {info.description}")
    return "\n".join(lines) + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_FILE_BYTES:
            raise SettingsError(f"{FILE_NAME} has more than {MAX_FILE_BYTES} bytes", field=FILE_NAME)
        return tomllib.loads(raw.decode("utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        place = f" ({error})" if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise SettingsError(
            f"{FILE_NAME} cannot be read{place}", field=FILE_NAME, next_step="correct the file; it is TOML"
        ) from None


def _overlay(variables: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in variables.items():
        key = name.removeprefix(PREFIX).lower()
        if not name.startswith(PREFIX) or key in NOT_SETTINGS:
            continue
        if key not in Settings.model_fields:
            raise SettingsError(
                f"the variable {name} is no setting", field=name, next_step="unset it, or correct its name"
            )
        found[key] = tuple(text.split(",")) if key in LISTS else text
    return found


def _plain(check: Any, value: str) -> str:
    try:
        check(value)
    except TrustError as error:
        raise ValueError(error.message) from None
    return value
