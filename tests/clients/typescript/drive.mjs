// Drives an MCP server with the official TypeScript client.
//
// usage: drive.mjs MAJOR '{"command": …, "args": […], "env": {…}}' '[{"tool": …, "arguments": {…}}, …]' ['{"modern": true, "elicit": {…}}']
//
// MAJOR is 1 (@modelcontextprotocol/sdk) or 2 (@modelcontextprotocol/client).
// A server that listens already is {"url": …}. With "name" the client calls itself
// so.
//
// Prints one JSON object a line: the negotiated protocol, the tools, then the
// result of each call as it arrives. Calls run one after another, except those
// with "concurrent": true, which run together with the ones that follow. With
// "progress": true each report of progress is printed too, with "reset": true it
// extends the time that the client waits, and with "cancel_on_progress": 2 the
// call is cancelled at the second by which the server says that it waits. A call with "tamper" comes back with a changed
// requestState.
// With "modern" it speaks 2026-07-28, where MAJOR can. With "elicit" it shows what
// its user is asked, {"asked": …}, and answers with that, "after" so many seconds.

const [major, serverText, callsText, optionsText] = process.argv.slice(2);
const { modern, elicit } = JSON.parse(optionsText ?? "{}");
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
const { name = "drive", url, ...started } = server;
const transport = url
  ? new StreamableHTTPClientTransport(new URL(url))
  : new StdioClientTransport({
      ...started,
      env: { ...getDefaultEnvironment(), ...started.env },
      stderr: "inherit",
    });
const client = new Client(
  { name, version: "1.0.0" },
  {
    capabilities: elicit ? { elicitation: {} } : {},
    ...(modern && { versionNegotiation: { mode: { pin: "2026-07-28" } } }),
  },
);
if (elicit) {
  const { after, ...answer } = elicit;
  const kind =
    major === "1"
      ? (await import("@modelcontextprotocol/sdk/types.js")).ElicitRequestSchema
      : "elicitation/create";
  client.setRequestHandler(kind, async ({ params }) => {
    show({ asked: params });
    await new Promise((resolve) => setTimeout(resolve, after * 1000));
    return answer;
  });
}
await client.connect(transport);
show({ protocol: client.getNegotiatedProtocolVersion?.() ?? transport._protocolVersion ?? null });
show({ tools: (await client.listTools()).tools });

// By hand, with a state that the server did not give.
const tampered = async (params) => {
  const by = { allowInputRequired: true };
  const { requestState } = await client.request({ method: "tools/call", params }, by);
  const changed = { ...params, requestState: requestState.replace(/.$/, "-") };
  return client.request({ method: "tools/call", params: changed }, by);
};
const call = async (index, spec) => {
  const options = {};
  if (spec.progress || spec.cancel_on_progress) {
    const cancels = new AbortController();
    let reports = 0;
    options.signal = cancels.signal;
    options.resetTimeoutOnProgress = spec.reset ?? false;
    options.onprogress = ({ progress, message }) => {
      show({ call: index, progress, message });
      const waits = message?.startsWith("Waiting");
      if (waits && ++reports === spec.cancel_on_progress) cancels.abort();
    };
  }
  const params = { name: spec.tool, arguments: spec.arguments };
  const calling = () =>
    major === "1"
      ? client.callTool(params, undefined, options)
      : client.callTool(params, options);
  try {
    const result = await (spec.tamper ? tampered(params) : calling());
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
