"""Stand-ins for a client in the tests of the calling program.

For tests only: `import pdp_client` does not load this module, and nothing in
the client can turn into one of these.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from pdp.model import (
    Action,
    Cause,
    Decision,
    Effect,
    Obligation,
    Properties,
    Request,
    Resource,
    Semantic,
    Subject,
    deny,
)
from pdp_client import _arguments, _core
from pdp_client._answers import UNDECIDED, Answers, Question, Undecided
from pdp_client._core import AccessDenied

_log = logging.getLogger("pdp_client")


class _StandIn:
    """Keeps what it was asked, in `asked`, and always gives the same decision."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self.asked: list[Request] = []

    @property
    def budget_s(self) -> float:
        """As the client's default."""
        return _arguments.BUDGET_S_DEFAULT

    def _ask(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None,
        timeout: float | None,
        tenant: str,
        *,
        explain: bool,
        subject_token: str,
    ) -> Decision:
        """The decision. What the client would raise or deny, this does too."""
        request = _arguments.question(
            subject,
            action,
            resource,
            context,
            tenant,
            request_id="0" * 32,
            explain=explain,
            subject_token=subject_token,
        )
        budget_s = _arguments.budget(timeout, _arguments.BUDGET_S_DEFAULT)
        self.asked.append(request)
        try:
            _core.begin(request, 0.0, budget_s)
        except Exception as error:  # noqa: BLE001 as the client: a question that cannot be asked is denied
            return _core.denial(error, asked=False).decision
        return self._decision

    def _ask_batch(
        self, questions: Sequence[Question], semantic: Semantic, timeout: float | None
    ) -> Answers:
        """Each as if it came alone, until the semantic ends it."""
        if not isinstance(semantic, Semantic):
            raise TypeError(f"semantic must be a Semantic, not {type(semantic).__name__}")
        decided: list[Decision | Undecided] = []
        for one in questions:
            if not isinstance(one, Question):
                raise TypeError(
                    f"questions must hold pdp_client.Question, not {type(one).__name__}"
                )
            last = decided[-1] if decided else None
            if isinstance(last, Undecided) or (last is not None and semantic.ends(last)):
                decided.append(UNDECIDED)
                continue
            decided.append(
                self._ask(
                    *(one.subject, one.action, one.resource, one.context, timeout, one.tenant),
                    explain=one.explain,
                    subject_token=one.subject_token,
                )
            )
        return Answers(decided)


class _Sync(_StandIn):
    """With the methods of `Client`."""

    def authorize(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """As `Client.authorize`, without a PDP."""
        return self._ask(
            subject,
            action,
            resource,
            context,
            timeout,
            tenant,
            explain=explain,
            subject_token=subject_token,
        )

    def enforce(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """As `Client.enforce`, without a PDP."""
        return _enforced(
            self._ask(
                subject,
                action,
                resource,
                context,
                timeout,
                tenant,
                explain=explain,
                subject_token=subject_token,
            )
        )

    def authorize_batch(
        self,
        questions: Sequence[Question],
        semantic: Semantic = Semantic.EXECUTE_ALL,
        *,
        timeout: float | None = None,
    ) -> Answers:
        """As `Client.authorize_batch`, without a PDP."""
        return self._ask_batch(questions, semantic, timeout)

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class _Async(_StandIn):
    """With the methods of `AsyncClient`."""

    async def authorize(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 the client's signature
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """As `AsyncClient.authorize`, without a PDP."""
        return self._ask(
            subject,
            action,
            resource,
            context,
            timeout,
            tenant,
            explain=explain,
            subject_token=subject_token,
        )

    async def enforce(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """As `AsyncClient.enforce`, without a PDP."""
        return _enforced(
            self._ask(
                subject,
                action,
                resource,
                context,
                timeout,
                tenant,
                explain=explain,
                subject_token=subject_token,
            )
        )

    async def authorize_batch(
        self,
        questions: Sequence[Question],
        semantic: Semantic = Semantic.EXECUTE_ALL,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Answers:
        """As `AsyncClient.authorize_batch`, without a PDP."""
        return self._ask_batch(questions, semantic, timeout)

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


def _enforced(decision: Decision) -> Decision:
    if decision.effect is not Effect.PERMIT:
        raise AccessDenied(decision)
    return decision


class DenyAll(_Sync):
    """Denies every question, for the cause given."""

    def __init__(self, cause: Cause = Cause.DEFAULT) -> None:
        super().__init__(deny(cause))


class AsyncDenyAll(_Async):
    """Denies every question, for the cause given."""

    def __init__(self, cause: Cause = Cause.DEFAULT) -> None:
        super().__init__(deny(cause))


class UnsafePermitAll(_Sync):
    """Permits every question that can be asked. Nothing has been decided: for tests only.

    Its permits name no record and no bundle. It warns when it is made, so
    that one which strays out of a test is found.
    """

    def __init__(self, obligations: tuple[Obligation, ...] = ()) -> None:
        super().__init__(_unsafe_permit(obligations))


class AsyncUnsafePermitAll(_Async):
    """`UnsafePermitAll` for asyncio."""

    def __init__(self, obligations: tuple[Obligation, ...] = ()) -> None:
        super().__init__(_unsafe_permit(obligations))


def _unsafe_permit(obligations: tuple[Obligation, ...]) -> Decision:
    _log.warning("unsafe: a stand-in that permits everything is in use")
    return Decision(Effect.PERMIT, Cause.RULE, ("unsafe/permit-all",), obligations)
