// @ts-check
/** Holds sdkit.mjs against a conformance set, in node and in browsers; see tests/conformance/README.md. */

import { CapabilityError, ConfigError, Runtime, folderSource, philox, standardNormal, urlSource } from "./sdkit.mjs";

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
    if (about.refused) compared.push(await checkRefusals(`${name} refusals`, rt, about));
  }
  for (const [i, noise] of golden.noise.entries()) compared.push(...(await checkNoise(i, load, noise)));
  return compared;
}

/**
 * What each verb is run on; results are named as in golden.json.
 * @type {Record<string, (rt: Runtime, get: (name: string) => Promise<any>, about: any) => Promise<Record<string, Sequences>>>}
 */
const RUNS = {
  async encode(rt, get) {
    const { static: fixed, dynamic } = await rt.encode(await get("x"));
    return { "encode()/static": fixed, "encode()/dynamic": dynamic };
  },
  async "encode(seed)"(rt, get, about) {
    const { static: fixed, dynamic } = await rt.encode(await get("x"), draw(about));
    return { "encode(seed)/static": fixed, "encode(seed)/dynamic": dynamic };
  },
  async decode(rt, get) {
    const decoded = await rt.decodeOutputs({ static: await get("static"), dynamic: await get("dynamic") });
    return Object.fromEntries(Object.entries(decoded).map(([name, value]) => [`decode()/${name}`, value]));
  },
  reconstruct: async (rt, get) => ({ "reconstruct()/x": await rt.reconstruct(await get("x")) }),
  async swap(rt, get) {
    const [ab, ba] = await rt.swap(await get("x"), await get("other"));
    return { "swap()/a_with_b": ab, "swap()/b_with_a": ba };
  },
  generate: async (rt, _, about) => ({ "generate()/x": await rt.generate(about.count, about.steps, draw(about)) }),
  resample_static: async (rt, get, about) => ({
    "resample_static()/x": await rt.resampleStatic(await get("x"), draw(about)),
  }),
  resample_dynamic: async (rt, get, about) => ({
    "resample_dynamic()/x": await rt.resampleDynamic(await get("x"), draw(about)),
  }),
  stream: async (rt, get) => runStream(rt, await get("x"), "stream()"),
  "stream(reset)": async (rt, get, { reset }) =>
    runStream(rt, await get("x"), "stream(reset)", reset.rows, reset.after),
  cast: async (rt, get) => ({ "cast()/x": rt.cast(await get("decode()/x")) }),
};

/** @param {{ seed: string, first: string }} about */
function draw({ seed, first }) {
  return { seed: BigInt(seed), first: BigInt(first) };
}

/**
 * Run the verbs that results are kept of.
 * @param {Runtime} rt
 * @param {Load} load
 * @param {any} about
 * @returns {Promise<Record<string, Sequences>>}
 */
async function runVerbs(rt, load, about) {
  const get = (/** @type {string} */ name) => load(about.inputs[name] ?? about.outputs[name]);
  const kept = new Set(Object.keys(about.outputs).map((result) => result.split("/")[0].replace("()", "")));
  const results = /** @type {Record<string, Sequences>} */ ({});
  for (const verb of kept) if (Object.hasOwn(RUNS, verb)) Object.assign(results, await RUNS[verb](rt, get, about));
  return results;
}

/**
 * A call of each verb; a verb that the model has not is refused before anything is looked at.
 * @type {Record<string, (rt: any) => Promise<unknown>>}
 */
const CALLS = {
  encode: (rt) => rt.encode(),
  decode: (rt) => rt.decode(),
  reconstruct: (rt) => rt.reconstruct(),
  swap: (rt) => rt.swap(),
  generate: (rt) => rt.generate(1, 2),
  resample_static: (rt) => rt.resampleStatic(),
  resample_dynamic: (rt) => rt.resampleDynamic(),
  stream: async (rt) => rt.stream(),
};

/**
 * Return whether verbs that the model has not, and more steps than its prior draws, are refused with the kept messages.
 * @param {string} name
 * @param {Runtime} rt
 * @param {{ refused: Record<string, string>, limit?: { steps: number, message: string } }} about
 * @returns {Promise<Compared>}
 */
async function checkRefusals(name, rt, { refused, limit }) {
  const found = await Promise.all(
    Object.entries(refused).map(async ([verb, message]) => saysOf(() => CALLS[verb](rt), CapabilityError, message)),
  );
  if (limit) {
    const { steps, message } = limit;
    found.push(await saysOf(() => rt.generate(1, steps), ConfigError, message));
    if (!("resample_dynamic" in refused)) {
      found.push(await saysOf(() => rt.resampleDynamic(blank(rt, steps)), ConfigError, message));
    }
  }
  const fits = found.every(Boolean);
  return { name, shape: [found.length], fits, largest: fits ? 0 : NaN };
}

/**
 * Return whether a call fails with an error of a class, and with a message.
 * @param {() => Promise<unknown>} call
 * @param {Function} type
 * @param {string} message
 */
async function saysOf(call, type, message) {
  const error = await call().then(
    () => null,
    (/** @type {any} */ reason) => reason,
  );
  return error instanceof type && error.message === message;
}

/** @param {Runtime} rt @param {number} steps T @returns {Sequences} (1, T, *element), all 0 */
function blank({ element }, steps) {
  const shape = [1, steps, ...element.shape];
  const size = shape.reduce((total, length) => total * length, 1);
  return { data: element.dtype === "uint8" ? new Uint8Array(size) : new Float32Array(size), shape };
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
