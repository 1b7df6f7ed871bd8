// @ts-check
/**
 * Holds sdkit.mjs against results of the Python runtime, or tells what it thinks of bundles.
 *
 *     node conformance.mjs FOLDER              a conformance set, such as tests/conformance
 *     node conformance.mjs --open BUNDLE ...   one line of JSON for each bundle: the error, or null
 *
 * `--onnxruntime-web PATH` names the npm package where it is not installed beside this file.
 */

import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { conform } from "./golden.mjs";
import { Runtime, SdkitError } from "./sdkit.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { "onnxruntime-web": { type: "string" }, open: { type: "boolean" } },
});
const place = values["onnxruntime-web"];
const ort = await import(place ? pathToFileURL(path.join(place, "dist/ort.node.min.mjs")).href : "onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "fatal";
if (positionals.length === 0) throw new Error("give the folder of a conformance set, or --open and bundles");
process.exitCode = values.open ? await openAll(positionals) : await compareAll(positionals[0]);

/** @param {string[]} bundles */
async function openAll(bundles) {
  for (const bundle of bundles) {
    const error = await Runtime.open(bundle, { ort }).then(
      () => null,
      (reason) => reason,
    );
    if (error && !(error instanceof SdkitError)) throw error;
    console.log(JSON.stringify({ bundle, error: error?.name ?? null, message: error?.message ?? "" }));
  }
  return 0;
}

/** @param {string} folder */
async function compareAll(folder) {
  const compared = await conform(folder, ort);
  for (const { name, shape, fits, largest } of compared) {
    const difference = `largest difference ${largest.toExponential(2)}`;
    console.log(`${fits ? "ok  " : "BAD "} ${name.padEnd(32)} ${difference} of (${shape})`);
  }
  const failed = compared.filter(({ fits }) => !fits).length;
  console.log(failed ? `${failed} results differ` : "all results agree");
  return failed ? 1 : 0;
}
