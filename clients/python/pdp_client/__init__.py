"""Portcullis, the client: ask the PDP, and treat whatever goes wrong as a denial.

    from pdp_client import Client, Resource, Subject

    with Client("pdp.example.org:8443", trust_bundle="ca.pem",
                certificate="me.pem", key="me.key") as pdp:
        if pdp.authorize(Subject("user", "alice"), "read", Resource("report", "7")):
            ...

`authorize` returns a `Decision` that is true only if it permits; `enforce`
raises `AccessDenied`. There is no option that makes a failure a permit.
"""

from pdp.errors import ConfigurationError
from pdp.model import (
    Action,
    BundleRef,
    Cause,
    Decision,
    Effect,
    Obligation,
    RecordRef,
    Resource,
    Semantic,
    Subject,
)
from pdp.values import Duration, Timestamp, Uint
from pdp_client._answers import Answers, Question, Undecided
from pdp_client._core import AccessDenied
from pdp_client.aio import AsyncClient
from pdp_client.balanced import BalancedClient
from pdp_client.balanced_aio import AsyncBalancedClient
from pdp_client.sync import Client

__all__ = [
    "AccessDenied",
    "Action",
    "Answers",
    "AsyncBalancedClient",
    "AsyncClient",
    "BalancedClient",
    "BundleRef",
    "Cause",
    "Client",
    "ConfigurationError",
    "Decision",
    "Duration",
    "Effect",
    "Obligation",
    "Question",
    "RecordRef",
    "Resource",
    "Semantic",
    "Subject",
    "Timestamp",
    "Uint",
    "Undecided",
]
