// Drives an MCP server over stdio with the official TypeScript client.
//
// usage: drive.mjs MAJOR '{"command": …, "args": […], "env": {…}}' '[{"tool": …, "arguments": {…}}, …]' ['{"modern": true, "elicit": {…}}']
//
// MAJOR is 1 (@modelcontextprotocol/sdk) or 2 (@modelcontextprotocol/client).
// Prints one JSON object a line: the negotiated protocol, the tools, then the
// result of each call as it arrives. Calls run one after another, except those
// with "concurrent": true, which run together with the ones that follow.
// A call with "tamper" comes back with a changed requestState.
// With "modern" it speaks 2026-07-28, where MAJOR can. With "elicit" it shows what
// its user is asked, {"asked": …}, and answers with that, "after" so many seconds.

const [major, serverText, callsText, optionsText] = process.argv.slice(2);
const { modern, elicit } = JSON.parse(optionsText ?? "{}");
const [{ Client }, { StdioClientTransport, getDefaultEnvironment }] =
  major === "1"
    ? [
        await import("@modelcontextprotocol/sdk/client/index.js"),
        await import("@modelcontextprotocol/sdk/client/stdio.js"),
      ]
    : [
        await import("@modelcontextprotocol/client"),
        await import("@modelcontextprotocol/client/stdio"),
      ];

const show = (object) => console.log(JSON.stringify(object));
const server = JSON.parse(serverText);
const transport = new StdioClientTransport({
  ...server,
  env: { ...getDefaultEnvironment(), ...server.env },
  stderr: "inherit",
});
const client = new Client(
  { name: "drive", version: "1.0.0" },
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
const call = async (index, { tool, arguments: given, tamper }) => {
  const params = { name: tool, arguments: given };
  try {
    show({ call: index, result: await (tamper ? tampered(params) : client.callTool(params)) });
  } catch (error) {
    show({ call: index, error: `${error.name}: ${error.message}` });
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
