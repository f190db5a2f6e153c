"""The first caller policy of a new folder of policies."""

from __future__ import annotations

import re
from pathlib import Path

from pdp.authoring.sources import read_folder
from pdp.bundle.settings import DEFAULT_TENANT
from pdp.errors import ConfigurationError

STARTER_NAME = "callers.yaml"
_KIND_CALLERS = re.compile(rb"^kind:\s*[\"']?callers\b", re.MULTILINE)
_STARTER = """\
# Which workload may ask the PDP what. A caller that is not listed is denied.
# One entry must cover a whole request; narrow this one down once you know what is asked.
kind: callers
callers:
  - id: {caller}
{tenants}    resources: ["*"]    # or a list of resource types
    actions: ["*"]      # or a list of actions
    subjects:
      assert: [user]    # subject types that it may speak for
"""


def has_callers(folder: Path) -> bool:
    """Whether a folder of policies has a caller policy, right or wrong."""
    if not folder.exists():
        return False
    documents = read_folder(folder).policies
    return any(_KIND_CALLERS.search(data) for data in documents.values())


def write_starter(folder: Path, caller: str, tenant: str = DEFAULT_TENANT) -> Path:
    """Write a caller policy with one entry.

    Args:
        folder: of policies; made if it is not there.
        caller: a SPIFFE ID that was checked.
        tenant: whose policies these are.

    Raises:
        ConfigurationError: a file of that name is there and is no caller policy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / STARTER_NAME
    try:
        with path.open("x", encoding="utf-8") as file:
            tenants = "" if tenant == DEFAULT_TENANT else f"    tenants: [{tenant}]\n"
            file.write(_STARTER.format(caller=caller, tenants=tenants))
    except FileExistsError:
        raise ConfigurationError(
            f"`{path}` is there but begins with no `kind: callers`: move it away"
        ) from None
    return path
