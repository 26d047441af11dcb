// Runs the command line of the conformance suite that is installed as PACKAGE.
//
// usage: run.mjs PACKAGE [ARGUMENT…]
//
// The suite imports `globSync`, which Node.js has from 22 on, for a command that
// is not used here. For an older Node.js there is one that only says so.

import * as fs from "node:fs";
import { register } from "node:module";

if (!fs.globSync) {
  const substitute = `
    export * from "node:fs";
    export const globSync = () => { throw new Error("this command needs Node.js 22"); };`;
  const hook = `
    const url = ${JSON.stringify(`data:text/javascript,${encodeURIComponent(substitute)}`)};
    export const resolve = (specifier, context, next) =>
      specifier === "fs" && context.parentURL.includes("/conformance")
        ? { url, shortCircuit: true }
        : next(specifier, context);`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
}

const [name] = process.argv.splice(2, 1);
await import(`./node_modules/${name}/dist/index.js`);
