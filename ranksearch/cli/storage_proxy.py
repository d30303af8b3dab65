"""`ranksearch storage-proxy`."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from threading import Event
from typing import Any

from ranksearch.cli.console import ConsoleReporter, logging_to


def storage_proxy_command(host: str, port: int, given: Mapping[str, Any]) -> None:
    """Stand in front of a storage until Ctrl-C or SIGTERM."""
    reporter = ConsoleReporter(quiet=given.get("quiet") is True)
    with logging_to(None, reporter):
        from ranksearch.runs import storage_proxy

        with storage_proxy(given, host, port) as (address, location):
            reporter.line(f"proxy: {address}, in front of {location}")
            reporter.line(
                f"no authentication, no encryption: {_reached_by(host)} can read and change all studies in it"
            )
            Event().wait()


def _reached_by(host: str) -> str:
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # the name of a machine
        local = False
    return "whoever is on this machine" if local else "whoever reaches this address"
