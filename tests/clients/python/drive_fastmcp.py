"""Drives an MCP server over stdio with FastMCP's client, which takes tasks.

usage and output: as drive.py; the calls run one after another.
"""

import asyncio
import json
import sys

import fastmcp
import fastmcp_tasks  # noqa: F401: makes every client declare the extension
from fastmcp.client.transports import StdioTransport


def show(**fields):
    print(json.dumps(fields), flush=True)


def dump(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def main(server, calls):
    async with fastmcp.Client(StdioTransport(**server, keep_alive=False)) as client:
        show(protocol=client.protocol_version)
        show(tools=[dump(tool) for tool in await client.list_tools()])
        for index, spec in enumerate(calls):
            result = await client.call_tool_mcp(spec["tool"], spec["arguments"])
            show(call=index, result=dump(result))


asyncio.run(main(json.loads(sys.argv[1]), json.loads(sys.argv[2])))
