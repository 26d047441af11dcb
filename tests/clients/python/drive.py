"""Drives an MCP server with the official Python client.

usage: drive.py '{"command": …, "args": […], "env": {…}}' '[{"tool": …, "arguments": {…}}, …]'

A server that listens already is {"url": …}. With "name" the client calls itself so.

Prints one JSON object a line: the negotiated protocol, the tools, then the
result of each call as it arrives. Calls run one after another, except those
with "concurrent": true, which run together with the ones that follow. With
"progress": true each report of progress is printed too, and with
"cancel_on_progress": true the call is cancelled at the first.
Works with both major versions of the client.
"""

import asyncio
import contextlib
import json
import sys

from mcp import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

try:
    from mcp import Client, stdio_client
    from mcp.types import Implementation

    VERSION = 2
except ImportError:
    from mcp import ClientSession
    from mcp.client.stdio import stdio_client
    from mcp.types import Implementation

    VERSION = 1


@contextlib.asynccontextmanager
async def connect(server):
    name = server.pop("name", None)
    named = {"client_info": Implementation(name=name, version="1")} if name else {}
    if "url" in server:
        transport = streamable_http_client(server["url"])
    else:
        transport = stdio_client(StdioServerParameters(**server))
    if VERSION == 2:
        async with Client(transport, **named) as client:
            yield client, client.protocol_version
    else:
        async with transport as (read, write, *_):
            async with ClientSession(read, write, **named) as client:
                initialized = await client.initialize()
                yield client, initialized.protocolVersion


def show(**fields):
    print(json.dumps(fields), flush=True)


def dump(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def call(client, index, spec):
    options = {}
    if spec.get("progress") or spec.get("cancel_on_progress"):
        task = asyncio.current_task()

        async def told(progress, total, message):
            show(call=index, progress=progress, message=message)
            if spec.get("cancel_on_progress"):
                task.cancel()

        options["progress_callback"] = told
    try:
        result = await client.call_tool(spec["tool"], spec["arguments"], **options)
        show(call=index, result=dump(result))
    except asyncio.CancelledError:
        show(call=index, cancelled=True)
    except Exception as error:  # whatever the client makes of it is what is tested
        show(call=index, error=f"{type(error).__name__}: {error}")


async def main(server, calls):
    async with connect(server) as (client, protocol):
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


asyncio.run(main(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
