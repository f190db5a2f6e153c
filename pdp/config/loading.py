"""Reads the settings and judges them, once, before anything starts.

Every problem is found and all of them are told at once. Unknown keys and
unknown `PDP_*` variables are refused: a setting that is misspelt is a setting
that is not in force.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from pdp.audit.budget import SpoolLimits
from pdp.audit.entry import Capture
from pdp.audit.log import PdpId
from pdp.boundary import InputLimits
from pdp.bundle.settings import BundleSettings
from pdp.cel.limits import EvaluationLimits
from pdp.config.document import (
    ENVIRONMENT_PREFIX,
    AuthzenSection,
    BundleSection,
    Document,
    LimitsSection,
    RecordSection,
    TokensSection,
    TracesSection,
    variables,
)
from pdp.config.providing import providers_of
from pdp.config.searching import search_settings
from pdp.config.settings import (
    Address,
    AuthzenSettings,
    Limits,
    RecordSettings,
    Settings,
    TraceSettings,
)
from pdp.config.tls import judge_tls
from pdp.config.wording import endpoint_problem, explain, similar
from pdp.errors import ConfigurationError
from pdp.identity.issuers import IssuerSettings, check_issuers

# Names the file, not a setting in it.
CONFIG_VARIABLE: Final = "PDP_CONFIG"
FILE_BYTES_MAX: Final = 1_048_576

_PORT_MAX: Final = 65_535
_SOCKET_BYTES_MAX: Final = 107  # sun_path of unix(7), less its end
_BASE_URL: Final = re.compile(
    r"https://(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]{1,5})?(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*"
)
_URN: Final = re.compile(r"urn:[a-z0-9][a-z0-9-]{0,31}:[!-~]+", re.IGNORECASE)


class ConfigurationProblemsError(ConfigurationError):
    """Everything that is wrong, at once.

    Attributes:
        problems: one line each.
    """

    def __init__(self, source: str, problems: list[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in problems)
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source} has {count}:{lines}")


def load_settings(path: Path) -> Settings:
    """Read `pdp.toml` and the environment.

    Relative paths, from the environment too, count from the folder of the file.

    Raises:
        ConfigurationProblemsError: with everything that is wrong.
    """
    source = f"`{path}`"
    document = _read_toml(path)
    problems = list(_unknown_variables())
    parsed = None
    try:
        parsed = Document(**document)
    except ValidationError as error:
        problems += explain(error)
    except ValueError as error:
        # pydantic-settings: a list in a variable that is not JSON.
        problems.append(f'a variable cannot be read, lists are JSON like `["a"]`: {error}')
    if parsed is None:
        raise ConfigurationProblemsError(source, problems)
    builder = _Builder(parsed, path.resolve().parent, problems)
    settings = builder.settings()
    if settings is None or problems:
        raise ConfigurationProblemsError(source, problems)
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigurationError(f"`{path}` is too large to be a configuration file")
        return tomllib.loads(data.decode())
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no file `{path}`: name yours with `--config`, docs/serve.md shows one"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"`{path}` cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"`{path}` is not TOML: {str(error).lower()}") from None


def _unknown_variables() -> Iterator[str]:
    known = variables()
    for name in sorted(os.environ):
        if not name.upper().startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        if name not in known:
            yield f"`{name}` sets nothing{similar(name, list(known))}"


def base_url_problem(text: str) -> str:
    """What is wrong with the address that clients know a PDP by; empty: nothing.

    AuthZEN 1.0, "Policy Decision Point Metadata": https, no query, no fragment. Clients
    compare it as text, and put paths behind it, so its path is plain and has no end slash.
    """
    if not _BASE_URL.fullmatch(text):
        return (
            f"is {text[:80]!a}: write `https://host`, `https://host:port` or "
            "`https://host/path`, lower-case, without a slash at the end"
        )
    return ""


def _claim(said: str | tuple[str, ...]) -> tuple[str, ...]:
    """The path of a claim. An empty one is nothing that could be looked for."""
    return (said,) if isinstance(said, str) else said or ("",)


class _Builder:
    """Judges what pydantic cannot, and keeps every problem."""

    def __init__(self, document: Document, folder: Path, problems: list[str]) -> None:
        self.document = document
        self.folder = folder
        self.problems = problems

    def settings(self) -> Settings | None:
        """The settings, or None; problems are in the list either way."""
        document = self.document
        self._check_instance()
        listen = self._address(document.listen)
        tls = judge_tls(document.tls, self._file, self.problems)
        bundle = self._bundle(document.bundle)
        limits = self._limits(document.limits)
        record = self._record(document.record)
        authzen = self._authzen(document.authzen)
        search = search_settings(document, self.folder, self._file, self.problems)
        issuers = self._issuers(document.tokens)
        providers = providers_of(document, self._file, self.problems)
        if listen is None or tls is None or bundle is None or record is None:
            return None
        return Settings(
            instance=document.instance,
            listen=listen,
            tls=tls,
            bundle=replace(bundle, providers=providers.known),
            record=record,
            poll_interval_s=document.bundle.poll_interval_s,
            limits=limits,
            log_level=document.log_level,
            authzen=authzen,
            search=search,
            issuers=issuers,
            providers=providers,
            reflection=document.reflection,
            envoy=document.envoy,
            workers=document.workers,
            socket=self._socket(),
            metrics=self._metrics(),
            traces=self._traces(),
        )

    def _traces(self) -> TraceSettings | None:
        traces = self.document.traces
        if traces.endpoint is None:
            if traces != TracesSection():
                self.problems.append("`traces.endpoint` is missing: set it, or nothing of `traces`")
            return None
        if problem := endpoint_problem(traces.endpoint):
            self.problems.append(f"`traces.endpoint` {problem}")
        ca_bundle = traces.ca_bundle
        if ca_bundle is not None:
            ca_bundle = self._file("traces.ca_bundle", ca_bundle)
        return TraceSettings(traces.endpoint, ca_bundle, traces.ratio)

    def _socket(self) -> Path | None:
        name = self.document.socket
        if name is None:
            return None
        path = Path(name)
        if not path.is_absolute() or len(os.fsencode(path)) > _SOCKET_BYTES_MAX:
            self.problems.append(
                f"`socket` must be an absolute path of at most {_SOCKET_BYTES_MAX} bytes"
            )
        if self.document.workers > 1:
            self.problems.append("`socket` needs `workers = 1`: workers cannot share a Unix socket")
        return path

    def _metrics(self) -> Address | None:
        listen = self.document.metrics.listen
        return None if listen is None else self._address(listen, "metrics.listen")

    def _check_instance(self) -> None:
        try:
            PdpId(self.document.instance, 0, 1)
        except ConfigurationError as error:
            self.problems.append(f"`instance`: {error}")

    def _address(self, text: str, name: str = "listen") -> Address | None:
        host, colon, port = text.rpartition(":")
        if not colon or not host or not (port.isascii() and port.isdigit()):
            self.problems.append(
                f"`{name}` is {text!a}: write `address:port`, like `127.0.0.1:8443` or `[::]:8443`"
            )
            return None
        if int(port) > _PORT_MAX:
            self.problems.append(f"`{name}`: there is no port {port[:16]}, the last is {_PORT_MAX}")
            return None
        return Address(host.removeprefix("[").removesuffix("]"), int(port))

    def _bundle(self, bundle: BundleSection) -> BundleSettings | None:
        source = bundle.source
        # What looks like a URL is judged as one.
        if source and "://" not in source and not source.startswith("file:"):
            source = str(self.folder / source)
        root = self._file("bundle.root", bundle.root)
        state_folder = self._folder("bundle.state_folder", bundle.state_folder)
        try:
            return BundleSettings(
                source=source,
                root=root,
                state_folder=state_folder,
                revision_floor=bundle.revision_floor,
                freshness_max_s=bundle.freshness_max_s,
                poll_time_max_s=bundle.poll_time_max_s,
                tenants=bundle.tenants,
                default_tenant=bundle.default_tenant,
                caller_tenants=bundle.caller_tenants,
            )
        except ConfigurationError as error:
            self.problems.append(f"`bundle`: {error}")
            return None

    def _record(self, record: RecordSection) -> RecordSettings | None:
        folder = self._folder("record.folder", record.folder)
        try:
            # What is in the folder is theirs together.
            limits = SpoolLimits(
                directory_bytes_max=record.directory_bytes_max // self.document.workers,
                segment_bytes_max=record.segment_bytes_max,
            )
        except ConfigurationError as error:
            shared = f" of each of {self.document.workers} `workers`"
            where = shared if self.document.workers > 1 else ""
            self.problems.append(f"`record`{where}: {error}")
            return None
        return RecordSettings(folder, limits, Capture(record.capture))

    def _authzen(self, authzen: AuthzenSection) -> AuthzenSettings | None:
        """The door, or None: there is to be none, or it has a problem."""
        if authzen == AuthzenSection():
            return None
        if authzen.listen is None or authzen.base_url is None:
            missing = "listen" if authzen.listen is None else "base_url"
            self.problems.append(f"`authzen.{missing}` is missing: set it, or nothing of `authzen`")
            return None
        listen = self._address(authzen.listen, "authzen.listen")
        if problem := base_url_problem(authzen.base_url):
            self.problems.append(f"`authzen.base_url` {problem}")
        for capability in authzen.capabilities:
            if not _URN.fullmatch(capability):
                self.problems.append(f"`authzen.capabilities`: {capability[:64]!a} is not a URN")
        signed = authzen.signed_metadata
        if signed is not None:
            signed = self._file("authzen.signed_metadata", signed)
        if listen is None:
            return None
        return AuthzenSettings(listen, authzen.base_url, authzen.capabilities, signed)

    def _issuers(self, tokens: TokensSection) -> tuple[IssuerSettings, ...]:
        found = []
        for number, section in enumerate(tokens.issuers):
            name = f"tokens.issuers[{number}]"
            keys, ca_bundle = section.keys, section.ca_bundle
            if keys and "://" not in keys and not keys.startswith("unix:"):
                keys = str(self._file(f"{name}.keys", Path(keys)))
            if ca_bundle is not None:
                ca_bundle = self._file(f"{name}.ca_bundle", ca_bundle)
            given = section.model_dump() | {
                "keys": keys,
                "ca_bundle": ca_bundle,
                "id_claim": _claim(section.id_claim),
                "roles_claim": () if section.roles_claim is None else _claim(section.roles_claim),
            }
            try:
                found.append(IssuerSettings(**given))
                check_issuers(tuple(found))
            except ConfigurationError as error:
                self.problems.append(f"`{name}`: {error}")
        return tuple(found)

    def _limits(self, limits: LimitsSection) -> Limits:
        if limits.answer_reserve_s >= min(limits.deadline_default_s, limits.deadline_max_s):
            self.problems.append(
                "`limits.answer_reserve_s` uses up the whole deadline: every answer would be DENY"
            )
        if limits.bytes_in_flight_max < limits.message_bytes_max:
            self.problems.append("`limits.bytes_in_flight_max` is below `limits.message_bytes_max`")
        if limits.deadline_default_s > limits.deadline_max_s:
            self.problems.append("`limits.deadline_default_s` is above `limits.deadline_max_s`")
        return Limits(
            input=InputLimits(
                depth_max=limits.depth_max,
                values_max=limits.values_max,
                text_bytes_max=limits.text_bytes_max,
                name_bytes_max=limits.name_bytes_max,
                token_bytes_max=limits.token_bytes_max,
            ),
            evaluation=EvaluationLimits(
                cost_units_max=limits.cost_units_max, nodes_max=limits.nodes_max
            ),
            message_bytes_max=limits.message_bytes_max,
            batch_items_max=limits.batch_items_max,
            stream_in_flight_max=limits.stream_in_flight_max,
            deadline_default_s=limits.deadline_default_s,
            deadline_max_s=limits.deadline_max_s,
            answer_reserve_s=limits.answer_reserve_s,
            concurrent_streams_max=limits.concurrent_streams_max,
            concurrent_calls_max=limits.concurrent_calls_max,
            connections_max=limits.connections_max,
            requests_in_flight_max=limits.requests_in_flight_max,
            bytes_in_flight_max=limits.bytes_in_flight_max,
            queue_max_s=limits.queue_max_s,
            connection_age_max_s=limits.connection_age_max_s,
            drain_s=limits.drain_s,
            stop_grace_s=limits.stop_grace_s,
        )

    def _file(self, name: str, path: Path) -> Path:
        """An absolute path to a file that can be read and is not empty."""
        full = self.folder / path
        if "\0" in str(path):
            self.problems.append(f"`{name}`: a path has no NUL in it")
            return full
        try:
            with full.open("rb") as file:
                if not file.read(1):
                    self.problems.append(f"`{name}`: the file `{full}` is empty")
        except FileNotFoundError:
            self.problems.append(f"`{name}`: there is no file `{full}`")
        except OSError as error:
            self.problems.append(f"`{name}`: `{full}` cannot be read: {error.strerror}")
        return full

    def _folder(self, name: str, path: Path) -> Path:
        """An absolute path to a folder that is there, or can be made in one that is."""
        full = self.folder / path
        if "\0" in str(path):
            self.problems.append(f"`{name}`: a path has no NUL in it")
            return full
        if full.exists() and not full.is_dir():
            self.problems.append(f"`{name}`: `{full}` is not a folder")
        elif not full.exists() and not full.parent.is_dir():
            self.problems.append(
                f"`{name}`: neither `{full}` nor the folder it would be in is there: make it"
            )
        elif not os.access(full if full.exists() else full.parent, os.W_OK | os.X_OK):
            self.problems.append(f"`{name}`: this user may not write to `{full}`")
        return full
