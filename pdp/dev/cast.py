"""Whose callers are played: a trust domain of the caller policy becomes `dev.invalid`.

    spiffe://demo.example.org/expenses/frontend    in the sources
    spiffe://dev.invalid/expenses/frontend         in the bundle of `pdp dev`

One trust domain is played, because a PDP has one: callers of another one could
not even connect to it. So no two callers become one, and nobody gets what the
sources do not give. The sources themselves are never written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pdp import compiled
from pdp.authoring.compilation import SOURCES_PREFIX, Compilation, CompiledFile
from pdp.bundle.anchor import DEVELOPMENT_TRUST_DOMAIN
from pdp.callers import ANY, CallerEntry, CallerPolicy
from pdp.errors import ConfigurationError
from pdp.policy import PolicySet

_SCHEME: Final = "spiffe://"
# For a pattern that no test names a caller of.
_SOMEBODY: Final = "somebody"
_HEAD: Final = (
    "# Made by `pdp dev` from the document of this name: the trust domain of every caller is\n"
    f"# `{DEVELOPMENT_TRUST_DOMAIN}` here, and callers of other trust domains are left out.\n"
    "kind: callers\n"
    "callers:\n"
)
# What a condition reads when it can see the trust domain: `caller.id`, `caller["id"]`, `caller`.
_TELLING: Final = frozenset(
    {
        ("caller",),
        ("caller.id",),
        ("caller", "id"),
        ("caller.trust_domain",),
        ("caller", "trust_domain"),
    }
)


@dataclass(frozen=True, slots=True)
class Role:
    """An entry of the caller policy, and who plays it.

    Attributes:
        entry: of `dev.invalid`.
        path: of the SPIFFE ID that gets a certificate, without its first slash.
    """

    entry: CallerEntry
    path: str

    @property
    def is_pattern(self) -> bool:
        """Whether the entry is about more than one workload."""
        return self.entry.id.endswith("/*")


@dataclass(frozen=True, slots=True)
class Cast:
    """The callers of a bundle as they are played.

    Attributes:
        trust_domain: the one that is played.
        roles: one for each of its entries.
        left_out: entries of other trust domains.
    """

    trust_domain: str
    roles: tuple[Role, ...]
    left_out: tuple[str, ...]

    @property
    def policy(self) -> CallerPolicy:
        """What the bundle says of callers."""
        return CallerPolicy(tuple(role.entry for role in self.roles))

    def path_of(self, caller: str) -> str | None:
        """Whose certificate stands for a caller of the sources, or None."""
        domain, path = _parts(caller)
        played = domain == self.trust_domain and any(path == role.path for role in self.roles)
        return path if played else None


def cast_of(callers: CallerPolicy, trust_domain: str = "", known: Iterable[str] = ()) -> Cast:
    """Decide who is played.

    Args:
        callers: as the sources say.
        trust_domain: the one to play; empty means that of the first entry.
        known: callers that tests name; they stand for patterns.

    Raises:
        ConfigurationError: nobody is of that trust domain.
        PolicyError: a name is too long with the other trust domain.
    """
    domains = list(dict.fromkeys(_parts(entry.id)[0] for entry in callers.entries))
    chosen = trust_domain or domains[0]
    if chosen not in domains:
        raise ConfigurationError(
            f"no caller is of the trust domain `{chosen}`: the callers are of {', '.join(domains)}"
        )
    known = tuple(known)
    roles = []
    for entry in callers.entries:
        domain, path = _parts(entry.id)
        if domain != chosen:
            continue
        mapped = dataclasses.replace(entry, id=f"{_SCHEME}{DEVELOPMENT_TRUST_DOMAIN}/{path}")
        if mapped.id.endswith(f"/{ANY}"):
            fitting = (_parts(name)[1] for name in known if entry.matches(name))
            path = next(fitting, path.removesuffix(ANY) + _SOMEBODY)
        roles.append(Role(mapped, path))
    left_out = tuple(entry.id for entry in callers.entries if _parts(entry.id)[0] != chosen)
    return Cast(chosen, tuple(roles), left_out)


def staged(compilation: Compilation, cast: Cast) -> Compilation:
    """The compilation with the callers of the cast; all else is the very same.

    The source of the caller policy is written anew, so that whoever signs
    can compile it and compare (`pdp.publishing.building`).
    """
    documents = []
    for document in compilation.documents:
        if isinstance(compiled.decode(document.compiled), CallerPolicy):
            path = document.source_path
            data = compiled.encode_callers(cast.policy, SOURCES_PREFIX + path)
            documents.append(CompiledFile(path, render(cast.policy), data))
        else:
            documents.append(document)
    return dataclasses.replace(compilation, documents=tuple(documents), callers=cast.policy)


def render(callers: CallerPolicy) -> bytes:
    """A `kind: callers` document that says just this."""
    lines = []
    for entry in callers.entries:
        lines.append(f"  - id: {_quoted(entry.id)}")
        lines += [
            f"    {key}: {_list(names)}"
            for key, names in (
                ("tenants", entry.tenants),
                ("resources", entry.resources),
                ("actions", entry.actions),
            )
        ]
        asserts = "{token: required}"
        if entry.asserts is not None:
            asserts = f"{{assert: {_list(entry.asserts)}}}"
        lines.append(f"    subjects: {asserts}")
        if entry.may:
            lines.append(f"    may: {_list(sorted(entry.may))}")
    return (_HEAD + "\n".join(lines) + "\n").encode()


def telling_rules(policies: PolicySet, compilation: Compilation, now_ns: int) -> tuple[str, ...]:
    """Names of rules that could notice the other trust domain, sorted."""
    found = {
        rule.name
        for document in compilation.policies
        for action in {action for rule in document.rules for action in rule.actions}
        for rule in policies.candidates(document.resource_type, action, now_ns)
        if rule.reads & _TELLING
    }
    return tuple(sorted(found))


def _parts(caller: str) -> tuple[str, str]:
    """Trust domain and path, the path without its first slash."""
    domain, _, path = caller.removeprefix(_SCHEME).partition("/")
    return domain, path


def _list(names: Iterable[str]) -> str:
    return "[" + ", ".join(map(_quoted, names)) + "]"


def _quoted(text: str) -> str:
    """A double-quoted scalar; only plain ASCII stands for itself (YAML 1.2, section 5.7)."""
    plain = (
        char
        if char.isascii() and char.isprintable() and char not in '"\\'
        else f"\\U{ord(char):08x}"
        for char in text
    )
    return '"' + "".join(plain) + '"'
