// @ts-check
/** Holds sdkit.mjs against a conformance set, in node and in browsers; see tests/conformance/README.md. */

import { folderSource, urlSource } from "./bundle.mjs";
import { Runtime, philox, standardNormal } from "./sdkit.mjs";

/**
 * @typedef {import("./sdkit.mjs").Sequences} Sequences
 * @typedef {{ name: string, shape: number[], fits: boolean, largest: number }} Compared A result, and how far it is off.
 * @typedef {(about: { file: string, dtype: string, shape: number[] }) => Promise<any>} Load
 */

const TYPES = { uint8: Uint8Array, float32: Float32Array, uint64: BigUint64Array };

/**
 * Compare every result of a set.
 * @param {string} where A folder (node) or an address.
 * @param {any} ort The module onnxruntime-web.
 * @returns {Promise<Compared[]>}
 */
export async function conform(where, ort) {
  const source = /^https?:/.test(where) ? urlSource(where) : await folderSource(where);
  const read = async (/** @type {string} */ file) => {
    const bytes = await source.read(file);
    if (!bytes) throw new Error(`${source.name} holds no ${file}`);
    return bytes;
  };
  const golden = JSON.parse(new TextDecoder().decode(await read("golden.json")));
  /** @type {Load} */
  const load = async ({ file, dtype, shape }) => {
    const type = TYPES[/** @type {keyof typeof TYPES} */ (dtype)];
    return { data: new type((await read(file)).buffer), shape };
  };
  /** @type {Compared[]} */
  const compared = [];
  for (const [name, about] of Object.entries(golden.bundles)) {
    const rt = await Runtime.open(`${where.replace(/\/$/, "")}/${about.folder}`, { ort, batchSize: 2 });
    const results = await runVerbs(rt, load, about);
    for (const [result, expected] of Object.entries(about.outputs)) {
      compared.push(compare(`${name} ${result}`, results[result], await load(expected), expected));
    }
  }
  for (const [i, noise] of golden.noise.entries()) compared.push(...(await checkNoise(i, load, noise)));
  return compared;
}

/**
 * Run every verb on a bundle's inputs; results are named as in golden.json.
 * @param {Runtime} rt
 * @param {Load} load
 * @param {any} about
 * @returns {Promise<Record<string, Sequences>>}
 */
async function runVerbs(rt, load, about) {
  const [x, other, fixed, dynamic] = await Promise.all(
    ["x", "other", "static", "dynamic"].map((name) => load(about.inputs[name])),
  );
  const options = { seed: BigInt(about.seed), first: BigInt(about.first) };
  const [codes, sampled] = [await rt.encode(x), await rt.encode(x, options)];
  const decoded = await rt.decodeOutputs({ static: fixed, dynamic });
  const [ab, ba] = await rt.swap(x, other);
  const { rows, after } = about.reset;
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
    "cast()/x": rt.cast(await load(about.outputs["decode()/x"])),
    ...(await runStream(rt, x, "stream()")),
    ...(await runStream(rt, x, "stream(reset)", rows, after)),
  };
}

/**
 * Push sequences element by element; some streams begin anew after some pushes.
 * @param {Runtime} rt
 * @param {Sequences} x (B, T, *element).
 * @param {string} name
 * @param {number[]} [rows]
 * @param {number} [after]
 * @returns {Promise<Record<string, Sequences>>} The last static codes, and the dynamic codes and x of every element.
 */
async function runStream(rt, x, name, rows, after) {
  const [batch, steps] = x.shape;
  const stream = rt.stream(batch);
  const found = [];
  for (let t = 0; t < steps; t++) {
    if (t === after) await stream.reset(rows);
    found.push(await stream.push(elements(x, t)));
  }
  return {
    [`${name}/static`]: found[steps - 1].static,
    [`${name}/dynamic`]: stack(found.map((step) => step.dynamic)),
    [`${name}/x`]: stack(found.map((step) => step.x)),
  };
}

/** @param {Sequences} x (B, T, *element) @param {number} step @returns {Sequences} (B, *element) */
function elements({ data, shape }, step) {
  const [batch, steps, ...element] = shape;
  const size = element.reduce((total, length) => total * length, 1);
  const taken = data.slice(0, batch * size);
  for (let i = 0; i < batch; i++) {
    const start = (i * steps + step) * size;
    taken.set(data.subarray(start, start + size), i * size);
  }
  return { data: taken, shape: [batch, ...element] };
}

/** @param {import("./sdkit.mjs").Floats[]} steps (B, ...) of each step @returns {Sequences} (B, T, ...) */
function stack(steps) {
  const [batch, ...rest] = steps[0].shape;
  const size = steps[0].data.length / batch;
  const data = new Float32Array(batch * steps.length * size);
  steps.forEach((step, t) => {
    for (let i = 0; i < batch; i++)
      data.set(step.data.subarray(i * size, (i + 1) * size), (i * steps.length + t) * size);
  });
  return { data, shape: [batch, steps.length, ...rest] };
}

/** @param {number} index @param {Load} load @param {any} noise @returns {Promise<Compared[]>} */
async function checkNoise(index, load, { seed, purpose, first, raw, normal }) {
  const [bits, expected] = [await load(raw), await load(normal)];
  /** @type {bigint[]} */
  const drawn = [];
  for (let block = 1n; drawn.length < bits.data.length; block++) {
    drawn.push(...philox(block, BigInt(first), BigInt(seed), BigInt(purpose)));
  }
  const fits = bits.data.every((/** @type {bigint} */ value, /** @type {number} */ i) => value === drawn[i]);
  const found = standardNormal(BigInt(seed), purpose, BigInt(first), expected.shape);
  return [
    { name: `noise${index} raw`, shape: bits.shape, fits, largest: fits ? 0 : NaN },
    compare(`noise${index} normal`, found, expected, { atol: 1e-6, rtol: 0 }),
  ];
}

/**
 * Return how far a result is from the expected one.
 * @param {string} name
 * @param {Sequences | undefined} found
 * @param {Sequences} expected
 * @param {{ atol: number, rtol: number }} allowed
 * @returns {Compared}
 */
function compare(name, found, expected, { atol, rtol }) {
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
  return { name, shape: expected.shape, fits, largest };
}
