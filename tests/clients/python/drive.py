"""Drives an MCP server over stdio with the official Python client.

usage: drive.py '{"command": …, "args": […], "env": {…}}' '[{"tool": …, "arguments": {…}}, …]' ['{"modern": true, "elicit": {…}}']

Prints one JSON object a line: the negotiated protocol, the tools, then the
result of each call as it arrives. Calls run one after another, except those
with "concurrent": true, which run together with the ones that follow.
A call with "tamper" comes back with a changed requestState.
With "modern" it speaks 2026-07-28, where it can. With "elicit" it shows what its
user is asked, {"asked": …}, and answers with that, "after" so many seconds.
Works with both major versions of the client.
"""

import asyncio
import contextlib
import json
import sys

from mcp import StdioServerParameters

try:
    from mcp import Client, stdio_client
    from mcp_types import ElicitResult

    VERSION = 2
except ImportError:
    from mcp import ClientSession
    from mcp.client.stdio import stdio_client
    from mcp.types import ElicitResult

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
    parameters = StdioServerParameters(**server)
    handlers = answering(options.get("elicit"))
    if VERSION == 2:
        mode = "2026-07-28" if options.get("modern") else "auto"
        async with Client(stdio_client(parameters), mode=mode, **handlers) as client:
            yield client, client.protocol_version
    else:
        async with stdio_client(parameters) as (read, write):
            async with ClientSession(read, write, **handlers) as client:
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


async def call(client, index, tool, arguments, tamper=False, **_):
    try:
        calling = tampered(client, tool, arguments) if tamper else client.call_tool(tool, arguments)
        show(call=index, result=dump(await calling))
    except Exception as error:  # whatever the client makes of it is what is tested
        show(call=index, error=f"{type(error).__name__}: {error}")


async def main(server, calls, options):
    async with connect(server, options) as (client, protocol):
        show(protocol=protocol)
        show(tools=[dump(tool) for tool in (await client.list_tools()).tools])
        running = []
        for index, spec in enumerate(calls):
            task = asyncio.create_task(call(client, index, **spec))
            if spec.get("concurrent"):
                running.append(task)
            else:
                await task
        await asyncio.gather(*running)


asyncio.run(main(*map(json.loads, [*sys.argv[1:], "{}"][:3])))
