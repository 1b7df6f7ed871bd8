// @ts-check
/**
 * Holds sdkit.mjs against results of the Python runtime, or tells what it thinks of bundles.
 *
 *     node conformance.mjs FOLDER              FOLDER made by `python -m tests.hosts.golden FOLDER`
 *     node conformance.mjs --open BUNDLE ...   one line of JSON for each bundle: the error, or null
 *
 * `--onnxruntime-web PATH` names the npm package where it is not installed beside this file.
 */

import { readFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { Runtime, SdkitError, philox, standardNormal } from "./sdkit.mjs";

/** @typedef {{ file: string, dtype: string, shape: number[], atol: number, rtol: number }} Golden */

const TYPES = { uint8: Uint8Array, float32: Float32Array, uint64: BigUint64Array };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { "onnxruntime-web": { type: "string" }, open: { type: "boolean" } },
});
const place = values["onnxruntime-web"];
const ort = await import(place ? pathToFileURL(path.join(place, "dist/ort.node.min.mjs")).href : "onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "fatal";
if (positionals.length === 0) throw new Error("give the folder of golden results, or --open and bundles");
process.exitCode = values.open ? await openAll(positionals) : await conform(positionals[0]);

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
async function conform(folder) {
  const golden = JSON.parse(await readFile(path.join(folder, "golden.json"), "utf8"));
  let failed = 0;
  for (const [name, about] of Object.entries(golden.bundles)) {
    const results = await runVerbs(folder, about);
    for (const [result, expected] of Object.entries(about.outputs)) {
      const { data, shape } = await load(folder, expected);
      failed += report(`${name} ${result}`, results[result], { data, shape }, expected.atol, expected.rtol);
    }
  }
  for (const [i, noise] of golden.noise.entries()) failed += await checkNoise(folder, i, noise);
  console.log(failed ? `${failed} results differ` : "all results agree");
  return failed ? 1 : 0;
}

/**
 * Run every verb on a bundle's inputs, in batches of two; results are named as in golden.json.
 * @param {string} folder
 * @param {any} about
 * @returns {Promise<Record<string, import("./sdkit.mjs").Sequences>>}
 */
async function runVerbs(folder, about) {
  const rt = await Runtime.open(path.join(folder, about.folder), { ort, batchSize: 2 });
  const [x, other, fixed, dynamic] = await Promise.all(
    ["x", "other", "static", "dynamic"].map((name) => load(folder, about.inputs[name])),
  );
  const options = { seed: BigInt(about.seed), first: BigInt(about.first) };
  const [codes, sampled] = [await rt.encode(x), await rt.encode(x, options)];
  const decoded = await rt.decodeOutputs({ static: fixed, dynamic });
  const [ab, ba] = await rt.swap(x, other);
  return {
    "encode()/static": codes.static,
    "encode()/dynamic": codes.dynamic,
    "encode(seed)/static": sampled.static,
    "encode(seed)/dynamic": sampled.dynamic,
    ...Object.fromEntries(Object.entries(decoded).map(([name, value]) => [`decode()/${name}`, value])),
    "reconstruct()/x": await rt.reconstruct(x),
    "swap()/a_with_b": ab,
    "swap()/b_with_a": ba,
    "generate()/x": await rt.generate(about.count, about.steps, options),
    "resample_static()/x": await rt.resampleStatic(x, options),
    "resample_dynamic()/x": await rt.resampleDynamic(x, options),
    "cast()/x": rt.cast(await load(folder, about.outputs["decode()/x"])),
  };
}

/** @param {string} folder @param {number} index @param {any} noise */
async function checkNoise(folder, index, { seed, purpose, first, raw, normal }) {
  const [bits, expected] = [await load(folder, raw), await load(folder, normal)];
  /** @type {bigint[]} */
  const drawn = [];
  for (let block = 1n; drawn.length < bits.data.length; block++) {
    drawn.push(...philox(block, BigInt(first), BigInt(seed), BigInt(purpose)));
  }
  const same = bits.data.every((/** @type {bigint} */ value, /** @type {number} */ i) => value === drawn[i]);
  console.log(`${same ? "agrees" : "DIFFERS"}  noise ${index}: ${bits.data.length} outputs of Philox, bit for bit`);
  const found = standardNormal(BigInt(seed), purpose, BigInt(first), expected.shape);
  return Number(!same) + report(`noise ${index}`, found, expected, 0, 1e-6);
}

/**
 * Print how far a result is from the expected one, and return 1 if it is too far.
 * @param {string} name
 * @param {import("./sdkit.mjs").Sequences | undefined} found
 * @param {import("./sdkit.mjs").Sequences} expected
 * @param {number} atol
 * @param {number} rtol
 */
function report(name, found, expected, atol, rtol) {
  let fits =
    found !== undefined &&
    String(found.shape) === String(expected.shape) &&
    found.data.constructor === expected.data.constructor;
  let largest = 0;
  expected.data.forEach((value, i) => {
    const difference = Math.abs((found?.data[i] ?? NaN) - value);
    largest = Math.max(largest, difference);
    fits &&= difference <= atol + rtol * Math.abs(value);
  });
  console.log(
    `${fits ? "agrees" : "DIFFERS"}  ${name}: (${expected.shape}), largest difference ${largest.toExponential(1)}`,
  );
  return fits ? 0 : 1;
}

/** @param {string} folder @param {Golden} about @returns {Promise<any>} */
async function load(folder, { file, dtype, shape }) {
  const bytes = new Uint8Array(await readFile(path.join(folder, file)));
  const type = TYPES[/** @type {keyof typeof TYPES} */ (dtype)];
  return { data: new type(bytes.buffer), shape };
}
