"""Loading a bundle of 10,000 policies: seconds and memory, in a process of its own.

One rule a policy, one condition of two conjuncts a rule, every condition
another text. What is measured is what a PDP does between having fetched the
archive and being able to answer: shape and digests of every member, decoding,
refusing what is not known, the index, the code of the first rules. Seconds are of
the processor: on a machine of one's own they are those of the clock.
`python -m loadtests.loading ARCHIVE` is the process that is measured.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loadtests.rounds import Target
from pdp.archive import ArchiveLimits, write_archive
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.bundle.contents import (
    COMPILED,
    COMPILED_SUFFIX,
    SOURCES,
    check_manifest,
    compile_bundle,
    read_bundle,
)
from pdp.bundle.manifest import MANIFEST_NAME, Manifest
from pdp.bundle.tenants import PREPARED_RULES_MAX
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.checked_expr import decode
from pdp.compiled import CheckedCondition, Conditions, encode_callers, encode_policy
from pdp.model import Effect
from pdp.policy import PolicyDocument, RuleDocument

POLICIES = 10_000
_SECONDS_MAX, _MEGABYTES_MAX = 5.0, 500.0
_KILOBYTES = 1_024
_SOURCE = """\
policy: {name}
resource: {resource}
owner: bench@example.org
rules:
  - id: read
    effect: permit
    actions: [read]
    when: '{condition}'
    justification: bench
"""


def write(path: Path, policies: int = POLICIES) -> None:
    """An archive with so many policies."""
    members: dict[str, bytes] = {}
    with Checker() as checker:
        for number in range(policies):
            name, resource = f"policy-{number:05d}", f"type-{number // 10}"
            text = (
                f'subject.properties.department == "department-{number}" '
                f"&& resource.properties.amount < {number + 1}"
            )
            checked = checker.check(text, CONDITION_VARIABLES).checked_expr
            rule = RuleDocument(
                "read", Effect.PERMIT, ("read",), None, decode(checked, text),
                None, None, "bench", (),
            )  # fmt: skip
            document = PolicyDocument(name, resource, "bench@example.org", (), (), (), (rule,))
            conditions: Conditions = {("rule", "read"): CheckedCondition(text, checked, 8, 12)}
            source = _SOURCE.format(name=name, resource=resource, condition=text)
            members[f"{SOURCES}{name}.yaml"] = source.encode()
            members[f"{COMPILED}{name}.yaml{COMPILED_SUFFIX}"] = encode_policy(
                document, f"sources/{name}.yaml", conditions
            )
    entry = CallerEntry("spiffe://bench.example.org/pep", ("*",), ("*",), ("*",))
    members[f"{SOURCES}callers.yaml"] = b"kind: callers\n"
    members[f"{COMPILED}callers.yaml{COMPILED_SUFFIX}"] = encode_callers(
        CallerPolicy((entry,)), "sources/callers.yaml"
    )
    manifest = Manifest(
        revision=1,
        signed_at_s=1_790_000_000,
        source_commit="",
        min_pdp="0.1.0",
        development=False,
        members={name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
    )
    path.write_bytes(write_archive({**members, MANIFEST_NAME: manifest.to_bytes()}))


def load(path: Path) -> dict[str, float]:
    """Load it here; seconds of the processor, and the peak of this process in megabytes."""
    archive = path.read_bytes()
    started = time.process_time()
    bundle = read_bundle(archive, ArchiveLimits())
    check_manifest(bundle.manifest, {})
    policies = compile_bundle(bundle, EvaluationLimits()).policies
    policies.prepare(PREPARED_RULES_MAX)
    seconds = time.process_time() - started
    if not policies.candidates("type-7", "read", 0):
        raise SystemExit("bench: a loaded bundle has no rules")
    return {"seconds": seconds, "megabytes": _peak_kilobytes() / _KILOBYTES}


def _peak_kilobytes() -> int:
    # Not `getrusage`: its maximum may be that of the process this one was forked from.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise SystemExit("bench: this system does not say how much memory a process had")


def targets(rounds: int = 3) -> list[Target]:
    """The medians of some processes, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.tar"
        write(path)
        found = [_child(path) for _ in range(rounds)]
        size = path.stat().st_size / 1_000_000
    seconds = sorted(one["seconds"] for one in found)
    megabytes = sorted(one["megabytes"] for one in found)
    middle = rounds // 2
    words = f"{POLICIES:,} policies, an archive of {size:.0f} MB"
    return [
        Target(f"{words}: seconds", seconds[middle], at_most=_SECONDS_MAX),
        Target(f"{words}: megabytes", megabytes[middle], at_most=_MEGABYTES_MAX),
    ]


def _child(path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.loading", str(path)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"bench: loading failed: {done.stderr.strip()[-500:]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    print(json.dumps(load(Path(sys.argv[1]))))
