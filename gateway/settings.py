"""Every setting once: name, default, unit, meaning and its ``GATEWAY_*`` variable.

The command line, the environment and ``docs/settings.md`` are all derived from the two classes
here. Units are part of the names (``_s`` seconds, ``_ms`` milliseconds, ``_bytes``). Precedence:
command line, then environment, then default.
"""

from __future__ import annotations

import re
import socket
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.added_headers import added_to_requests, added_to_responses

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=0)]
Bytes = Annotated[int, Field(ge=0)]
Network = IPv4Network | IPv6Network

PROXY_PROTOCOL = "proxy_protocol"
"""The value of `real_ip_header` that is no header of HTTP."""

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PRIORITY = re.compile(r"-?[0-9]{1,9}")


class Compat(StrEnum):
    """Whose names go on the wire: our neutral ones, or Kong's."""

    NONE = "none"
    KONG = "kong"


class Role(StrEnum):
    """What a node does (cluster.md part B): everything, or one half of it in hybrid mode."""

    TRADITIONAL = "traditional"
    CONTROL_PLANE = "control-plane"
    DATA_PLANE = "data-plane"


class StaleAction(StrEnum):
    """What a node does that has not synced for ``max_stale_s``."""

    UNREADY = "unready"
    REFUSE = "refuse"


class MissingPluginAction(StrEnum):
    """What a node does with requests that are to go through a plugin it does not have."""

    REFUSE = "refuse"
    SKIP = "skip"


class RouterFlavor(StrEnum):
    """Whose tie-breaks the router follows (router.md section 3)."""

    TRADITIONAL = "traditional"
    TRADITIONAL_COMPATIBLE = "traditional_compatible"


class AccessLogFormat(StrEnum):
    """Whether and how each request is logged."""

    OFF = "off"
    TEXT = "text"
    JSON = "json"


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class SharedSettings(BaseSettings):
    """What `gateway up` and `gateway node` have in common."""

    model_config = SettingsConfigDict(
        env_prefix="GATEWAY_", extra="ignore", validate_default=False, frozen=True
    )

    # -- sync
    strategy: str = Field(
        "notify",
        description="Sync strategy: poll, notify, or an installed one. A data plane's is hybrid.",
    )
    poll_interval_s: Annotated[float, Field(ge=0.05, le=3600)] = Field(
        1.0,
        description="How often a node asks the database for a newer version. "
        "Under notify and hybrid it is the safety net.",
    )
    compat: Compat = Field(
        Compat.NONE,
        description="`kong` puts X-Kong-* headers and kong_* metrics on the wire.",
    )
    # -- plugins
    plugin_path: str = Field(
        "",
        description="Directories with plugins, as directory,directory: each .py file there, and "
        "each folder that is a package. The same on all nodes.",
    )
    plugin_priorities: str = Field(
        "",
        description="Priorities in place of the plugins' own, as name=number,name=number. The same "
        "on all nodes.",
    )
    missing_plugin_action: MissingPluginAction = Field(
        MissingPluginAction.REFUSE,
        description="What becomes of requests for which an entity names a plugin that this node "
        "does not have: `refuse` answers 503, `skip` serves them without it, whatever it guards.",
    )
    # -- log
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT, description="`text` for people, `json` for machines."
    )

    @field_validator("plugin_priorities")
    @classmethod
    def _are_priorities(cls, text: str) -> str:
        plugin_priorities(text)
        return text


def _is_postgresql(url: str) -> bool:
    """Tell whether the driver understands the URL; what it does not, its errors would quote.

    A password with an @ of its own would end at that, and the rest pass for the host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        conninfo_to_dict(url)
    except (ValueError, ProgrammingError):
        return False
    is_postgresql = parts.scheme in ("postgres", "postgresql")
    return is_postgresql and port != 0 and parts.netloc.count("@") <= 1


class NodeSettings(SharedSettings):
    """The settings of one node."""

    # -- identity
    node_name: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        max_length=255,
        description="Name of the node in tables, metrics and logs. Default: the host's name.",
    )

    role: Role = Field(
        Role.TRADITIONAL,
        description="`traditional` does everything; in hybrid mode `control-plane` has the "
        "database and the Admin API, `data-plane` proxies what control planes tell it.",
    )

    # -- database
    database_url: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL, as postgresql://user:password@host:port/database.",
    )
    database_listen_url: SecretStr = Field(
        SecretStr(""),
        description="A direct way to the same database for LISTEN, where `database_url` is a "
        "connection pooler.",
    )
    database_replica_url: SecretStr = Field(
        SecretStr(""),
        description="A read replica to load configurations from; versions are still asked for "
        "at `database_url`.",
    )
    database_replica_wait_s: Seconds = Field(
        0.2, description="How long a load waits for the replica to catch up; then `database_url`."
    )
    database_pool_size: Annotated[int, Field(ge=1, le=100)] = Field(
        5, description="Most connections kept for the Admin API and heartbeats; sync has its own."
    )
    database_connect_timeout_s: Seconds = Field(
        5.0, description="Deadline for opening a connection, or getting one from the pool."
    )
    database_statement_timeout_s: Seconds = Field(
        10.0, description="Deadline for one SQL statement."
    )
    database_lock_timeout_s: Seconds = Field(
        5.0, description="How long a write waits for another write's transaction."
    )

    # -- sync
    sync_timeout_s: Seconds = Field(
        10.0, description="Deadline for one question whether there is a newer version."
    )
    full_load_timeout_s: Seconds = Field(
        300.0, description="Deadline for reading the whole configuration."
    )
    heartbeat_interval_s: Seconds = Field(
        1.0, description="How often a node reports itself to the cluster."
    )
    apply_gap_s: Annotated[float, Field(ge=0, le=60)] = Field(
        0.02,
        description="After an apply, announced versions wait until this long after it, so that a "
        "burst of writes is applied in few steps.",
    )
    change_log_keep: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Versions the change log keeps; a node further behind loads everything."
    )

    # -- staleness
    snapshot_dir: str = Field(
        "data/snapshots",
        description="Directory for the copy of the configuration that a node starts from without "
        "its database; empty means none is kept.",
    )
    max_stale_s: Annotated[float, Field(ge=0, le=86_400 * 365)] = Field(
        0.0, description="A node that has not synced for so long is not ready; 0 means never mind."
    )
    stale_action: StaleAction = Field(
        StaleAction.UNREADY,
        description="`refuse`: after `max_stale_s` the proxy also answers 503.",
    )
    min_version_from: str = Field(
        "127.0.0.0/8,::1/128",
        description="Clients, as addresses or networks, whose X-Gateway-Min-Version is honoured; "
        "others' is removed.",
    )
    min_version_timeout_s: Seconds = Field(
        5.0, description="How long a request waits for the version it asks for; then 503."
    )

    # -- hybrid mode
    cluster_host: str = Field(
        "127.0.0.1", description="Address of a control plane's listener for data planes."
    )
    cluster_port: Port = Field(
        8005, description="Port of a control plane's listener for data planes."
    )
    control_planes: str = Field(
        "127.0.0.1:8005",
        description="Control planes that a data plane may ask, as host:port,host:port.",
    )
    cluster_cert: str = Field(
        "",
        description="Certificate that control and data planes share, made by "
        "`gateway hybrid certs`.",
    )
    cluster_cert_key: str = Field("", description="The private key of `cluster_cert`.")
    data_plane_labels: str = Field(
        "", description="Labels a data plane carries in lists, as key:value,key:value."
    )
    data_plane_purge_delay_s: Annotated[float, Field(ge=60)] = Field(
        1_209_600.0, description="After how long unseen a data plane is forgotten."
    )

    # -- listeners
    proxy_host: str = Field("127.0.0.1", description="Address of the proxy listener.")
    proxy_port: Port = Field(8000, description="Port of the proxy listener.")
    admin_host: str = Field("127.0.0.1", description="Address of the Admin API.")
    admin_port: Port = Field(8001, description="Port of the Admin API.")
    admin_tls_port: Port | None = Field(
        None, description="Port of the Admin API over TLS; without one it is plain only."
    )
    admin_tls_host: str = Field("127.0.0.1", description="Address of the Admin API over TLS.")
    admin_tls_cert: str = Field(
        "",
        description="Certificate chain (PEM file) of the Admin API; empty means self-signed, made "
        "at start.",
    )
    admin_tls_cert_key: str = Field("", description="The private key of `admin_tls_cert`.")
    status_host: str = Field("127.0.0.1", description="Address of the status listener.")
    status_port: Port = Field(8100, description="Port of the status listener.")
    shared_proxy_port: bool = Field(
        False, description="Bind the proxy port with SO_REUSEPORT, so that nodes share it."
    )
    proxy_tls_port: Port | None = Field(
        None, description="Port of the TLS proxy listener; without one there is none."
    )
    proxy_tls_host: str = Field("127.0.0.1", description="Address of the TLS proxy listener.")
    proxy_tls_cert: str = Field(
        "",
        description="Certificate chain (PEM file) for clients that no SNI entity has one for; "
        "empty means self-signed, made at start.",
    )
    proxy_tls_cert_key: str = Field("", description="The private key of `proxy_tls_cert`.")
    tls_min_version: Literal["1.2", "1.3"] = Field(
        "1.2", description="Oldest TLS version that clients may use."
    )
    tls_ciphers: str = Field(
        "",
        description="OpenSSL cipher list of TLS 1.2; empty means those of forward secrecy "
        "with authenticated encryption.",
    )
    proxy_protocol: bool = Field(
        False,
        description="Each connection of the proxy listeners begins with a PROXY protocol header, "
        "v1 or v2.",
    )
    listen_backlog: Annotated[int, Field(ge=1, le=65535)] = Field(
        2048, description="Connections the kernel queues for a proxy listener."
    )
    shutdown_timeout_s: Seconds = Field(
        10.0, description="How long in-flight requests may take to finish on stop."
    )
    drain_delay_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        0.0,
        description="How long a stopping node, no longer ready, still accepts connections, so "
        "that balancers notice first.",
    )
    drain_idle_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        0.5,
        description="How long a stopping node waits for a last request on idle connections.",
    )

    # -- who the client is
    trusted_ips: str = Field(
        "",
        description="Proxies before this one, as addresses or networks or `unix:`, whose word on "
        "the client's address and X-Forwarded-* is taken.",
    )
    real_ip_header: str = Field(
        "X-Real-IP",
        description="Header in which trusted proxies give the client's address; "
        "`proxy_protocol`: the PROXY protocol header.",
    )
    real_ip_recursive: bool = Field(
        False,
        description="Take the last address of `real_ip_header` that is not trusted itself, "
        "instead of the last.",
    )
    port_maps: str = Field(
        "",
        description="Ports under which clients know the listeners' ports, as seen:listening, "
        "like 80:8000,443:8443.",
    )

    # -- routing
    router_flavor: RouterFlavor = Field(
        RouterFlavor.TRADITIONAL, description="Whose order of routes: either of Kong's flavors."
    )

    # -- client side limits
    max_connections: Annotated[int, Field(ge=1)] = Field(
        16_384,
        description="Most client connections at once, over all proxy listeners; beyond, one that "
        "waits for a request makes room, else the new one is closed.",
    )
    max_connections_per_client: Count = Field(
        0, description="Most connections from one client address; 0 means no limit of its own."
    )
    request_line_limit_bytes: Bytes = Field(8192, description="Longest request line; then 414.")
    header_limit_bytes: Bytes = Field(32_768, description="Largest request or response head.")
    header_count_limit: Count = Field(200, description="Most headers in a request or response.")
    body_limit_bytes: Bytes = Field(0, description="Largest request body; 0 means no limit.")
    buffer_limit_bytes: Annotated[int, Field(ge=4096)] = Field(
        131_072, description="Bytes buffered per connection and direction before reading pauses."
    )
    header_timeout_s: Seconds = Field(
        60.0,
        description="Deadline for a complete request head; before it, one each for the PROXY "
        "header and the TLS handshake.",
    )
    body_timeout_s: Seconds = Field(
        60.0, description="Longest gap between two reads or writes of a body."
    )
    body_min_bytes_s: Count = Field(
        100,
        description="Least bytes/s, on average once `body_timeout_s` has passed, of a client whose "
        "body is waited for whole, or that takes a response slowly; 0 means no limit.",
    )
    keepalive_timeout_s: Seconds = Field(75.0, description="Idle time of a client connection.")
    keepalive_requests: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Most requests on one client connection."
    )

    # -- bodies kept whole
    body_spool_dir: str = Field(
        "",
        description="Directory for bodies beyond `buffer_limit_bytes`; empty means the system's "
        "for temporary files.",
    )
    body_spool_limit_bytes: Bytes = Field(
        4_294_967_296, description="Most bytes of bodies on disk at once, over all requests."
    )
    response_spool_limit_bytes: Bytes = Field(
        1_073_741_824,
        description="Most bytes on disk of a response that the client takes slower than the "
        "upstream sends; 0 means none: the upstream is slowed down.",
    )

    # -- upstream side
    upstream_keepalive_pool_size: Count = Field(
        512, description="Idle connections kept per target; 0 closes each after its request."
    )
    upstream_keepalive_timeout_s: Seconds = Field(
        60.0, description="Idle time after which a pooled connection is closed."
    )
    upstream_keepalive_requests: Count = Field(
        10_000, description="Requests per upstream connection; 0 means no limit."
    )
    upstream_tls_verify: bool = Field(
        False, description="Verify upstream certificates where the service does not say."
    )
    upstream_tls_verify_depth: Annotated[int, Field(ge=0, le=64)] = Field(
        1, description="Most intermediate certificates where the service does not say."
    )
    upstream_tls_ca: str = Field(
        "",
        description="Trusted CA certificates (PEM file) for services without their own; empty "
        "means the system's.",
    )
    upstream_tls_cert: str = Field(
        "", description="Client certificate (PEM file) shown where no entity gives one."
    )
    upstream_tls_cert_key: str = Field("", description="The private key of `upstream_tls_cert`.")
    health_probes_limit: Annotated[int, Field(ge=1)] = Field(
        256, description="Probes of targets at once, over all upstreams with active health checks."
    )
    health_probers: Annotated[int, Field(ge=0, le=1000)] = Field(
        0,
        description="How many nodes probe an address, and tell the others through the database. 0: "
        "each node by itself, as data planes do in any case. The same on all nodes.",
    )
    health_report_interval_s: Annotated[float, Field(ge=0.05, le=10)] = Field(
        1.0,
        description="How often nodes that share probes exchange what these have found. The same on "
        "all nodes.",
    )
    dns_servers: str = Field(
        "",
        description="Name servers, as addresses with or without a port, like "
        "10.0.0.2,[fd00::2]:5353; empty means those of /etc/resolv.conf.",
    )
    dns_hosts_file: str = Field(
        "/etc/hosts", description="File of names that no name server is asked for; empty: none."
    )
    dns_order: str = Field(
        "SRV,A,AAAA",
        description="Record types that names are looked up by: the first that has any counts.",
    )
    dns_timeout_s: Seconds = Field(5.0, description="Deadline for looking up a host name.")
    dns_ttl_min_s: Seconds = Field(
        1.0, description="How long an answer is used at least, whatever its TTL."
    )
    dns_ttl_max_s: Seconds = Field(
        300.0, description="How long an answer is used at most, whatever its TTL."
    )
    dns_stale_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        3600.0, description="How long an outdated answer is used while name servers fail."
    )
    dns_not_found_ttl_s: Seconds = Field(
        5.0, description="How long a name that does not exist is not asked for again."
    )

    # -- answers
    headers: str = Field(
        "server_tokens,latency_tokens,request_id",
        description="Headers that the gateway adds to responses: server_tokens (Server, Via), "
        "latency_tokens, request_id, upstream_status, single headers by name, or off.",
    )
    headers_upstream: str = Field(
        "request_id", description="Headers that the gateway adds to requests: request_id or off."
    )
    allow_debug_header: bool = Field(
        False,
        description="Answer requests that carry Gateway-Debug (or Kong-Debug) with the names of "
        "the route and service.",
    )
    response_charset: str = Field(
        "auto",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9!#$%&+^_`{}~.:-]*$",
        description="Charset named in text responses that name none; `off` for none, `auto` is "
        "UTF-8 with compat kong, else off.",
    )
    error_default_type: Literal[
        "text/plain", "text/html", "application/json", "application/xml"
    ] = Field("text/plain", description="Type of error bodies where the request suggests none.")
    error_template_html: str = Field(
        "", description="File for HTML error bodies, with two %s: message and request id."
    )
    error_template_json: str = Field("", description="The same for JSON.")
    error_template_xml: str = Field("", description="The same for XML.")
    error_template_plain: str = Field("", description="The same for plain text.")

    # -- plugins
    plugin_timeout_s: Seconds = Field(
        60.0, description="How long a plugin may keep a request waiting; then it is answered 500."
    )
    loop_stall_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        0.25,
        description="How long the event loop may be held up before the log names what does it; 0 "
        "means never.",
    )
    cache_limit_bytes: Bytes = Field(
        67_108_864,
        description="Most bytes of responses that proxy-cache keeps in memory; one of them takes "
        "at most a 64th, and those still on their way a quarter on top.",
    )

    # -- access log
    access_log: AccessLogFormat = Field(
        AccessLogFormat.OFF, description="Log each request: as combined log `text`, or `json`."
    )
    access_log_path: str = Field(
        "", description="File of the access log, opened anew on SIGHUP; empty means stdout."
    )
    access_log_buffer_bytes: Annotated[int, Field(ge=65_536)] = Field(
        4_194_304,
        description="Most bytes of lines that wait to be written; further ones are dropped and "
        "counted.",
    )

    # -- Admin API
    admin_body_limit_bytes: Bytes = Field(
        10_485_760,
        description="Largest body of the Admin API, above all of /config; one entity has 1 MiB.",
    )
    admin_timeout_s: Seconds = Field(
        30.0, description="Deadline for answering an Admin API request; then 503."
    )
    admin_open: bool = Field(
        False,
        description="Let everyone who reaches the Admin API use it, whatever tokens there are.",
    )
    admin_failed_logins_per_min: Annotated[int, Field(ge=1)] = Field(
        10, description="Failed logins of one client address in a minute; beyond, 429."
    )
    admin_max_connections: Annotated[int, Field(ge=1)] = Field(
        1000, description="Most connections of the Admin API, and of the status listener, at once."
    )
    admin_origins: str = Field(
        "",
        description="Origins of web pages that may use the Admin API from a browser, as "
        "https://host,https://host; empty means any, but without a login only this machine's.",
    )
    audit_keep_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        90.0, description="How long the audit log keeps who changed what."
    )

    @field_validator("role", mode="before")
    @classmethod
    def _as_kong_spells_it(cls, role: Any) -> Any:
        return role.replace("_", "-") if isinstance(role, str) else role

    @field_validator("min_version_from")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        networks(text)
        return text

    @field_validator("trusted_ips")
    @classmethod
    def _are_peers(cls, text: str) -> str:
        trusted_peers(text)
        return text

    @field_validator("real_ip_header")
    @classmethod
    def _is_header_name(cls, name: str) -> str:
        if _HEADER_NAME.fullmatch(name) is None:
            raise ValueError(f"'{name}' is no name of a header, nor {PROXY_PROTOCOL}")
        return name

    @field_validator("dns_servers")
    @classmethod
    def _are_servers(cls, text: str) -> str:
        name_servers(text)
        return text

    @field_validator("dns_order")
    @classmethod
    def _are_record_types(cls, text: str) -> str:
        record_types(text)
        return text

    @field_validator("port_maps")
    @classmethod
    def _are_ports(cls, text: str) -> str:
        mapped_ports(text)
        return text

    @field_validator("headers")
    @classmethod
    def _are_response_headers(cls, text: str) -> str:
        added_to_responses(text)
        return text

    @field_validator("headers_upstream")
    @classmethod
    def _are_request_headers(cls, text: str) -> str:
        added_to_requests(text)
        return text

    @field_validator("database_url", "database_listen_url", "database_replica_url")
    @classmethod
    def _is_postgresql_url(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not _is_postgresql(url.get_secret_value()):
            raise ValueError(
                "must look like postgresql://user:password@host:port/database, "
                "with %XX for special characters in the password"
            )
        return url

    @model_validator(mode="after")
    def _ports_differ(self) -> NodeSettings:
        taken: dict[int, str] = {}
        for listener in self.listener_names():
            name = f"{listener}_port"
            port = getattr(self, name)
            if port and port in taken:
                raise ValueError(f"{named(name)} and {named(taken[port])} are both {port}")
            taken[port] = name
        return self

    @model_validator(mode="after")
    def _proxy_protocol_is_on(self) -> NodeSettings:
        if self.real_ip_header == PROXY_PROTOCOL and not self.proxy_protocol:
            raise ValueError(
                f"{named('real_ip_header')} {PROXY_PROTOCOL} needs {named('proxy_protocol')}"
            )
        return self

    @model_validator(mode="after")
    def _stale_is_longer_than_between_syncs(self) -> NodeSettings:
        for name in ("poll_interval_s", "heartbeat_interval_s"):
            if 0 < self.max_stale_s <= getattr(self, name):
                raise ValueError(
                    f"{named('max_stale_s')} {self.max_stale_s:g} must be longer than "
                    f"{named(name)} {getattr(self, name):g}, or 0"
                )
        return self

    @model_validator(mode="after")
    def _data_plane_is_hybrid(self) -> NodeSettings:
        if self.role is Role.DATA_PLANE:
            object.__setattr__(self, "strategy", "hybrid")
        elif self.strategy == "hybrid":
            raise ValueError(
                f"{named('strategy')}: hybrid is the strategy of data planes; "
                f"give them {named('role')} data-plane"
            )
        return self

    def listener_names(self) -> tuple[str, ...]:
        """Return which listeners a node with these settings has, in the order they are opened."""
        return tuple(
            name for name in LISTENERS_OF[self.role] if getattr(self, f"{name}_port") is not None
        )


LISTENERS_OF = {
    Role.TRADITIONAL: ("proxy", "proxy_tls", "admin", "admin_tls", "status"),
    Role.CONTROL_PLANE: ("admin", "admin_tls", "status", "cluster"),
    Role.DATA_PLANE: ("proxy", "proxy_tls", "status"),
}


def networks(text: str) -> list[Network]:
    """Return the networks in a comma-separated list. Raises ValueError naming the bad one."""
    names = filter(None, map(str.strip, text.split(",")))
    return [ip_network(name, strict=False) for name in names]


def trusted_peers(text: str) -> tuple[list[Network], bool]:
    """Return the networks in `trusted_ips`, and whether it has ``unix:``, all Unix sockets.

    Raises ValueError naming the bad one.
    """
    names = [name.strip() for name in text.split(",")]
    return networks(",".join(name for name in names if name != "unix:")), "unix:" in names


def name_servers(text: str) -> list[tuple[str, int]]:
    """Return the addresses and ports in `dns_servers`. Raises ValueError naming the bad one."""
    servers = []
    for server in filter(None, map(str.strip, text.split(","))):
        is_alone = server.count(":") > 1 and not server.startswith("[")  # IPv6 without a port
        parts = urlsplit("//" + (f"[{server}]" if is_alone else server))
        try:
            servers.append((str(ip_address(parts.hostname or "")), parts.port or 53))
        except ValueError:
            raise ValueError(f"'{server}' is no address of a name server") from None
    return servers


def record_types(text: str) -> list[str]:
    """Return the types in `dns_order`. Raises ValueError naming the bad one."""
    types = [name.strip().upper() for name in text.split(",")]
    for name in types:
        if name not in ("SRV", "A", "AAAA") or types.count(name) > 1:
            raise ValueError(f"'{text}' must name SRV, A and AAAA, each once at most")
    return types


def mapped_ports(text: str) -> dict[int, int]:
    """Return `port_maps` as listening → seen. Raises ValueError naming the bad one."""
    ports: dict[int, int] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        seen, _, listening = pair.partition(":")
        if not all(_PORT.fullmatch(port) and int(port) <= 65535 for port in (seen, listening)):
            raise ValueError(f"'{pair}' is not two ports like 80:8000")
        if int(listening) in ports:
            raise ValueError(f"'{pair}' maps port {listening} a second time")
        ports[int(listening)] = int(seen)
    return ports


def plugin_directories(text: str) -> list[Path]:
    """Return the directories in `plugin_path`."""
    return [Path(name) for name in filter(None, map(str.strip, text.split(",")))]


def plugin_priorities(text: str) -> dict[str, int]:
    """Return `plugin_priorities` by name. Raises ValueError naming the bad one."""
    priorities: dict[str, int] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, _, number = map(str.strip, pair.partition("="))
        if not name or not _PRIORITY.fullmatch(number):
            raise ValueError(f"'{pair}' is not a name and a whole number like my-plugin=1500")
        if name in priorities:
            raise ValueError(f"'{pair}' gives {name} a second priority")
        priorities[name] = int(number)
    return priorities


class UpSettings(SharedSettings):
    """The settings of `gateway up`: a whole cluster on one machine."""

    nodes: Annotated[int, Field(ge=1, le=64)] = Field(3, description="How many nodes to run.")
    proxy_port: Annotated[int, Field(ge=1, le=65535)] = Field(
        8000, description="Proxy port of the first node; the k-th further one adds 10·k."
    )
    proxy_tls_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None,
        description="TLS proxy port of the first node; the k-th further one adds 10·k. Without "
        "one there is no TLS listener.",
    )
    admin_port: Annotated[int, Field(ge=1, le=65535)] = Field(
        8001, description="Admin API port of the first node; the k-th further one adds 10·k."
    )
    admin_tls_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None,
        description="Port of the first node's Admin API over TLS; the k-th further one adds 10·k. "
        "Without one it is plain only.",
    )
    status_port: Annotated[int, Field(ge=1, le=65535)] = Field(
        8100, description="Status port of the first node; the k-th further one adds 10·k."
    )
    data_dir: Path = Field(
        Path("data"), description="Where the embedded PostgreSQL and node files are kept."
    )
    database_url: SecretStr = Field(
        SecretStr(""), description="A PostgreSQL to use instead of the embedded one."
    )
    demo: bool = Field(True, description="Also run a demo upstream with one service and route.")
    demo_port: Annotated[int, Field(ge=1, le=65535)] = Field(
        9000, description="Port of the demo upstream."
    )
    shared_proxy_port: bool = Field(
        False, description="All nodes share one proxy port by SO_REUSEPORT."
    )


class SettingError(Exception):
    """A setting has a value that cannot be used; the message is one line and names the setting."""


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def read_settings(kind: type[SettingsT], **given: Any) -> SettingsT:
    """Return the settings: what was `given` (None = not given), then environment, then defaults."""
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingError("; ".join(map(_sentence, error.errors()))) from None


def option_name(field: str) -> str:
    """Return the command-line option of a setting; the unit of seconds is left out of it."""
    is_rate = field.endswith("_bytes_s")
    return "--" + (field if is_rate else field.removesuffix("_s")).replace("_", "-")


def environment_variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return "GATEWAY_" + field.upper()


def named(field: str) -> str:
    """Return how messages name a setting: its option and its environment variable."""
    return f"{option_name(field)} ({environment_variable(field)})"


def _sentence(error: ErrorDetails) -> str:
    """Say which setting is wrong and why; what a validator of ours refuses is not repeated."""
    cause = error.get("ctx", {}).get("error")
    reason = str(cause) if cause else error["msg"][:1].lower() + error["msg"][1:]
    if not error["loc"]:
        return reason
    value = error["input"]
    shown = f", not {value!r}" if isinstance(value, str | int | float) and not cause else ""
    return f"{named(str(error['loc'][0]))}: {reason}{shown}"
