"""What rows of tests ask that ask over HTTP: the HTTP mapping makes it, as in the PDP."""

from __future__ import annotations

from dataclasses import replace

from pdp.authoring.http_rows import TOKEN
from pdp.authoring.policy_tests import TestDocuments, TestRow
from pdp.authoring.problems import Problems, word
from pdp.boundary import InputLimits
from pdp.call import Refused
from pdp.cel.limits import EvaluationLimits
from pdp.errors import InvalidRequestError
from pdp.http_mapping import HttpMapping, MappingDocument
from pdp.http_question import HttpQuestion
from pdp.http_request import HttpRequest
from pdp.model import Caller
from pdp.subject_token import SubjectToken
from pdp.values import INT64_MAX


def translated(tests: TestDocuments, mapping: MappingDocument | None) -> TestDocuments:
    """The tests with what those ask that ask over HTTP.

    Args:
        tests: as read.
        mapping: of the folder, without problems; None: there is none.
    """
    asking = [row for row in tests.rows if row.http is not None]
    if not asking:
        return tests
    if mapping is None:
        problems = Problems()
        for row in asking:
            hint = "a document `kind: http_mapping` says what a request asks"
            message = f"test {word(row.name)} asks over HTTP, and there is no HTTP mapping"
            problems.add(row.position, message, hint)
        return replace(tests, problems=(*tests.problems, *problems.sorted()))
    compiled = HttpMapping(mapping, EvaluationLimits())
    rows = tuple(row if row.http is None else _asked(row, row.http, compiled) for row in tests.rows)
    return replace(tests, rows=rows)


def _asked(row: TestRow, http: HttpRequest, mapping: HttpMapping) -> TestRow:
    subject = row.request.subject

    def verify(text: str) -> SubjectToken | None:
        # The row's own claims are put beside the question when it is asked.
        ours = text == TOKEN and row.token is not None
        return SubjectToken("", "", subject.type, subject.id, INT64_MAX, {}) if ours else None

    question = HttpQuestion(http, Caller(row.caller), InputLimits())
    try:
        found = question.mapped(mapping, row.now_ns, verify)
    except InvalidRequestError as error:
        found = Refused(question.request, error)
    if isinstance(found, Refused):
        return replace(row, denied=found.cause)
    # A route that asserts looks at no token.
    token = row.token if question.wants_token else None
    return replace(row, request=replace(found.request, subject_token=""), token=token)
