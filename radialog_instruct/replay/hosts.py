"""Which servers may read reports: patients' data stay with their keepers unless a user vouches for another host."""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from radialog_instruct.errors import UsageError
from radialog_instruct.records import Terms


def check_host(
    base_url: str,
    terms: Terms,
    zero_retention: Collection[str],
    *,
    where: str = "--base-url",
    vouching: str = "--zero-retention ",
) -> None:
    """Refuse a server that credentialed reports must not be sent to.

    PhysioNet's terms for the use of language models (2025): no third-party service unless it keeps nothing.

    Args:
        base_url: The server.
        terms: Terms of the source.
        zero_retention: Hosts that the user states to keep nothing.
        where: The option that names the server, for the message.
        vouching: The option that vouches for a host, up to the host.

    Raises:
        UsageError: If the address is not valid, or the host is public and not vouched for.
    """
    parts = urlsplit(base_url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        mend = "for example http://127.0.0.1:8000/v1"
        raise UsageError(f"{base_url!r} is no address", where=where, mend=mend)
    if parts.username or parts.password:
        raise UsageError("the address holds a password", where=where, mend="put the key into the environment")
    if terms is not Terms.CREDENTIALED or host in zero_retention or is_private(host):
        return
    raise UsageError(
        f"{host} is neither this machine nor in a private network, and the source's reports are credentialed",
        where=where,
        mend=f"use a server of your own, or state by contract that it keeps nothing: {vouching}{host}",
    )


def is_private(host: str) -> bool:
    """Tell whether all addresses of a host are loopback or private ones; an unknown host is not."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    addresses = [ip_address(address.partition("%")[0]) for address in found]
    return bool(addresses) and all(a.is_loopback or (a.is_private and not a.is_unspecified) for a in addresses)
