"""What a client can find out from the server: what is wrong with a message, and what the API is."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from pdp.errors import InvalidRequestError
from pdp.server.authorization import RefusedError, _rich, invalid
from pdp.v1 import authorization_pb2 as pb
from pdp.wire import request_to_pb
from tests.simulators.configurations import good_tree, write_files
from tests.simulators.decision_points import AUTHORIZE, RunningServer, ask, message, running_server
from tests.test_batch import BATCH, asked
from tests.test_batch import message as batch_message
from tests.test_config import load


async def violations(running: RunningServer, path: str, data: bytes) -> list[tuple[str, str]]:
    """The field violations of a refused call."""
    async with running.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path, bytes, bytes)(data, timeout=5)
    error = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    # Pairs; the stubs take them for something else.
    trailer: dict[str, bytes] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]
    status = status_pb2.Status.FromString(trailer["grpc-status-details-bin"])
    assert (status.code, status.message) == (3, error.details())
    (detail,) = status.details
    request = error_details_pb2.BadRequest()
    assert detail.Unpack(request)
    return [(found.field, found.description) for found in request.field_violations]


def test_invalid_argument_names_the_field_for_programs(tmp_path: Path) -> None:
    """`google.rpc.BadRequest` with the path of the field, for single questions and batches."""
    deep = request_to_pb(ask())
    deep.context["x"].map_value.entries["y"].SetInParent()
    nobody = request_to_pb(ask())
    nobody.ClearField("subject")
    cases = [
        (AUTHORIZE, deep.SerializeToString(), "context.x.y"),
        (AUTHORIZE, nobody.SerializeToString(), "subject.type"),
        (AUTHORIZE, message(dataclasses.replace(ask(), tenant="else")), "tenant"),
        (AUTHORIZE, b"\xff", "request"),
        (BATCH, batch_message([]), "items"),
        (BATCH, batch_message(asked("read", "read")[:1] * 2), "items[1].request_id"),
    ]

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            for path, data, field in cases:
                ((found, description),) = await violations(running, path, data)
                assert found == field
                assert description

    asyncio.run(scenario())


def test_only_invalid_argument_has_details() -> None:
    """A stranger is told in words, and nothing else; long paths are cut."""
    stranger = RefusedError(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated", "no")
    assert _rich(stranger, "no") == ()
    long = invalid(InvalidRequestError("x" * 9_000, "y" * 9_000))
    ((_, data),) = _rich(long, "short")
    assert len(data) < 2_000


async def reflected(running: RunningServer) -> list[reflection_pb2.ServerReflectionResponse]:
    """Services, and the file of ours."""
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="pdp.v1.AuthorizationService"
        ),
    ]
    async with running.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        return [answer async for answer in stub.ServerReflectionInfo(iter(requests), timeout=5)]


def test_reflection_tells_the_api_when_it_is_on(tmp_path: Path) -> None:
    """The services that there are, and the messages of ours, over mutual TLS."""

    async def scenario() -> None:
        async with running_server(tmp_path, reflection=True) as running:
            services, file = await reflected(running)
            assert {one.name for one in services.list_services_response.service} == {
                "pdp.v1.AuthorizationService",
                "grpc.health.v1.Health",
                "grpc.reflection.v1alpha.ServerReflection",
            }
            (data, *_) = file.file_descriptor_response.file_descriptor_proto
            described = descriptor_pb2.FileDescriptorProto.FromString(data)
            (service,) = described.service
            assert [method.name for method in service.method] == [
                "Authorize",
                "AuthorizeBatch",
                "AuthorizeStream",
            ]
            answer = await running.call(message())
            assert answer.effect == pb.EFFECT_PERMIT

    asyncio.run(scenario())


def test_reflection_is_off_unless_it_is_set(tmp_path: Path) -> None:
    """Nobody gets it by default, in settings as on the port."""
    write_files(tmp_path)
    assert load(tmp_path, good_tree()).reflection is False
    assert load(tmp_path, {**good_tree(), "reflection": True}).reflection is True

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            async with running.channel() as channel:
                path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(path, bytes, bytes)(b"", timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())
