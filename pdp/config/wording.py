"""What is wrong with a configuration, in words that say what to do."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator

from pydantic import ValidationError

from pdp.config.document import ENVIRONMENT_PREFIX, IssuerSection, ProviderSection, variables


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
