// @ts-check
/**
 * sdkit in JavaScript: checks a bundle, then encodes, decodes, swaps, generates and streams with onnxruntime-web.
 *
 * Runs as it stands in node 20 or newer and in browsers. It imports its neighbours bundle.mjs, manifest.mjs,
 * contract.mjs, errors.mjs and noise.mjs, and nothing else: the caller hands it onnxruntime-web.
 *
 *     import * as ort from "onnxruntime-web";
 *     import { Runtime } from "./sdkit.mjs";
 *
 *     const rt = await Runtime.open("bundle", { ort });
 *     const [aWithB, bWithA] = await rt.swap(a, b);
 *
 * Arrays are `{ data, shape }` in row-major order. Letters in shapes: B batch, T elements of a sequence, S static and
 * D dynamic width; `*element` is the shape of one element.
 */

import { Bundle } from "./bundle.mjs";
import { DYNAMIC_POSTERIOR, GRAPHS, KINDS, MEANS, STATIC_PRIOR, STEP, VERBS } from "./contract.mjs";
import { BundleError, CapabilityError, ConfigError, DataError, ManifestError, firstLine } from "./errors.mjs";
import { PURPOSE, standardNormal } from "./noise.mjs";

export * from "./bundle.mjs";
export * from "./contract.mjs";
export * from "./errors.mjs";
export * from "./manifest.mjs";
export * from "./noise.mjs";

/**
 * @typedef {{ data: Uint8Array | Float32Array, shape: number[] }} Sequences (B, T, *element), in the data set's units.
 * @typedef {{ data: Float32Array, shape: number[] }} Floats An array of float32.
 * @typedef {{ static: Floats, dynamic: Floats }} Codes The split of a batch: static (B, S), dynamic (B, T, D).
 * @typedef {{ static: Floats, dynamic: Floats, x: Floats }} Step What is known of one element of every stream: static
 *   (B, S), the same at every element of a stream, dynamic (B, D), and x, the reconstruction (B, *element).
 * @typedef {{ seed?: number | bigint, first?: number | bigint }} Draw Seed of the noise, and the number of the first
 *   sequence, which selects its noise; bigints beyond 2^53.
 * @typedef {Record<string, Sequences>} Pool Tensors by name.
 * @typedef {import("./manifest.mjs").Manifest} Manifest
 * @typedef {import("./manifest.mjs").Element} Element
 * @typedef {import("./manifest.mjs").Widths} Widths
 * @typedef {import("./manifest.mjs").TensorSpec} TensorSpec
 * @typedef {import("./bundle.mjs").Progress} Progress
 */

/**
 * The verbs on a checked bundle. Decoded sequences are float32 in the data set's units; `cast` turns them into its
 * dtype. Codes are means unless a seed asks for samples. A verb that the bundle has not is refused with a
 * CapabilityError that says why.
 */
export class Runtime {
  /** @type {Promise<unknown>} */
  #last = Promise.resolve();

  /**
   * @param {Manifest} manifest
   * @param {any} ort
   * @param {Record<string, any>} sessions By name of graph.
   * @param {number} batchSize
   */
  constructor(manifest, ort, sessions, batchSize) {
    this.manifest = manifest;
    this.element = manifest.element;
    this.widths = manifest.widths;
    this.ort = ort;
    this.sessions = sessions;
    this.batchSize = batchSize;
  }

  /**
   * Open a bundle, after checking it.
   * @param {string | URL} where A folder (node) or an address.
   * @param {object} options
   * @param {any} options.ort The module onnxruntime-web.
   * @param {number} [options.batchSize] Sequences that run at a time.
   * @param {Progress} [options.progress]
   * @returns {Promise<Runtime>}
   * @throws {MissingFileError} No bundle.
   * @throws {BundleError} A bundle that must not be used.
   */
  static async open(where, { ort, batchSize = 64, progress }) {
    if (!Number.isInteger(batchSize) || batchSize < 1)
      throw new ConfigError(`batchSize = ${batchSize}; it must be at least 1`);
    const bundle = await Bundle.open(where, progress);
    const sessions = /** @type {Record<string, any>} */ ({});
    for (const name of Object.keys(GRAPHS))
      if (name in bundle.manifest.graphs) sessions[name] = await openSession(bundle, name, ort);
    return new Runtime(bundle.manifest, ort, sessions, batchSize);
  }

  /**
   * Raise CapabilityError, which says why, unless the model has a verb.
   * @param {string} verb One of `VERBS`.
   * @throws {CapabilityError}
   */
  require(verb) {
    const reason = this.manifest.refusals[verb];
    if (reason !== undefined) throw new CapabilityError(`this model cannot ${verb}: ${reason}`);
  }

  /**
   * Raise ConfigError unless the prior can draw so many steps.
   * @param {number} steps T.
   * @throws {ConfigError}
   */
  requireSteps(steps) {
    const { max_steps: most, method } = this.manifest;
    if (most !== null && steps > most) {
      throw new ConfigError(
        `the prior of this model draws at most ${most} steps, not ${steps}; its method (${method}) sets the limit ` +
          "when it is trained",
      );
    }
  }

  /**
   * Run one graph on the inputs that the manifest lists for it.
   * @param {string} name
   * @param {Pool} pool Holds them by name; what the graph does not take is left alone.
   * @returns {Promise<Record<string, Floats>>} Its outputs.
   */
  async run(name, pool) {
    // Inputs are copied: where onnxruntime-web runs in a worker, their memory moves there and is lost to the caller.
    const feeds = Object.fromEntries(
      this.manifest.graphs[name].inputs.map(({ name: key }) => {
        const { data, shape } = pool[key];
        return [key, new this.ort.Tensor(data instanceof Uint8Array ? "uint8" : "float32", data.slice(), shape)];
      }),
    );
    // A session of onnxruntime-web cannot be entered twice: calls queue.
    const result = this.#last.then(() => this.sessions[name].run(feeds));
    this.#last = result.catch(() => undefined);
    return Object.fromEntries(
      Object.entries(await result).map(([key, { data, dims }]) => [key, { data, shape: [...dims] }]),
    );
  }

  /**
   * Run graphs one after the other over a pool of tensors.
   * @param {string[]} graphs
   * @param {Pool} given What is in the pool at first.
   * @returns {Promise<Record<string, Floats>>} The pool at the end; a mean stands for its code where there is none.
   */
  async chain(graphs, given) {
    const pool = { ...given };
    for (const graph of graphs) {
      const found = await this.run(graph, pool);
      Object.assign(pool, found);
      for (const [mean, code] of Object.entries(MEANS)) if (mean in found) pool[code] ??= found[mean];
    }
    return /** @type {Record<string, Floats>} */ (pool);
  }

  /**
   * Return the codes of sequences.
   * @param {Sequences} x (B, T, *element), T >= 2.
   * @param {Draw} [options] With a seed, codes are drawn from the posterior instead of being its means.
   * @returns {Promise<Codes>}
   * @throws {CapabilityError} The model cannot encode.
   * @throws {DataError} x is not a batch of this element.
   */
  async encode(x, { seed, first = 0 } = {}) {
    this.require("encode");
    checkSequences(this.element, x);
    const parts = [];
    for (const [start, stop] of this.#parts(x.shape[0]))
      parts.push(await this.#encode(slice(x, start, stop), seed, shift(first, start)));
    return { static: join(parts.map((part) => part.static)), dynamic: join(parts.map((part) => part.dynamic)) };
  }

  /**
   * Return the sequences of codes, (B, T, *element) in data units.
   * @param {Codes} codes
   * @returns {Promise<Floats>}
   * @throws {CapabilityError} The model cannot decode.
   * @throws {DataError} Codes of other widths, or of different B.
   */
  async decode(codes) {
    return (await this.decodeOutputs(codes)).x;
  }

  /**
   * Return everything that the decoder says of codes: `x`, and `x_std` of series, both (B, T, *element).
   * @param {Codes} codes
   * @returns {Promise<Record<string, Floats>>}
   * @throws {CapabilityError} The model cannot decode.
   * @throws {DataError} Codes of other widths, or of different B.
   */
  async decodeOutputs(codes) {
    this.require("decode");
    checkCodes(this.widths, codes);
    /** @type {Record<string, Floats>[]} */
    const parts = [];
    for (const [start, stop] of this.#parts(codes.static.shape[0])) {
      parts.push(
        await this.run("decoder", {
          static: slice(codes.static, start, stop),
          dynamic: slice(codes.dynamic, start, stop),
        }),
      );
    }
    return Object.fromEntries(Object.keys(parts[0]).map((name) => [name, join(parts.map((part) => part[name]))]));
  }

  /**
   * Return decode(encode(x)).
   * @param {Sequences} x
   * @returns {Promise<Floats>}
   */
  async reconstruct(x) {
    this.require("reconstruct");
    return this.#each(x, async (codes) => codes);
  }

  /**
   * Return a's static code with b's dynamic codes, and b's static code with a's dynamic codes; T may differ.
   * @param {Sequences} a
   * @param {Sequences} b
   * @returns {Promise<[Floats, Floats]>}
   * @throws {CapabilityError} The model cannot swap, for instance because it has no static code.
   * @throws {DataError} Different B, or not batches of this element.
   */
  async swap(a, b) {
    this.require("swap");
    if (a.shape[0] !== b.shape[0]) {
      throw new DataError(`swap pairs sequences one to one; a has ${a.shape[0]} and b has ${b.shape[0]}`);
    }
    const [ca, cb] = [await this.encode(a), await this.encode(b)];
    return [
      await this.decode({ static: ca.static, dynamic: cb.dynamic }),
      await this.decode({ static: cb.static, dynamic: ca.dynamic }),
    ];
  }

  /**
   * Return sequences whose static and dynamic codes are drawn from the prior.
   * @param {number} count B.
   * @param {number} [steps] T >= 2.
   * @param {Draw} [options] The same seed gives the same sequences in every host.
   * @returns {Promise<Floats>}
   * @throws {CapabilityError} The model cannot generate.
   * @throws {ConfigError} count < 1, steps < 2, or more steps than the prior draws.
   */
  async generate(count, steps = 8, { seed = 0, first = 0 } = {}) {
    this.require("generate");
    if (count < 1 || steps < 2) {
      throw new ConfigError(`generate(count=${count}, steps=${steps}): count must be at least 1 and steps at least 2`);
    }
    this.requireSteps(steps);
    const clips = [];
    for (const [start, stop] of this.#parts(count)) {
      const draw = { seed, first: shift(first, start) };
      const noise = this.#noise(stop - start, steps, draw);
      const given = { static: await this.drawStatic(stop - start, draw), noise };
      clips.push((await this.chain(VERBS.generate, given)).x);
    }
    return join(clips);
  }

  /**
   * Return x with its dynamic codes kept and its static code drawn from the prior.
   * @param {Sequences} x
   * @param {Draw} [options]
   * @returns {Promise<Floats>}
   * @throws {CapabilityError} The model cannot, for instance because it has no static code.
   */
  async resampleStatic(x, { seed = 0, first = 0 } = {}) {
    this.require("resample_static");
    return this.#each(x, async ({ dynamic }, start) => ({
      static: await this.drawStatic(dynamic.shape[0], { seed, first: shift(first, start) }),
      dynamic,
    }));
  }

  /**
   * Return x with its static code kept and its dynamic codes drawn from the prior.
   * @param {Sequences} x
   * @param {Draw} [options]
   * @returns {Promise<Floats>}
   * @throws {CapabilityError} The model cannot.
   * @throws {ConfigError} More steps than the prior draws.
   */
  async resampleDynamic(x, { seed = 0, first = 0 } = {}) {
    this.require("resample_dynamic");
    checkSequences(this.element, x);
    this.requireSteps(x.shape[1]);
    return this.#each(x, async (codes, start) => {
      const [count, steps] = codes.dynamic.shape;
      return {
        static: codes.static,
        dynamic: await this.drawDynamic(count, steps, { seed, first: shift(first, start) }),
      };
    });
  }

  /**
   * Return live streams, which take an element at a time and give its codes and reconstruction at once.
   * @param {number} [batch] How many advance together, B.
   * @returns {Stream}
   * @throws {CapabilityError} The model cannot run online; says why.
   * @throws {ConfigError} batch < 1.
   */
  stream(batch = 1) {
    this.require("stream");
    return new Stream(this, this.widths.state, batch);
  }

  /**
   * Return static codes drawn from the prior, (B, S).
   * @param {number} count B.
   * @param {Draw} [options]
   * @returns {Promise<Floats>}
   */
  async drawStatic(count, { seed = 0, first = 0 } = {}) {
    const noise = standardNormal(seed, PURPOSE.staticPrior, first, [count, this.widths.static_size]);
    return STATIC_PRIOR in this.manifest.graphs ? (await this.run(STATIC_PRIOR, { noise })).static : noise;
  }

  /**
   * Return dynamic codes drawn from the prior, (B, T, D).
   * @param {number} count B.
   * @param {number} steps T.
   * @param {Draw} [options]
   * @returns {Promise<Floats>}
   * @throws {ConfigError} More steps than the prior draws.
   */
  async drawDynamic(count, steps, { seed = 0, first = 0 } = {}) {
    this.requireSteps(steps);
    return (await this.run("prior", { noise: this.#noise(count, steps, { seed, first }) })).dynamic;
  }

  /**
   * Return decoded values in the data set's own dtype: uint8 is rounded and clipped.
   * @param {Floats} x
   * @returns {Sequences}
   */
  cast({ data, shape }) {
    if (this.element.dtype === "uint8") return { data: new Uint8Array(Uint8ClampedArray.from(data).buffer), shape };
    if (KINDS[this.element.kind].pictorial)
      return { data: data.map((value) => Math.min(1, Math.max(0, value))), shape };
    return { data, shape };
  }

  /** @param {number} count */
  *#parts(count) {
    for (let start = 0; start < count; start += this.batchSize) {
      yield /** @type {[number, number]} */ ([start, Math.min(start + this.batchSize, count)]);
    }
  }

  /** @param {number} count @param {number} steps @param {{ seed: number | bigint, first: number | bigint }} draw */
  #noise(count, steps, { seed, first }) {
    return standardNormal(seed, PURPOSE.dynamicPrior, first, [count, steps, this.widths.dynamic_size]);
  }

  /**
   * Return decoded sequences whose codes were changed, batch by batch.
   * @param {Sequences} x
   * @param {(codes: Codes, start: number) => Promise<Codes>} change Is given the number of the batch's first sequence.
   */
  async #each(x, change) {
    checkSequences(this.element, x);
    const clips = [];
    for (const [start, stop] of this.#parts(x.shape[0])) {
      const codes = await change(await this.#encode(slice(x, start, stop), undefined, 0), start);
      clips.push((await this.run("decoder", codes)).x);
    }
    return join(clips);
  }

  /** @param {Sequences} x @param {number | bigint | undefined} seed @param {number | bigint} first @returns {Promise<Codes>} */
  async #encode(x, seed, first) {
    if (seed !== undefined) return this.#sampled(x, seed, first);
    const { static_mean, dynamic_mean } = await this.chain(VERBS.encode, { x });
    return { static: static_mean, dynamic: dynamic_mean };
  }

  /**
   * Return drawn codes; where the dynamic codes depend on the static code, it is on the drawn one.
   * @param {Sequences} x
   * @param {number | bigint} seed
   * @param {number | bigint} first
   * @returns {Promise<Codes>}
   */
  async #sampled(x, seed, first) {
    const pool = await this.chain(["encoder", "static"], { x });
    const { static_mean: mean, static_std: std } = pool;
    const fixed = sample(mean, std, standardNormal(seed, PURPOSE.staticPosterior, first, mean.shape));
    const size = [...x.shape.slice(0, 2), this.widths.dynamic_size];
    const noise = standardNormal(seed, PURPOSE.dynamicPosterior, first, size);
    const given = { ...pool, static: fixed, noise };
    if (DYNAMIC_POSTERIOR in this.manifest.graphs) {
      return { static: fixed, dynamic: (await this.run(DYNAMIC_POSTERIOR, given)).dynamic };
    }
    const { dynamic_mean, dynamic_std } = await this.run("dynamic", given);
    return { static: fixed, dynamic: sample(dynamic_mean, dynamic_std, noise) };
  }
}

/**
 * B streams that advance together, an element each at a time; made by `rt.stream()`. What they give is what encode and
 * reconstruct give for the whole sequences.
 */
export class Stream {
  /** @type {Promise<unknown>} */
  #last = Promise.resolve();

  /**
   * @param {Runtime} runtime
   * @param {number} stateSize K.
   * @param {number} batch
   * @throws {ConfigError} batch < 1.
   */
  constructor(runtime, stateSize, batch) {
    if (!Number.isInteger(batch) || batch < 1)
      throw new ConfigError(`batch = ${batch}; there must be at least 1 stream`);
    this.runtime = runtime;
    /**
     * (B, K), a row a stream. Zeros begin a stream; a row that is kept and put back later continues it.
     * @type {Floats}
     */
    this.state = { data: new Float32Array(batch * stateSize), shape: [batch, stateSize] };
  }

  /** B. */
  get batch() {
    return this.state.shape[0];
  }

  /**
   * Return codes and reconstruction of the next element of every stream; the first is the anchor. Pushes queue.
   * @param {Sequences} x (B, *element) in the data set's dtype and units.
   * @returns {Promise<Step>}
   * @throws {DataError} x is not one element of each stream.
   */
  async push(x) {
    const result = this.#last.then(() => this.#push(x));
    this.#last = result.catch(() => undefined);
    return result;
  }

  /**
   * Let streams begin anew: their next element is an anchor. It waits for pushes that were called before.
   * @param {number[]} [rows] Of the streams; all of them without.
   * @throws {ConfigError} There are no such rows.
   */
  async reset(rows) {
    const bad = rows?.find((row) => !Number.isInteger(row) || row < 0 || row >= this.batch);
    if (bad !== undefined)
      throw new ConfigError(`rows = [${rows}]: there are ${this.batch} streams, 0 to ${this.batch - 1}`);
    const result = this.#last.then(() => {
      const { data, shape } = this.state;
      const kept = data.slice();
      for (const row of rows ?? Array(shape[0]).keys()) kept.fill(0, row * shape[1], (row + 1) * shape[1]);
      this.state = { data: kept, shape };
    });
    this.#last = result;
    return result;
  }

  /** @param {Sequences} x @returns {Promise<Step>} */
  async #push({ data, shape }) {
    const { element } = this.runtime;
    const wanted = [this.batch, ...element.shape];
    const typed = element.dtype === "uint8" ? data instanceof Uint8Array : data instanceof Float32Array;
    if (String(shape) !== String(wanted) || !typed || data.length !== product(shape)) {
      const given = Object.prototype.toString.call(data).slice(8, -1);
      throw new DataError(
        `x is (${shape.join(", ")}), a ${given} of ${data.length} values; ` +
          `expected (${wanted.join(", ")}) ${element.dtype}, an element a stream`,
      );
    }
    if (data instanceof Float32Array) checkValues(element, data, "x");
    const { features } = await this.runtime.run("encoder", { x: { data, shape: [shape[0], 1, ...element.shape] } });
    const found = await this.runtime.run(STEP, { element_features: features, state: this.state });
    const codes = { static: found.static_mean, dynamic: found.dynamic_mean };
    const { x: decoded } = await this.runtime.run("decoder", codes);
    this.state = found.next_state;
    return {
      static: codes.static,
      dynamic: { data: codes.dynamic.data, shape: [shape[0], codes.dynamic.shape[2]] },
      x: { data: decoded.data, shape: wanted },
    };
  }
}

/** @param {number | bigint} first @param {number} start */
function shift(first, start) {
  return typeof first === "bigint" ? first + BigInt(start) : first + start;
}

/** @param {Bundle} bundle @param {string} name @param {any} ort */
async function openSession(bundle, name, ort) {
  const bytes = bundle.graph(name);
  const { inputs, outputs, files } = bundle.manifest.graphs[name];
  let session;
  try {
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  } catch (error) {
    throw new BundleError(
      `${bundle.source.name}/${files.onnx.path} cannot be loaded by onnxruntime-web: ${firstLine(error)}`,
    );
  }
  const same = (/** @type {string[]} */ found, /** @type {TensorSpec[]} */ specs) =>
    [...found].sort().join() ===
    specs
      .map((spec) => spec.name)
      .sort()
      .join();
  if (!same(session.inputNames, inputs) || !same(session.outputNames, outputs)) {
    throw new ManifestError(
      `${bundle.source.name}: graph '${name}' has other inputs or outputs than the manifest says`,
    );
  }
  return session;
}

/**
 * Return `x` if it is a batch of sequences of this element.
 * @param {Element} element
 * @param {Sequences} x (B, T, *element) in the data set's own dtype and units.
 * @param {string} [where] What the message calls it.
 * @throws {DataError} Wrong shape, dtype or values; B = 0; T < 2.
 */
export function checkSequences(element, x, where = "x") {
  const { data, shape } = x;
  const expected = `(B, T, ${element.shape.join(", ")}) ${element.dtype}`;
  if (shape.length !== 2 + element.shape.length || element.shape.some((size, axis) => shape[axis + 2] !== size)) {
    throw new DataError(`${where} has shape (${shape.join(", ")}); expected ${expected}`);
  }
  if (!(element.dtype === "uint8" ? data instanceof Uint8Array : data instanceof Float32Array)) {
    const given = Object.prototype.toString.call(data).slice(8, -1);
    throw new DataError(`${where} is a ${given}; expected ${expected}: convert it first, nothing is cast silently`);
  }
  if (data.length !== product(shape))
    throw new DataError(`${where} holds ${data.length} values, and its shape ${product(shape)}`);
  if (shape[0] < 1) throw new DataError(`${where} is empty: it holds no sequence`);
  if (shape[1] < 2) {
    throw new DataError(
      `${where} has T = ${shape[1]}; a sequence needs at least 2 elements: one is the anchor of the static code`,
    );
  }
  if (data instanceof Float32Array) checkValues(element, data, where);
  return x;
}

/** @param {Element} element @param {Float32Array} data @param {string} where */
function checkValues(element, data, where) {
  if (KINDS[element.kind].incomplete) {
    if (data.some((value) => Math.abs(value) === Infinity)) {
      throw new DataError(`${where} holds infinite values; NaN stands for 'not observed', infinity has no meaning`);
    }
    return;
  }
  if (!data.every(Number.isFinite))
    throw new DataError(`${where} holds NaN or infinite pixels; images must be complete`);
  if (data.some((value) => value < 0 || value > 1)) {
    throw new DataError(`${where} holds pixels outside 0..1; float32 images lie in [0, 1], or store uint8`);
  }
}

/** @param {Widths} widths @param {Codes} codes */
function checkCodes(widths, { static: fixed, dynamic }) {
  const fits =
    fixed.shape.length === 2 &&
    dynamic.shape.length === 3 &&
    fixed.shape[1] === widths.static_size &&
    dynamic.shape[2] === widths.dynamic_size &&
    [fixed, dynamic].every(({ data, shape }) => data instanceof Float32Array && data.length === product(shape)) &&
    dynamic.shape[1] >= 2;
  if (!fits || fixed.shape[0] !== dynamic.shape[0] || fixed.shape[0] === 0) {
    const expected = `static (B, ${widths.static_size}) and dynamic (B, T, ${widths.dynamic_size}), float32, T >= 2`;
    throw new DataError(
      `codes are static (${fixed.shape.join(", ")}) and dynamic (${dynamic.shape.join(", ")}); expected ${expected}`,
    );
  }
}

/** @param {number[]} shape */
function product(shape) {
  return shape.reduce((total, size) => total * size, 1);
}

/**
 * Return sequences or codes start to stop - 1 of a batch; memory is shared.
 * @template {Sequences} A
 * @param {A} array
 * @param {number} start
 * @param {number} stop
 * @returns {A}
 */
export function slice(array, start, stop) {
  const size = product(array.shape.slice(1));
  const data = array.data.subarray(start * size, stop * size);
  return /** @type {A} */ ({ data, shape: [stop - start, ...array.shape.slice(1)] });
}

/**
 * Return several batches as one.
 * @param {Floats[]} parts
 * @returns {Floats}
 */
function join(parts) {
  if (parts.length === 1) return parts[0];
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let place = 0;
  for (const part of parts) {
    data.set(part.data, place);
    place += part.data.length;
  }
  return { data, shape: [parts.reduce((sum, part) => sum + part.shape[0], 0), ...parts[0].shape.slice(1)] };
}

/**
 * Return mean + std * noise, rounded to float32 after each operation as the other hosts do.
 * @param {Floats} mean
 * @param {Floats} std
 * @param {Floats} noise
 * @returns {Floats}
 */
function sample(mean, std, noise) {
  return { data: mean.data.map((value, i) => value + Math.fround(std.data[i] * noise.data[i])), shape: mean.shape };
}
