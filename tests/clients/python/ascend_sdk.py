"""Drives a center with ASCEND's official Python SDK.

Reads one JSON object a line, does it, and prints the outcome as one:

  {"call": METHOD, "with": {…}}            a method of `AscendClient`
  {"govern": DECORATOR, "of": [ACTION_TYPE, RESOURCE], "with": {…},
   "config": {…}, "arguments": {…}, "sync": BOOL, "fail": BOOL}
                                           a tool under a decorator of `ascend.mcp`

The outcome has "result" or "error", and for a tool how often its body "ran".
The center's URL and key come from the SDK's own environment variables.
"""

import asyncio
import dataclasses
import enum
import json
import sys
import types

from ascend import AscendClient
from ascend import mcp


def plain(value):
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        for name in ("status", "raw_status"):
            fields.setdefault(name, plain(getattr(value, name, None)))
        return fields
    if isinstance(value, types.SimpleNamespace):
        return plain(vars(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def govern(client, order):
    ran = []

    def body(**arguments):
        ran.append(arguments)
        if order.get("fail"):
            raise RuntimeError("the tool broke")
        return {"ran with": arguments}

    def tool(table):
        """A tool."""
        return body(table=table)

    async def async_tool(table):
        """A tool."""
        return body(table=table)

    is_sync = order.get("sync")
    options = dict(order.get("with", {}))
    if "config" in order:
        options["config"] = mcp.MCPGovernanceConfig(**order["config"])
    name = order["govern"]
    if name == "middleware":
        decorator = mcp.MCPGovernanceMiddleware(client).govern
    else:
        decorator = lambda *of, **options: getattr(mcp, name)(client, *of, **options)
    governed = decorator(*order["of"], **options)(tool if is_sync else async_tool)
    try:
        if is_sync:
            outcome = {"result": plain(governed(**order["arguments"]))}
        else:
            outcome = {"result": plain(asyncio.run(governed(**order["arguments"])))}
    except Exception as error:  # whatever the SDK makes of it is what is tested
        outcome = failure(error)
    return {**outcome, "ran": len(ran)}


def failure(error):
    return {"error": type(error).__name__, "message": str(error)}


def do(client, order):
    if "govern" in order:
        return govern(client, order)
    try:
        return {"result": plain(getattr(client, order["call"])(**order.get("with", {})))}
    except Exception as error:
        return failure(error)


def main():
    client = AscendClient(**json.loads(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(do(client, json.loads(line))), flush=True)
    client.close()


main()
