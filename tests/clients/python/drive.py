"""Drives an MCP server over stdio with the official Python client.

usage: drive.py '{"command": …, "args": […], "env": {…}}' '[{"tool": …, "arguments": {…}}, …]'

Prints one JSON object a line: the negotiated protocol, the tools, then the
result of each call as it arrives. Calls run one after another, except those
with "concurrent": true, which run together with the ones that follow.
Works with both major versions of the client.
"""

import asyncio
import contextlib
import json
import sys

from mcp import StdioServerParameters

try:
    from mcp import Client, stdio_client

    VERSION = 2
except ImportError:
    from mcp import ClientSession
    from mcp.client.stdio import stdio_client

    VERSION = 1


@contextlib.asynccontextmanager
async def connect(server):
    parameters = StdioServerParameters(**server)
    if VERSION == 2:
        async with Client(stdio_client(parameters)) as client:
            yield client, client.protocol_version
    else:
        async with stdio_client(parameters) as (read, write):
            async with ClientSession(read, write) as client:
                initialized = await client.initialize()
                yield client, initialized.protocolVersion


def show(**fields):
    print(json.dumps(fields), flush=True)


def dump(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def call(client, index, tool, arguments):
    try:
        show(call=index, result=dump(await client.call_tool(tool, arguments)))
    except Exception as error:  # whatever the client makes of it is what is tested
        show(call=index, error=f"{type(error).__name__}: {error}")


async def main(server, calls):
    async with connect(server) as (client, protocol):
        show(protocol=protocol)
        show(tools=[dump(tool) for tool in (await client.list_tools()).tools])
        running = []
        for index, spec in enumerate(calls):
            task = asyncio.create_task(call(client, index, spec["tool"], spec["arguments"]))
            if spec.get("concurrent"):
                running.append(task)
            else:
                await task
        await asyncio.gather(*running)


asyncio.run(main(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
