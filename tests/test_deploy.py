"""The container image and the manifests: what can be held without an engine and without a cluster.

A law takes what is deployed and tells what is wrong with it. For every law there are changes that
must break it: its twins. `make prove` also carries the image's build steps out in a folder.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from dockerfile_parse import DockerfileParser
from ruamel.yaml import YAML

from pdp.audit.budget import MEBIBYTE, SpoolLimits
from pdp.config import ConfigurationProblemsError, Settings, load_settings
from pdp.config.settings import TlsSettings
from tests.conftest import ROOT, Ledger
from tests.simulators.decision_points import RunningServer, running_server
from tests.test_house import _locked, _tracked

DOCKERFILE = ROOT / "Dockerfile"
DEPLOY = ROOT / "docs" / "deploy"
KUBERNETES = ("1.29", kubernetes_validate.latest_version())
INSTRUCTIONS = {
    *("FROM", "ENV", "WORKDIR", "COPY", "RUN", "LABEL", "USER", "EXPOSE", "STOPSIGNAL"),
    *("HEALTHCHECK", "ENTRYPOINT", "CMD"),
}

Step = tuple[str, str]
Manifest = dict[str, Any]


# --- the image -----------------------------------------------------------------------------------


def _steps(text: str) -> list[Step]:
    """Instructions and their values, in order, comments left out."""
    parser = DockerfileParser(fileobj=io.BytesIO(text.encode()))
    steps = [(step["instruction"], step["value"]) for step in parser.structure]
    return [step for step in steps if step[0] != "COMMENT"]


def _values(steps: list[Step], instruction: str) -> list[str]:
    return [value for name, value in steps if name == instruction]


def _stages(steps: list[Step]) -> list[list[Step]]:
    starts = [at for at, (name, _) in enumerate(steps) if name == "FROM"]
    return [steps[a:b] for a, b in zip(starts, [*starts[1:], len(steps)], strict=True)]


def _arguments(value: str) -> list[str] | None:
    """The arguments of an exec form, or None: a shell would run it."""
    try:
        found = json.loads(value)
    except ValueError:
        return None
    plain = isinstance(found, list) and found and all(isinstance(word, str) for word in found)
    return found if plain else None


def _health_check(steps: list[Step]) -> list[str] | None:
    (value,) = _values(steps, "HEALTHCHECK") or [""]
    return _arguments(value.partition("CMD ")[2])


def _options(command: list[str]) -> dict[str, str]:
    """`--name value` and `--name=value` behind `pdp health`."""
    words = [part for word in command[2:] for part in word.split("=", 1)]
    return dict(zip(words[::2], words[1::2], strict=True))


def every_base_is_named_by_digest(steps: list[Step]) -> Iterator[str]:
    """Stages begin with one and the same image, by digest."""
    bases = [value.partition(" ")[0] for value in _values(steps, "FROM")]
    for base in bases:
        digest = re.fullmatch(r"[a-z0-9.-]+:[a-z0-9.-]+@sha256:([0-9a-f]{64})", base)
        if not digest or len(set(digest[1])) == 1:
            yield f"`{base}` is not named by a digest"
    if len(set(bases)) != 1:
        yield "the stages have different bases"


def it_does_not_run_as_root(steps: list[Step]) -> Iterator[str]:
    """The last user of the last stage is a number that is not 0, and so is its group."""
    users = _values(_stages(steps)[-1], "USER")
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        yield "runs as root, or as a name that cannot be checked"


def no_shell_stands_before_the_process(steps: list[Step]) -> Iterator[str]:
    """Entry point, command and health check are in exec form, and start no shell."""
    last = _stages(steps)[-1]
    started = [_arguments(_values(last, name)[-1]) for name in ("ENTRYPOINT", "CMD")]
    for arguments in [*started, _health_check(last)]:
        if arguments is None or arguments[0].rpartition("/")[2] in {"sh", "bash", "dash", "env"}:
            yield "a shell runs it, and would swallow signals"


def its_health_is_asked_by_the_pdp_itself(steps: list[Step]) -> Iterator[str]:
    """The health check is `pdp health`: no second client, no unauthenticated port."""
    if (_health_check(_stages(steps)[-1]) or [])[:2] != ["pdp", "health"]:
        yield "the health check is not `pdp health`"


def it_is_stopped_kindly(steps: list[Step]) -> Iterator[str]:
    """The signal is the one on which the PDP drains."""
    if _values(_stages(steps)[-1], "STOPSIGNAL") != ["SIGTERM"]:
        yield "the stop signal is not SIGTERM"


def every_package_is_checked_by_hash(steps: list[Step]) -> Iterator[str]:
    """What pip takes from an index was locked; what it takes from here needs no index."""
    for value in _values(steps, "RUN"):
        for command in value.split("&&"):
            if not re.search(r"-m pip (--\S+ \S+ )?(install|wheel|download)\b", command):
                continue
            if "--no-index" not in command and not (
                "--require-hashes" in command and "--only-binary :all:" in command
            ):
                yield f"packages that nobody locked: `{command.strip()}`"


def nothing_comes_from_outside_the_repository(steps: list[Step]) -> Iterator[str]:
    """No build argument, no download, no index, no network client: base, locks and sources."""
    text = "\n".join(f"{name} {value}" for name, value in steps)
    for name, _ in steps:
        if name not in INSTRUCTIONS:
            yield f"`{name}` is not used here"
    words = re.findall(r"://|--[\w-]*index-url|\bcurl\b|\bwget\b", text)
    yield from (f"`{word}`" for word in words)


def it_holds_no_secret(steps: list[Step]) -> Iterator[str]:
    """No key, token or password is copied in or set."""
    for name, value in steps:
        if name in {"ENV", "LABEL"} and re.search(r"(?i)token|secret|passw|credential", value):
            yield f"`{name}` sets a secret"
        if name == "COPY" and re.search(r"(?i)\.(pem|key|p12|env)\b|(^|\s)\.(\s|$|/\s)", value):
            yield f"`COPY {value}` may take keys along"


def nothing_in_it_can_install_anything(steps: list[Step]) -> Iterator[str]:
    """Neither the base's Python nor the environment has pip in the image that runs."""
    last = " ".join(_values(_stages(steps)[-1], "RUN"))
    if not re.search(r"pip uninstall --yes .*\bpip\b", last):
        yield "the base's pip is still there"
    if any(" -m venv" in run and "--without-pip" not in run for run in _values(steps, "RUN")):
        yield "the environment has a pip"


def state_is_never_on_a_volume_without_a_name(steps: list[Step]) -> Iterator[str]:
    """Who mounts nothing gets a refusal, and not a volume that is gone with the container."""
    if _values(steps, "VOLUME"):
        yield "VOLUME makes one"


IMAGE_LAWS: dict[Callable[[list[Step]], Iterator[str]], list[tuple[str, str]]] = {
    every_base_is_named_by_digest: [
        (r"(?m)^(FROM \S+?)@sha256:\w+$", r"\1"),
        (r"@sha256:\w+", "@sha256:" + 64 * "0"),
        (r"(?m)^FROM \S+ AS build", "FROM build:latest AS build"),
        (r"(?m)^FROM \S+?(@\S+)$", r"FROM ${BASE}\1"),
    ],
    it_does_not_run_as_root: [
        (r"(?m)^USER .*$", ""),
        (r"(?m)^USER .*$", "USER 0:0"),
        (r"(?m)^USER .*$", "USER pdp"),
        (r"(?m)^(CMD .*)$", r"\1\nUSER root"),
    ],
    no_shell_stands_before_the_process: [
        (r"(?m)^ENTRYPOINT .*$", "ENTRYPOINT pdp"),
        (r"(?m)^CMD .*$", "CMD serve"),
        (r"(?m)^ENTRYPOINT .*$", 'ENTRYPOINT ["/bin/sh", "-c", "pdp serve"]'),
        (r"(?s)CMD \[ .*?\]", "CMD pdp health"),
    ],
    its_health_is_asked_by_the_pdp_itself: [
        (r"(?s)HEALTHCHECK .*?\]", ""),
        (r"(?s)HEALTHCHECK .*?\]", "HEALTHCHECK NONE"),
        (r'"pdp", "health",', '"true",'),
    ],
    it_is_stopped_kindly: [("STOPSIGNAL SIGTERM", ""), ("SIGTERM", "SIGKILL")],
    every_package_is_checked_by_hash: [
        ("--require-hashes ", ""),
        ("--only-binary :all:", ""),
        ("--no-index --wheel-dir", "--wheel-dir"),
    ],
    nothing_comes_from_outside_the_repository: [
        (r"(?m)^(WORKDIR /build)$", r"ARG EXTRA\n\1"),
        (r"(?m)^COPY pdp/ pdp/$", "ADD pdp/ pdp/"),
        ("--require-hashes", "--require-hashes --extra-index-url=x"),
        (r"(?m)^(COPY pdp/ pdp/)$", r"RUN curl example\n\1"),
    ],
    it_holds_no_secret: [
        (r"(?m)^(WORKDIR /build)$", r"\1\nENV STORE_TOKEN=x"),
        (r"(?m)^COPY pdp/ pdp/$", "COPY . ."),
        (r"(?m)^(COPY pdp/ pdp/)$", r"\1\nCOPY keys/root-1.pem /etc/pdp/"),
    ],
    nothing_in_it_can_install_anything: [
        (r"setuptools wheel pip \\", r"setuptools wheel \\"),
        ("--without-pip ", ""),
    ],
    state_is_never_on_a_volume_without_a_name: [
        (r"(?m)^(EXPOSE 8443)$", r"VOLUME /var/lib/pdp\n\1")
    ],
}


@pytest.mark.parametrize("law", IMAGE_LAWS, ids=lambda law: law.__name__)
def test_image_keeps_the_law(law: Callable[[list[Step]], Iterator[str]]) -> None:
    """The Dockerfile keeps each law of images."""
    assert list(law(_steps(DOCKERFILE.read_text()))) == []


@pytest.mark.parametrize(
    ("law", "pattern", "replacement"),
    [(law, *twin) for law, twins in IMAGE_LAWS.items() for twin in twins],
    ids=[f"{law.__name__}-{at}" for law, twins in IMAGE_LAWS.items() for at in range(len(twins))],
)
def test_image_law_twin_without_guard(
    law: Callable[[list[Step]], Iterator[str]], pattern: str, replacement: str
) -> None:
    """A Dockerfile that lacks what the law asks for breaks it."""
    text = DOCKERFILE.read_text()
    changed = re.sub(pattern, replacement, text)
    assert changed != text, "the twin changes nothing"
    assert list(law(_steps(changed))) != []


def test_builder_is_given_what_the_image_copies_and_nothing_else() -> None:
    """`.dockerignore` excludes everything, then lets in exactly the sources of COPY."""
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for value in _values(_steps(DOCKERFILE.read_text()), "COPY")
        if not value.startswith("--from=")
        for source in value.split()[:-1]
    }
    assert copied == let_in
    for source in copied:
        assert (ROOT / source).exists(), source


def test_wheel_of_the_image_is_built_with_what_the_project_says() -> None:
    """requirements/build.txt locks `build-system.requires`, as the workshop's lock does."""
    text = (ROOT / "pyproject.toml").read_text()
    (wanted,) = re.findall(r'(?m)^requires = \["([^"]+)"\]$', text)
    lines = (ROOT / "requirements" / "build.in").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [wanted]
    locked = _locked("build")
    assert locked.items() <= _locked("dev").items()
    assert set(locked) == {re.split(r"\W", wanted)[0]}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pdp.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _pdp(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Whether there is such a command, with such options."""
    return _run(*arguments, "--help")


def test_commands_that_are_deployed_exist() -> None:
    """What the image starts, and what asks for its health, are commands of `pdp`."""
    last = _stages(_steps(DOCKERFILE.read_text()))[-1]
    program = json.loads(_values(last, "ENTRYPOINT")[0])
    pod = _pdp_container(_manifests())
    words = [
        [*program, *json.loads(_values(last, "CMD")[0])],
        [*program, *pod["args"]],
        _health_check(last) or [],
        pod["readinessProbe"]["exec"]["command"],
    ]
    for name, *arguments in words:
        assert name == "pdp"
        result = _pdp(*arguments)
        assert result.returncode == 0, result.stderr


def test_command_that_does_not_exist_is_noticed_twin_without_guard() -> None:
    """The question of `test_commands_that_are_deployed_exist` has a second answer."""
    assert _pdp("healthy").returncode == 2
    assert _pdp("health", "--tarpit", "localhost:8443").returncode == 2


@pytest.mark.prove
def test_build_steps_of_the_image_work_in_a_folder(tmp_path: Path, ledger: Ledger) -> None:
    """COPY and RUN of the build stage, from the tracked files alone, make a `pdp` that runs."""
    context, opt = tmp_path / "context", tmp_path / "opt"
    for path in _tracked():
        copied = context / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copied)
    build, base = tmp_path / "build", tmp_path / "base"
    build.mkdir()
    subprocess.run([sys.executable, "-m", "venv", base], check=True, timeout=120)
    stage = _stages(_steps(DOCKERFILE.read_text()))[0]
    for name, value in stage:
        if name == "COPY":
            *sources, target = value.split()
            for source in sources:
                if (context / source).is_dir():
                    shutil.copytree(context / source, build / target, dirs_exist_ok=True)
                else:
                    (build / target).mkdir(exist_ok=True)
                    shutil.copy2(context / source, build / target)
        elif name == "RUN":
            command = value.replace("/opt/portcullis", str(opt))
            places = f"{base / 'bin'}:{os.environ['PATH']}"
            subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=build,
                env={**os.environ, "PATH": places},
                check=True,
                timeout=600,
            )
    pdp = opt / "bin" / "pdp"
    assert subprocess.run([pdp, "--help"], check=True, timeout=60, cwd=tmp_path).returncode == 0
    refused = subprocess.run(
        [pdp, "serve", "--config", "none"], cwd=tmp_path, timeout=60, check=False
    )
    assert refused.returncode == 2
    missing = "import importlib.util as u; print([bool(u.find_spec(n)) for n in {}])"
    found = subprocess.run(
        [opt / "bin" / "python", "-c", missing.format("['pip', 'cel_expr_python', 'hypothesis']")],
        capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert found.stdout.strip() == "[False, False, False]"
    installed = sorted(path.name for path in opt.glob("lib/*/site-packages/*.dist-info"))
    assert len(installed) == len(_locked("server")) + 1
    ledger(seed="none", cases=1, steps=len(stage), packages=len(installed))


# --- the manifests -------------------------------------------------------------------------------


@cache
def _read() -> list[Manifest]:
    yaml = YAML(typ="safe", pure=True)
    listed = yaml.load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    return [document for name in listed for document in yaml.load_all((DEPLOY / name).read_text())]


def _manifests() -> list[Manifest]:
    # JSON, because YAML's anchors make parts of it one object, and a twin changes one part.
    manifests: list[Manifest] = json.loads(json.dumps(_read()))
    return manifests


def _one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [
        manifest
        for manifest in manifests
        if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
    ]
    return found


def _pod(manifests: list[Manifest]) -> Manifest:
    pod: Manifest = _one(manifests, "StatefulSet", "pdp")["spec"]["template"]["spec"]
    return pod


def _containers(manifests: list[Manifest]) -> list[Manifest]:
    pod = _pod(manifests)
    return [*pod["initContainers"], *pod["containers"]]


def _pdp_container(manifests: list[Manifest]) -> Manifest:
    container: Manifest = _pod(manifests)["containers"][0]
    return container


def _settings(manifests: list[Manifest], folder: Path) -> Settings:
    """What the PDP in the pod would run with, on files that lie below `folder`."""
    text = _one(manifests, "ConfigMap", "pdp-config")["data"]["pdp.toml"]
    for shown in re.findall(r'= "(/[^"]+)"', text):
        here = folder / shown[1:]
        here.parent.mkdir(parents=True, exist_ok=True)
        if here.suffix:
            here.write_text("not looked into")
    path = folder / "pdp.toml"
    path.write_text(text.replace('= "/', f'= "{folder}/'))
    return load_settings(path)


def no_container_may_be_root(manifests: list[Manifest]) -> Iterator[str]:
    """The pod says a user that is not 0, and that it must not be."""
    security = _pod(manifests).get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser", 0) > 0:
        yield "may run as root"
    for container in _containers(manifests):
        own = container.get("securityContext", {})
        if own.keys() & {"runAsUser", "runAsNonRoot", "privileged", "procMount"}:
            yield f"`{container['name']}` says otherwise"


def no_container_can_gain_a_right_or_write_to_its_image(
    manifests: list[Manifest],
) -> Iterator[str]:
    """No capability, no escalation, a root file system to read, the runtime's system calls."""
    if _pod(manifests).get("securityContext", {}).get("seccompProfile") != {
        "type": "RuntimeDefault"
    }:
        yield "system calls are not limited"
    for container in _containers(manifests):
        own = container.get("securityContext", {})
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"`{container['name']}` keeps capabilities"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"`{container['name']}` may escalate"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"`{container['name']}` may write to its image"


def the_pod_shares_nothing_with_its_node(manifests: list[Manifest]) -> Iterator[str]:
    """No namespace, port or path of the node."""
    pod = _pod(manifests)
    yield from pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"}
    yield from (volume["name"] for volume in pod["volumes"] if "hostPath" in volume)
    for container in _containers(manifests):
        yield from (port["name"] for port in container.get("ports", []) if "hostPort" in port)


def no_token_of_the_cluster_is_in_the_pod(manifests: list[Manifest]) -> Iterator[str]:
    """Neither the pod nor its account mounts one, and no volume projects one."""
    pod = _pod(manifests)
    account = _one(manifests, "ServiceAccount", pod["serviceAccountName"])
    for owner in (pod, account):
        if owner.get("automountServiceAccountToken") is not False:
            yield "a token is mounted"
    if "serviceAccountToken" in json.dumps(pod["volumes"]):
        yield "a token is projected"


def what_kubernetes_sets_never_reaches_the_settings(manifests: list[Manifest]) -> Iterator[str]:
    """No PDP_* variable but those in the manifest: those of service links would be refused."""
    if _pod(manifests).get("enableServiceLinks") is not False:
        yield "PDP_SERVICE_HOST is set"


def every_image_is_named_by_digest(manifests: list[Manifest]) -> Iterator[str]:
    """No tag: what was reviewed is what runs."""
    for container in _containers(manifests):
        if not re.fullmatch(r"[^:@]+@sha256:[0-9a-f]{64}", container["image"]):
            yield f"`{container['image']}` is named by a tag"


def nobody_runs_an_image_by_accident(manifests: list[Manifest]) -> Iterator[str]:
    """The images of this folder are nowhere to be had: an overlay has to name some."""
    for container in _containers(manifests):
        if not container["image"].startswith("registry.invalid/"):
            yield f"`{container['image']}` is somebody's"


def every_container_has_a_memory_limit(manifests: list[Manifest]) -> Iterator[str]:
    """Nobody takes the node's memory; and what is limited was asked for."""
    for container in _containers(manifests):
        resources = container.get("resources", {})
        if not resources.get("limits", {}).get("memory"):
            yield f"`{container['name']}` has no limit"
        if not resources.get("requests", {}).keys() >= {"cpu", "memory"}:
            yield f"`{container['name']}` asks for nothing"
    for volume in _pod(manifests)["volumes"]:
        if "sizeLimit" not in volume.get("emptyDir", {"sizeLimit": ""}):
            yield f"`{volume['name']}` may fill the memory"


def readiness_is_asked_of_the_pdp_and_no_restart_hangs_on_it(
    manifests: list[Manifest],
) -> Iterator[str]:
    """A PDP that denies gets no calls; it is not killed, for that mends nothing."""
    container = _pdp_container(manifests)
    probe = container.get("readinessProbe", {})
    if probe.get("exec", {}).get("command", [])[:2] != ["pdp", "health"]:
        yield "readiness is not `pdp health`"
    elif 1000 * probe["timeoutSeconds"] <= int(_options(probe["exec"]["command"])["--timeout-ms"]):
        yield "the probe is cut off before it can say anything"
    for killing in ("livenessProbe", "startupProbe"):
        if container.get(killing, {}).get("exec", {}).get("command", [])[:2] == ["pdp", "health"]:
            yield f"{killing} restarts a PDP that is stale"


def what_was_remembered_outlives_the_pod(manifests: list[Manifest]) -> Iterator[str]:
    """One volume for each PDP, one writer for each volume, and nothing deletes them."""
    spec = _one(manifests, "StatefulSet", "pdp")["spec"]
    claims = {claim["metadata"]["name"]: claim["spec"] for claim in spec["volumeClaimTemplates"]}
    mounts = {
        mount["mountPath"]: mount["name"] for mount in _pdp_container(manifests)["volumeMounts"]
    }
    claim = claims.get(mounts.get("/var/lib/pdp", ""), {})
    if claim.get("accessModes") != ["ReadWriteOncePod"]:
        yield "state is not on a volume with one writer"
    if spec.get("persistentVolumeClaimRetentionPolicy") != {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }:
        yield "volumes may be deleted"
    if int(claim.get("resources", {}).get("requests", {}).get("storage", "0Gi")[:-2]) * 1024 < (
        2 * SpoolLimits().directory_bytes_max // MEBIBYTE
    ):
        yield "the spool does not fit twice"


def keys_are_never_on_a_disk(manifests: list[Manifest]) -> Iterator[str]:
    """Private keys and temporary files are in memory, and the PDP cannot change its own key."""
    volumes = {volume["name"]: volume for volume in _pod(manifests)["volumes"]}
    for name in ("svid", "tmp"):
        if volumes[name].get("emptyDir", {}).get("medium") != "Memory":
            yield f"`{name}` is on a disk"
    mounts = {mount["name"]: mount for mount in _pdp_container(manifests)["volumeMounts"]}
    if mounts["svid"].get("readOnly") is not True or "workload-api" in mounts:
        yield "the PDP reaches more of its identity than it needs"


def nobody_is_let_in_or_out_who_is_not_named(manifests: list[Manifest]) -> Iterator[str]:
    """Everything is closed; what is opened names pods and namespaces and ports."""
    policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
    closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if closed not in policies:
        yield "the namespace is not closed"
    for policy in policies:
        for rule in [*policy.get("ingress", []), *policy.get("egress", [])]:
            if not rule.get("ports"):
                yield "a rule for all ports"
            peers = rule.get("from", rule.get("to", []))
            if not peers:
                yield "a rule for everybody"
            for peer in peers:
                chosen = [
                    peer.get(which, {}).get("matchLabels")
                    for which in ("namespaceSelector", "podSelector")
                ]
                if not all(chosen):
                    yield f"{peer} does not name pods in namespaces"


def the_pdp_is_reached_on_one_port(manifests: list[Manifest]) -> Iterator[str]:
    """Service, pod and policy agree on the port that the settings name, and open no other."""
    port = 8443
    for service in (m for m in manifests if m["kind"] == "Service"):
        if [item["port"] for item in service["spec"]["ports"]] != [port]:
            yield f"the service `{service['metadata']['name']}`"
        if service["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield "open to the outside"
    if [p["containerPort"] for p in _pdp_container(manifests)["ports"]] != [port]:
        yield "the container"
    ingress = _one(manifests, "NetworkPolicy", "pdp")["spec"]["ingress"]
    if [p["port"] for rule in ingress for p in rule["ports"]] != [port]:
        yield "the policy"
    toml = _one(manifests, "ConfigMap", "pdp-config")["data"]["pdp.toml"]
    if f'listen = "0.0.0.0:{port}"' not in toml:
        yield "the settings"


def one_node_or_one_drain_takes_one_pdp(manifests: list[Manifest]) -> Iterator[str]:
    """At least three, on different nodes, and disruptions come one at a time."""
    spec = _one(manifests, "StatefulSet", "pdp")["spec"]
    if spec["replicas"] < 3:
        yield "too few"
    spread = spec["template"]["spec"].get("topologySpreadConstraints", [])
    by_node = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": spec["selector"],
    }
    if by_node not in spread:
        yield "all on one node"
    budget = _one(manifests, "PodDisruptionBudget", "pdp")["spec"]
    if budget.get("maxUnavailable") != 1 or budget["selector"] != spec["selector"]:
        yield "no budget"


def the_cluster_holds_the_namespace_to_the_same(manifests: list[Manifest]) -> Iterator[str]:
    """Pod Security Standards, the restricted one, enforced."""
    labels = _one(manifests, "Namespace", "pdp")["metadata"].get("labels", {})
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "not enforced"


Law = Callable[[list[Manifest]], Iterator[str]]
Twin = Callable[[list[Manifest]], object]

_POLICY = ("NetworkPolicy", "pdp")
_SET = ("StatefulSet", "pdp")

LAWS: dict[Law, list[Twin]] = {
    no_container_may_be_root: [
        lambda m: _pod(m)["securityContext"].pop("runAsNonRoot"),
        lambda m: _pod(m)["securityContext"].update(runAsUser=0),
        lambda m: _containers(m)[1]["securityContext"].update(runAsUser=0),
    ],
    no_container_can_gain_a_right_or_write_to_its_image: [
        lambda m: _pod(m)["securityContext"].pop("seccompProfile"),
        lambda m: _containers(m)[0]["securityContext"].pop("capabilities"),
        lambda m: _containers(m)[1]["securityContext"].pop("allowPrivilegeEscalation"),
        lambda m: _containers(m)[2]["securityContext"].update(readOnlyRootFilesystem=False),
        lambda m: _containers(m)[2].pop("securityContext"),
    ],
    the_pod_shares_nothing_with_its_node: [
        lambda m: _pod(m).update(hostNetwork=True),
        lambda m: _pod(m)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        lambda m: _pdp_container(m)["ports"][0].update(hostPort=8443),
    ],
    no_token_of_the_cluster_is_in_the_pod: [
        lambda m: _pod(m).pop("automountServiceAccountToken"),
        lambda m: _one(m, "ServiceAccount", "pdp").update(automountServiceAccountToken=True),
        lambda m: _pod(m)["volumes"].append(
            {"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
        ),
    ],
    what_kubernetes_sets_never_reaches_the_settings: [lambda m: _pod(m).pop("enableServiceLinks")],
    every_image_is_named_by_digest: [
        lambda m: _pdp_container(m).update(image="registry.invalid/portcullis:latest"),
        lambda m: _containers(m)[0].update(image="registry.invalid/spiffe-helper"),
    ],
    nobody_runs_an_image_by_accident: [
        lambda m: _pdp_container(m).update(image="portcullis@sha256:" + 64 * "a"),
    ],
    every_container_has_a_memory_limit: [
        lambda m: _containers(m)[0]["resources"].pop("limits"),
        lambda m: _pdp_container(m).pop("resources"),
        lambda m: _pod(m)["volumes"][-1]["emptyDir"].pop("sizeLimit"),
    ],
    readiness_is_asked_of_the_pdp_and_no_restart_hangs_on_it: [
        lambda m: _pdp_container(m).pop("readinessProbe"),
        lambda m: _pdp_container(m)["readinessProbe"].update(timeoutSeconds=1),
        lambda m: _pdp_container(m).update(livenessProbe=_pdp_container(m)["readinessProbe"]),
    ],
    what_was_remembered_outlives_the_pod: [
        lambda m: _one(m, *_SET)["spec"].pop("persistentVolumeClaimRetentionPolicy"),
        lambda m: _one(m, *_SET)["spec"]["volumeClaimTemplates"][0]["spec"].update(
            accessModes=["ReadWriteMany"]
        ),
        lambda m: _one(m, *_SET)["spec"]["volumeClaimTemplates"].clear(),
        lambda m: _pdp_container(m)["volumeMounts"].append(
            {"name": "tmp", "mountPath": "/var/lib/pdp"}
        ),
    ],
    keys_are_never_on_a_disk: [
        lambda m: next(v for v in _pod(m)["volumes"] if v["name"] == "svid").update(emptyDir={}),
        lambda m: _pdp_container(m)["volumeMounts"].append(
            {"name": "workload-api", "mountPath": "/w"}
        ),
    ],
    nobody_is_let_in_or_out_who_is_not_named: [
        lambda m: m.remove(_one(m, "NetworkPolicy", "default-deny")),
        lambda m: _one(m, *_POLICY)["spec"]["ingress"][0].pop("from"),
        lambda m: _one(m, *_POLICY)["spec"]["ingress"][0].pop("ports"),
        lambda m: _one(m, *_POLICY)["spec"]["ingress"][0]["from"][0].pop("podSelector"),
        lambda m: _one(m, *_POLICY)["spec"]["egress"].append({}),
        lambda m: _one(m, *_POLICY)["spec"]["egress"][0].update(
            to=[{"ipBlock": {"cidr": "0.0.0.0/0"}}]
        ),
    ],
    the_pdp_is_reached_on_one_port: [
        lambda m: _one(m, "Service", "pdp")["spec"].update(type="LoadBalancer"),
        lambda m: _one(m, "Service", "pdp")["spec"]["ports"].append({"port": 80}),
        lambda m: _pdp_container(m)["ports"][0].update(containerPort=8080),
        lambda m: _one(m, *_POLICY)["spec"]["ingress"][0]["ports"].append({"port": 9090}),
    ],
    one_node_or_one_drain_takes_one_pdp: [
        lambda m: _one(m, *_SET)["spec"].update(replicas=1),
        lambda m: _pod(m)["topologySpreadConstraints"].pop(0),
        lambda m: _one(m, "PodDisruptionBudget", "pdp")["spec"].update(maxUnavailable="100%"),
    ],
    the_cluster_holds_the_namespace_to_the_same: [
        lambda m: _one(m, "Namespace", "pdp")["metadata"].pop("labels"),
    ],
}


@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_are_what_kubernetes_accepts(version: str) -> None:
    """Every manifest fits its schema, no field unknown, in the oldest and the newest version."""
    manifests = _manifests()
    assert len(manifests) == len(list(DEPLOY.glob("*.yaml"))) + 1  # two services, two policies
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_misspelt_guard_is_no_guard_twin_without_guard() -> None:
    """The schemas see a field that Kubernetes would drop in silence."""
    manifests = _manifests()
    _pod(manifests)["enableServiceLink"] = _pod(manifests).pop("enableServiceLinks")
    with pytest.raises(kubernetes_validate.ValidationError, match="enableServiceLink"):
        kubernetes_validate.validate(_one(manifests, *_SET), KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_manifests_keep_the_law(law: Law) -> None:
    """The manifests keep each law of deployments."""
    assert list(law(_manifests())) == []


@pytest.mark.parametrize(
    ("law", "twin"),
    [(law, twin) for law, twins in LAWS.items() for twin in twins],
    ids=[f"{law.__name__}-{at}" for law, twins in LAWS.items() for at in range(len(twins))],
)
def test_manifest_law_twin_without_guard(law: Law, twin: Twin) -> None:
    """Manifests without the guard break the law."""
    manifests = copy.deepcopy(_manifests())
    twin(manifests)
    assert manifests != _manifests(), "the twin changes nothing"
    assert list(law(manifests)) != []


@pytest.fixture
def pod_environment(monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """The variables of the container, and no other of ours."""
    for name in [name for name in os.environ if name.startswith("PDP_")]:
        monkeypatch.delenv(name)
    container = _pdp_container(_manifests())
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "pdp-0"))
    return container


@pytest.mark.usefixtures("pod_environment")
def test_settings_of_the_config_map_are_settings(tmp_path: Path) -> None:
    """`pdp.toml` is read by the real loader; all it names is on a volume that the pod mounts."""
    settings = _settings(_manifests(), tmp_path)
    assert settings.instance == "pdp-0"
    container = _pdp_container(_manifests())
    writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
    mounted = {m["mountPath"] for m in container["volumeMounts"]}
    for path in (settings.bundle.state_folder, settings.record.folder):
        assert f"/{path.relative_to(tmp_path).parent}" in writable
    tls = settings.tls
    assert isinstance(tls, TlsSettings)
    for path in (tls.certificate, tls.key, tls.trust_bundle, settings.bundle.root):
        assert f"/{path.relative_to(tmp_path).parent}" in mounted


@pytest.mark.usefixtures("pod_environment")
def test_variables_of_service_links_would_stop_the_pdp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why `enableServiceLinks` is false: with them no PDP would start."""
    monkeypatch.setenv("PDP_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(ConfigurationProblemsError, match="PDP_SERVICE_HOST"):
        _settings(_manifests(), tmp_path)


@pytest.mark.usefixtures("pod_environment")
def test_nobody_is_killed_while_draining(tmp_path: Path) -> None:
    """The pod's time to end is longer than all that the settings give to ending."""
    limits = _settings(_manifests(), tmp_path).limits
    spans = [limits.stop_grace_s, getattr(limits, "drain_s", 0.0)]
    assert _pod(_manifests())["terminationGracePeriodSeconds"] >= sum(spans) + 15


def _probes() -> list[list[str]]:
    """What asks for health: the image's check, and the pod's."""
    last = _stages(_steps(DOCKERFILE.read_text()))[-1]
    return [
        _health_check(last) or [],
        _pdp_container(_manifests())["readinessProbe"]["exec"]["command"],
    ]


@pytest.mark.usefixtures("pod_environment")
def test_probes_show_the_certificate_of_the_pdp_to_its_own_port(tmp_path: Path) -> None:
    """Files and port are those of the settings, and the name is one that its certificate has."""
    settings = _settings(_manifests(), tmp_path)
    for options in map(_options, _probes()):
        tls = settings.tls
        assert isinstance(tls, TlsSettings)
        for option, path in (
            ("--certificate", tls.certificate),
            ("--key", tls.key),
            ("--trust-bundle", tls.trust_bundle),
        ):
            assert options[option] == f"/{path.relative_to(tmp_path)}"
        host, _, port = options["--target"].rpartition(":")
        assert int(port) == settings.listen.port
        assert options.get("--server-name", host) in {"localhost", "pdp.pdp.svc"}
    service = _one(_manifests(), "Service", "pdp")["metadata"]
    assert f"{service['name']}.{service['namespace']}.svc" == "pdp.pdp.svc"
    assert 'dnsNameTemplates: ["pdp.pdp.svc"]' in (DEPLOY / "README.md").read_text()


def test_probes_say_what_a_real_server_is(tmp_path: Path) -> None:
    """Each probe, on files and a port that are here, is 0 while a PDP serves, else 1."""

    async def ask(running: RunningServer, command: list[str]) -> int:
        options = _options(command) | {
            "--target": f"localhost:{running.address.port}",
            "--certificate": str(tmp_path / "server.pem"),
            "--key": str(tmp_path / "server.key"),
            "--trust-bundle": str(tmp_path / "trust.pem"),
            "--timeout-ms": "20000",
        }
        if "--server-name" in options:
            options["--server-name"] = "localhost"
        words = [word for option in options.items() for word in option]
        return (await asyncio.to_thread(_run, command[1], *words)).returncode

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            assert [await ask(running, probe) for probe in _probes()] == [0, 0]
            running.snapshots.snapshot = None
            await running.server.look()
            assert [await ask(running, probe) for probe in _probes()] == [1, 1]

    asyncio.run(scenario())


def test_helper_writes_what_the_pdp_reads() -> None:
    """Both configurations of spiffe-helper name the files that `pdp.toml` names, writable to it."""
    data = _one(_manifests(), "ConfigMap", "pdp-config")["data"]
    read = dict(re.findall(r'(?m)^(certificate|key|trust_bundle) = "(.+)"$', data["pdp.toml"]))
    for name, daemon in (("helper-once.conf", "false"), ("helper.conf", "true")):
        said = dict(re.findall(r'(?m)^(\w+) = "?([^"\n]+)"?$', data[name]))
        assert said["daemon_mode"] == daemon
        folder = said["cert_dir"]
        assert read == {
            "certificate": f"{folder}/{said['svid_file_name']}",
            "key": f"{folder}/{said['svid_key_file_name']}",
            "trust_bundle": f"{folder}/{said['svid_bundle_file_name']}",
        }
        assert said["key_file_mode"] == "0600"


def test_pages_that_speak_of_the_image_say_that_it_was_not_built() -> None:
    """Whoever reads about the image is told that no engine has built it."""
    pages = [ROOT / "README.md", *DEPLOY.glob("*.md"), ROOT / "docs" / "operations.md"]
    speaking = [page for page in pages if re.search(r"docker build|Dockerfile", page.read_text())]
    assert DEPLOY / "README.md" in speaking
    for page in speaking:
        assert re.search(r"(?i)not (been )?built", page.read_text()), page
