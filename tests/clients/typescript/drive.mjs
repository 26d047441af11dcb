// Drives an MCP server with the official TypeScript client.
//
// usage: drive.mjs MAJOR '{"command": …, "args": […], "env": {…}}' '[{"tool": …, "arguments": {…}}, …]'
//
// MAJOR is 1 (@modelcontextprotocol/sdk) or 2 (@modelcontextprotocol/client).
// A server that listens already is {"url": …}. With "name" the client calls itself
// so; with "negotiate": "auto" the second major asks for 2026-07-28.
//
// Prints one JSON object a line: the negotiated protocol, the tools, then the
// result of each call as it arrives. Calls run one after another, except those
// with "concurrent": true, which run together with the ones that follow. With
// "progress": true each report of progress is printed too, with "reset": true it
// extends the time that the client waits, and with "cancel_on_progress": true the
// call is cancelled at the first.

const [major, serverText, callsText] = process.argv.slice(2);
const { Client, StdioClientTransport, getDefaultEnvironment, StreamableHTTPClientTransport } =
  major === "1"
    ? {
        ...(await import("@modelcontextprotocol/sdk/client/index.js")),
        ...(await import("@modelcontextprotocol/sdk/client/stdio.js")),
        ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
      }
    : {
        ...(await import("@modelcontextprotocol/client")),
        ...(await import("@modelcontextprotocol/client/stdio")),
      };

const show = (object) => console.log(JSON.stringify(object));
const server = JSON.parse(serverText);
const { name = "drive", negotiate, url, ...started } = server;
const transport = url
  ? new StreamableHTTPClientTransport(new URL(url))
  : new StdioClientTransport({
      ...started,
      env: { ...getDefaultEnvironment(), ...started.env },
      stderr: "inherit",
    });
const client = new Client(
  { name, version: "1.0.0" },
  { capabilities: {}, ...(negotiate && { versionNegotiation: { mode: negotiate } }) },
);
await client.connect(transport);
show({ protocol: client.getNegotiatedProtocolVersion?.() ?? transport._protocolVersion ?? null });
show({ tools: (await client.listTools()).tools });

const call = async (index, spec) => {
  const options = {};
  if (spec.progress || spec.cancel_on_progress) {
    const cancels = new AbortController();
    options.signal = cancels.signal;
    options.resetTimeoutOnProgress = spec.reset ?? false;
    options.onprogress = ({ progress, message }) => {
      show({ call: index, progress, message });
      if (spec.cancel_on_progress) cancels.abort();
    };
  }
  const params = { name: spec.tool, arguments: spec.arguments };
  try {
    const result =
      major === "1"
        ? await client.callTool(params, undefined, options)
        : await client.callTool(params, options);
    show({ call: index, result });
  } catch (error) {
    if (options.signal?.aborted) show({ call: index, cancelled: true });
    else show({ call: index, error: `${error.name}: ${error.message}` });
  }
};
const running = [];
for (const [index, spec] of JSON.parse(callsText).entries()) {
  const done = call(index, spec);
  if (spec.concurrent) running.push(done);
  else await done;
}
await Promise.all(running);
await client.close();
