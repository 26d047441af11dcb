"""Drives an MCP server with the official Python client.

usage: drive.py '{"command": …, "args": […], "env": {…}}' '[{"tool": …, "arguments": {…}}, …]' ['{"modern": true, "elicit": {…}}']

A server that listens already is {"url": …}. With "name" the client calls itself so.

Prints one JSON object a line: the negotiated protocol, the tools, then the
result of each call as it arrives. Calls run one after another, except those
with "concurrent": true, which run together with the ones that follow. With
"progress": true each report of progress is printed too, and with
"cancel_on_progress": 2 the call is cancelled at the second by which the server
says that it waits.
A call with "tamper" comes back with a changed requestState.
With "modern" it speaks 2026-07-28, where it can. With "elicit" it shows what its
user is asked, {"asked": …}, and answers with that, "after" so many seconds.
Works with both major versions of the client.
"""

import asyncio
import contextlib
import itertools
import json
import sys

from mcp import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

try:
    from mcp import Client, stdio_client
    from mcp.types import Implementation
    from mcp_types import ElicitResult

    VERSION = 2
except ImportError:
    from mcp import ClientSession
    from mcp.client.stdio import stdio_client
    from mcp.types import ElicitResult, Implementation

    VERSION = 1


def answering(elicit):
    """What answers the server's questions; nothing where there is no answer."""
    if elicit is None:
        return {}
    after = elicit.pop("after")

    async def answer(_, params):
        show(asked=dump(params))
        await asyncio.sleep(after)
        return ElicitResult(**elicit)

    return {"elicitation_callback": answer}


@contextlib.asynccontextmanager
async def connect(server, options):
    name = server.pop("name", None)
    about = {"client_info": Implementation(name=name, version="1")} if name else {}
    about |= answering(options.get("elicit"))
    if "url" in server:
        transport = streamable_http_client(server["url"])
    else:
        transport = stdio_client(StdioServerParameters(**server))
    if VERSION == 2:
        mode = "2026-07-28" if options.get("modern") else "auto"
        async with Client(transport, mode=mode, **about) as client:
            yield client, client.protocol_version
    else:
        async with transport as (read, write, *_):
            async with ClientSession(read, write, **about) as client:
                initialized = await client.initialize()
                yield client, initialized.protocolVersion


def show(**fields):
    print(json.dumps(fields), flush=True)


def dump(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def tampered(client, tool, arguments):
    """By hand, with a state that the server did not give."""
    by_hand = {"allow_input_required": True}
    first = await client.session.call_tool(tool, arguments, **by_hand)
    changed = first.request_state[:-1] + "-"
    return await client.session.call_tool(tool, arguments, request_state=changed, **by_hand)


async def call(client, index, spec):
    tool, arguments = spec["tool"], spec["arguments"]
    options = {}
    if spec.get("progress") or spec.get("cancel_on_progress"):
        task = asyncio.current_task()
        reports = itertools.count(1)

        async def told(progress, total, message):
            show(call=index, progress=progress, message=message)
            waits = (message or "").startswith("Waiting")
            if waits and next(reports) == spec.get("cancel_on_progress"):
                task.cancel()

        options["progress_callback"] = told
    try:
        if spec.get("tamper"):
            result = await tampered(client, tool, arguments)
        else:
            result = await client.call_tool(tool, arguments, **options)
        show(call=index, result=dump(result))
    except asyncio.CancelledError:
        show(call=index, cancelled=True)
    except Exception as error:  # whatever the client makes of it is what is tested
        show(call=index, error=f"{type(error).__name__}: {error}")


async def main(server, calls, options):
    async with connect(server, options) as (client, protocol):
        show(protocol=protocol)
        show(tools=[dump(tool) for tool in (await client.list_tools()).tools])
        running = []
        for index, spec in enumerate(calls):
            task = asyncio.create_task(call(client, index, spec))
            if spec.get("concurrent"):
                running.append(task)
            else:
                await task
        await asyncio.gather(*running)


asyncio.run(main(*map(json.loads, [*sys.argv[1:], "{}"][:3])))
