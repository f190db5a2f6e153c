"""What is wrong with a configuration, in words that say what to do."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from pydantic import ValidationError

from pdp.bundle.anchor import is_loopback
from pdp.config.document import ENVIRONMENT_PREFIX, IssuerSection, ProviderSection, variables


def endpoint_problem(text: str) -> str:
    """What is wrong with the address of a collector of spans; empty: nothing."""
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        host, url = None, urlsplit("")
    plain = "".join(filter(str.isprintable, text)) == text and text.isascii() and " " not in text
    if not plain or not host or url.scheme not in {"http", "https"}:
        return f"is {text[:80]!a}: write `https://host:4318/v1/traces`"
    if url.username is not None or url.password is not None or url.query or url.fragment:
        return f"at `{host}` has a user, a query or a fragment: leave them out"
    if url.scheme == "http" and not is_loopback(host):
        return f"at `{host}` is not `https`: only a collector on this machine may be `http`"
    return ""


def explain(error: ValidationError) -> Iterator[str]:
    """Pydantic's findings in words that say what to do."""
    known = sorted(variables().values())
    for finding in error.errors(include_url=False, include_context=False):
        path = _written(finding["loc"])
        variable = ENVIRONMENT_PREFIX + path.replace(".", "_").upper()
        if finding["type"] == "missing" and _numbered(finding["loc"]):
            yield f"`{path}` is missing"
        elif finding["type"] == "missing" and not any(name == path for name in known):
            yield f"the section `[{path}]` is missing"
        elif finding["type"] == "missing":
            yield f"`{path}` is missing: set it in the file, or as {variable}"
        elif finding["type"] == "extra_forbidden" and _numbered(finding["loc"]):
            model = IssuerSection if finding["loc"][0] == "tokens" else ProviderSection
            fields = list(model.model_fields)
            yield f"`{path}` is not a setting{similar(str(finding['loc'][-1]), fields)}"
        elif finding["type"] == "extra_forbidden" and variable in os.environ:
            continue  # told already, as a variable
        elif finding["type"] == "extra_forbidden":
            yield f"`{path}` is not a setting{similar(path, known)}"
        else:
            message = finding["msg"].removeprefix("Value error, ")
            yield f"`{path}`: {message[:1].lower()}{message[1:]}"


def similar(word: str, known: list[str]) -> str:
    """A hint at the nearest of them, if there is one near."""
    found = difflib.get_close_matches(word, known, n=1)
    return f": did you mean `{found[0]}`" if found else ""


def _written(location: tuple[int | str, ...]) -> str:
    """`tokens.issuers[0].audience`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def _numbered(location: tuple[int | str, ...]) -> bool:
    """Whether it is inside a list of sections."""
    return any(isinstance(part, int) for part in location[:-1])
