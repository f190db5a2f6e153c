"""Which tenant a request is about that names none: the operator's word alone. Law ring: pure.

Where several tenants share a PDP, each writes its own caller policy. Were the
tenant looked for in those, one tenant could make another's requests ambiguous
by listing its callers. So it is taken from configuration, and only then asked
whether that tenant's caller policy knows the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

AMBIGUOUS = ""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """The tenants of a PDP, and whose callers need not name theirs.

    Attributes:
        served: every tenant that is to be served, whether its bundle can be used or not.
        default: of callers that nothing else is said of; empty: none.
        of_callers: tenant by SPIFFE ID, or by `spiffe://domain/path/*`; the longest
            that matches counts.
    """

    served: frozenset[str]
    default: str = ""
    of_callers: Mapping[str, str] = field(default_factory=dict)

    def home(self, spiffe_id: str) -> str:
        """The tenant of a request that names none; `AMBIGUOUS` if it must name one."""
        if len(self.served) == 1:
            (only,) = self.served
            return only
        if spiffe_id in self.of_callers:
            return self.of_callers[spiffe_id]
        found = max(
            (each for each in self.of_callers if _below(each, spiffe_id)), key=len, default=""
        )
        return self.of_callers.get(found, self.default)


def _below(pattern: str, spiffe_id: str) -> bool:
    prefix = pattern.removesuffix("*")
    return prefix.endswith("/") and spiffe_id.startswith(prefix) and spiffe_id != prefix
