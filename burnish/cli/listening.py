"""Where `burnish serve` listens: addresses, networks of proxies, the certificate; read only when it is about to."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from pathlib import Path

from burnish.errors import UsageError


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network as the command line names it.

    Raises:
        UsageError: [serve/bad-network].
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise UsageError(
            "serve/bad-network", f'"{text}" is no network', where="--behind-proxy", hint="e.g. 10.0.0.0/24 or 10.0.0.5"
        ) from None
    if network.prefixlen == 0:
        raise UsageError(
            "serve/bad-network",
            "every address would be a proxy, and whoever connects could claim any address",
            where="--behind-proxy",
            hint="name the proxy's own address",
        )
    return network


def certificate(certfile: str | None, keyfile: str | None) -> tuple[Path | None, Path | None]:
    """The two files of TLS, tried; (None, None) without TLS.

    Raises:
        UsageError: [serve/bad-certificate].
    """
    if certfile is None and keyfile is None:
        return None, None
    if certfile is None or keyfile is None:
        raise UsageError("serve/bad-certificate", "TLS needs --certfile and --keyfile", where="--certfile")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise UsageError(
            "serve/bad-certificate", f"cannot be used: {reason}", where=certfile, hint="both files are PEM"
        ) from error
    return Path(certfile), Path(keyfile)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def listener_on(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        UsageError: [serve/bad-host], [serve/port-in-use].
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise UsageError("serve/bad-host", f"cannot listen on {host}:{port}: {error}", where="--host") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise UsageError(
            "serve/port-in-use",
            f"cannot listen on {host}:{port}: {error.strerror}",
            where="--port",
            hint=f"take another one: --port {port + 1}, or 0 for any that is free",
        ) from error
    return listener


def url(host: str, port: int, *, tls: bool) -> str:
    """What clients call it by."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  # shown, not bound
    shown = f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
    return f"{'https' if tls else 'http'}://{shown}:{port}"
