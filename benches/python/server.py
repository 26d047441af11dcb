"""The official way: the `mcp` package's server, and the decorator of ASCEND's SDK."""

import logging
import os

from ascend import AscendClient, FailMode
from ascend.mcp import mcp_governance
from mcp.server.fastmcp import FastMCP

logging.disable(logging.CRITICAL)

server = FastMCP("bench", log_level="CRITICAL")
client = AscendClient(
    api_key=os.environ["ASCEND_API_KEY"],
    agent_id="bench",
    agent_name="bench",
    api_url=os.environ["ASCEND_BASE_URL"],
    fail_mode=FailMode.CLOSED,
)


@server.tool()
@mcp_governance(client, action_type="database.query", resource="analytics")
async def query(sql: str, database: str) -> str:
    """Runs a read-only query."""
    return f"{len(sql)} rows of {database}"


server.run()
