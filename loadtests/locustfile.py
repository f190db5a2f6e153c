r"""Load on a PDP through our own client, with Locust.

    locust -f loadtests/locustfile.py --headless -u 20 -t 60s \
        --pdp-target localhost:8443 --pdp-trust-bundle ca.pem \
        --pdp-certificate me.pem --pdp-key me.key --p99-ms 50

See loadtests/README.md. Each option can come from the environment. With `--scenario`
the users and times are those of budgets.toml, and so is what the answers are held to.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc.experimental.gevent  # type: ignore[import-not-found]
from locust import LoadTestShape, User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

# Locust puts the folder of this file on the path, not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import pdp_client
from loadtests import scenarios
from loadtests.tally import DECIDED, Tally, of_batch, to_json
from pdp_client import AccessDenied, Action, Client, ConfigurationError, Decision, Resource, Subject

# Locust has patched the standard library for gevent by now; C-core has to be told, too.
grpc.experimental.gevent.init_gevent()

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2

OPTIONS: Final = (
    ("--pdp-target", "LOAD_PDP_TARGET", "localhost:8443", "where the PDP is, `host:port`"),
    ("--pdp-trust-bundle", "LOAD_PDP_TRUST_BUNDLE", "", "PEM file: authorities of the PDP"),
    ("--pdp-certificate", "LOAD_PDP_CERTIFICATE", "", "PEM file: certificate of the caller"),
    ("--pdp-key", "LOAD_PDP_KEY", "", "PEM file: its private key"),
    ("--pdp-server-name", "LOAD_PDP_SERVER_NAME", "", "name in the PDP's certificate"),
    (
        "--pdp-can-meet",
        "LOAD_PDP_CAN_MEET",
        "notification:tell-department,record:name-the-delegation",
        "obligations, `type:id,type:id`",
    ),
    (
        "--questions",
        "LOAD_QUESTIONS",
        "",
        "file with one JSON question a line; without it, made up",
    ),
    ("--scenario", "LOAD_SCENARIO", "", "one of the file of budgets; users and times are its own"),
    ("--budgets", "LOAD_BUDGETS", str(scenarios.FILE), "file of scenarios and their budgets"),
    ("--outcome", "LOAD_OUTCOME", "", "file for what came of the scenario, as JSON"),
)
NUMBERS: Final = (
    ("--budget-ms", "LOAD_BUDGET_MS", 250.0, "time that a call may take"),
    ("--rate", "LOAD_RATE", 20.0, "questions a second that each user asks"),
    ("--p99-ms", "LOAD_P99_MS", 50.0, "exit code 1 if the 99th percentile is above"),
    ("--failures-max", "LOAD_FAILURES_MAX", 0.0, "share of calls that may go without a decision"),
)

# ruff: noqa: S311 chance makes load here, not secrets

Question = tuple[Subject, Action, Resource, dict[str, Any]]


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    """The options above, also for Locust's web page."""
    for flag, variable, default, text in OPTIONS:
        parser.add_argument(flag, env_var=variable, default=default, help=text)
    for flag, variable, number, text in NUMBERS:
        parser.add_argument(flag, env_var=variable, type=float, default=number, help=text)


DEPARTMENTS: Final = ("sales", "engineering", "finance")
ROLES: Final = ("manager", "director", "employee", "contractor")
STATUSES: Final = ("draft", "submitted", "approved")
ACTIONS: Final = ("read", "update", "submit", "approve", "reject")


def made_up() -> Question:
    """A question that policies/expense-reports decides one way or the other."""
    person, other = (f"user-{random.randrange(1_000)}" for _ in range(2))
    author = random.choice((person, other, other, other))
    subject = Subject(
        "user",
        person,
        {
            "department": random.choice(DEPARTMENTS),
            "roles": [random.choice(ROLES)],
            "grade": random.randrange(3, 8),
        },
    )
    resource = Resource(
        "expense_report",
        f"report-{random.randrange(100_000)}",
        {
            "author": author,
            "submitted_by": author,
            "department": random.choice(DEPARTMENTS),
            "status": random.choice(STATUSES),
            "amount_cents": random.randrange(3_000_000),
            "lines": [{"category": "travel"}, {"category": "meals"}],
        },
    )
    return subject, Action(random.choice(ACTIONS)), resource, {"mfa": random.choice((True, False))}


def batch_of(question: Callable[[], Question], resources: int, actions: int) -> list[Question]:
    """All pairs of so many resources and actions, about one person: a page of a list."""
    subject, _, _, context = question()
    found = [question()[2] for _ in range(resources)]
    names = random.sample(ACTIONS, actions)
    return [(subject, Action(name), each, context) for each in found for name in names]


def read_questions(path: Path) -> Callable[[], Question]:
    """Questions in turn, over and over.

    Raises:
        ConfigurationError: a line is no question; it is named.
    """
    questions: list[Question] = []
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ConfigurationError(f"cannot read `{path}`: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
            action = {"name": found["action"]} if isinstance(found["action"], str) else None
            questions.append(
                (
                    Subject(**found["subject"]),
                    Action(**(action or found["action"])),
                    Resource(**found["resource"]),
                    found.get("context", {}),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path}:{number}: not a question: {error}") from None
    if not questions:
        raise ConfigurationError(f"`{path}` has no questions")

    def turns() -> Iterator[Question]:
        while True:
            yield from questions

    turn = turns()
    return lambda: next(turn)


class _Shared:
    """One client for all users of this process, as a service would have it."""

    client: Client
    question: Callable[[], Question]
    tally: Tally
    scenario: scenarios.Scenario | None = None
    started: float = 0.0
    turns: Iterator[int] = itertools.count()


shared = _Shared()


@events.init.add_listener  # type: ignore[untyped-decorator]
def connect(environment: Environment, **_: Any) -> None:
    """Make the client; what cannot work ends Locust before it starts."""
    options: Any = environment.parsed_options
    try:
        shared.question = read_questions(Path(options.questions)) if options.questions else made_up
        shared.client = make_client(options)
        shared.tally = Tally()
        if options.scenario:
            follow(environment, options)
    except (ConfigurationError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_USAGE)


class Steps:
    """The users of a scenario, as Locust asks for them.

    Made a shape in `follow` only: Locust takes any shape that it finds in a
    locustfile, and the users and times of its own options would be lost on it.
    """

    def tick(self) -> tuple[int, float] | None:
        """Users, and how many may come in a second: all."""
        shape: Any = self
        users = shared.scenario.users_at(shape.get_run_time()) if shared.scenario else None
        return None if users is None else (users, float(users))


def follow(environment: Environment, options: Any) -> None:
    """Let users come and go as the scenario has it.

    Raises:
        ScenarioError: there is no such scenario, or the file cannot be used.
    """
    known = scenarios.read(Path(options.budgets))
    if options.scenario not in known:
        text = f"no scenario `{options.scenario}`; known: {', '.join(known)}"
        raise scenarios.ScenarioError(text)
    shared.scenario = known[options.scenario]
    if options.run_time:
        shared.scenario = shared.scenario.lasting(float(options.run_time))
        options.run_time = None
    options.rate = shared.scenario.rate
    environment.shape_class = type("Shape", (Steps, LoadTestShape), {})()
    environment.shape_class.runner = environment.runner


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def begin(**_: Any) -> None:
    """Seconds count from here."""
    shared.started = time.perf_counter()


def make_client(options: Any) -> Client:
    """The client that the options describe.

    Raises:
        ConfigurationError, ValueError: an option is missing, or cannot be used.
    """
    for name in ("pdp_trust_bundle", "pdp_certificate", "pdp_key"):
        if not getattr(options, name):
            raise ConfigurationError(f"`--{name.replace('_', '-')}` is missing")
    pairs = (pair.partition(":") for pair in options.pdp_can_meet.split(",") if pair)
    return Client(
        options.pdp_target,
        trust_bundle=options.pdp_trust_bundle,
        certificate=options.pdp_certificate,
        key=options.pdp_key,
        server_name=options.pdp_server_name or None,
        budget_s=options.budget_ms / 1000,
        can_meet={(kind, name) for kind, _, name in pairs},
    )


class Asker(User):
    """A service that asks at a steady rate, whatever the answers take.

    A rate, not a pause, and times count from when a question was due: one that
    had to wait for a slow answer before it was slow, too (coordinated omission).
    """

    def on_start(self) -> None:
        """Begin at a random point of the interval, or all users would ask at once."""
        options: Any = self.environment.parsed_options
        self.interval_s: float = 1 / options.rate
        self.due: float = time.perf_counter() + random.random() * self.interval_s
        tenants = shared.scenario.tenants if shared.scenario else ()
        # By turns, so that each has as many users as the others, or one less.
        self.tenant = tenants[next(shared.turns) % len(tenants)] if tenants else ""

    def wait_time(self) -> float:
        """Until the next question is due; none, when the last answer took longer."""
        self.due += self.interval_s
        left_s: float = self.due - time.perf_counter()
        return max(0.0, left_s)

    def ask(self, question: Question) -> tuple[Decision, str]:
        """One question: what was decided, and why it is denied if it is."""
        try:
            return shared.client.enforce(*question, tenant=self.tenant), ""
        except AccessDenied as denied:
            return denied.decision, denied.reason

    def ask_all(self, pairs: list[Question]) -> tuple[Decision, str]:
        """One batch, as one decision: see `of_batch`."""
        asked = [
            pdp_client.Question(*each[:3], context=each[3], tenant=self.tenant) for each in pairs
        ]
        answers = shared.client.authorize_batch(asked)
        decision = of_batch([answers[place] for place in range(len(asked))])
        return decision, "" if decision.cause in DECIDED else "not all of a batch were decided"

    @task
    def authorize(self) -> None:
        """Ask once, and tell Locust what came of it."""
        known = shared.tally.newest[self.tenant]
        batch = shared.scenario.batch if shared.scenario else None
        pairs = batch_of(shared.question, *batch) if batch else []
        question = shared.question()
        started = min(self.due, time.perf_counter())
        if pairs:
            decision, reason = self.ask_all(pairs)
        else:
            decision, reason = self.ask(question)
        ended = time.perf_counter()
        took_ms = (ended - started) * 1000
        failed = decision.cause not in DECIDED
        users = self.environment.runner.user_count if self.environment.runner else 0
        revision = decision.bundle.revision if decision.bundle else 0
        shared.tally.ended(
            int(ended - shared.started), users, took_ms, decision.cause, revision, known,
            tenant=self.tenant,
        )  # fmt: skip
        self.environment.events.request.fire(
            request_type="authorize_batch" if pairs else "authorize",
            name="no decision" if failed else decision.effect.name,
            response_time=took_ms,
            response_length=0,
            exception=RuntimeError(f"{decision.cause.name}: {reason}") if failed else None,
            context={},
        )


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def judge(environment: Environment, **_: Any) -> None:
    """Set the exit code by the latency budget and the share of failures."""
    options: Any = environment.parsed_options
    if shared.scenario:
        outcome = shared.tally.outcome()
        if options.outcome:
            Path(options.outcome).write_text(to_json(outcome))
        # Not Locust's own code, which is 1 after any failed call.
        refused = scenarios.problems(shared.scenario, outcome)
        environment.process_exit_code = EXIT_REFUSED if refused else 0
        return
    total = environment.stats.total
    p99_ms = total.get_response_time_percentile(0.99) or 0.0
    share = total.fail_ratio
    problems = []
    if not total.num_requests:
        problems.append("no question was asked")
    if p99_ms > options.p99_ms:
        problems.append(f"p99 is above {options.p99_ms:g} ms")
    if share > options.failures_max:
        problems.append(f"more than {options.failures_max:.2%} of the calls went undecided")
    sys.stderr.write(
        f"{total.num_requests} questions, p99 {p99_ms:g} ms, {share:.2%} undecided:"
        f" {'; '.join(problems) or 'within the budget'}\n"
    )
    # Locust's own code for failed calls is 1, too, however few: `--failures-max` decides here.
    environment.process_exit_code = EXIT_REFUSED if problems else 0
