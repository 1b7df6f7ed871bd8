// @ts-check
/**
 * Text of manifest.json to a manifest: version, schema, verbs, graphs, tensors and digest are checked here. Manifests of
 * format 1, which sdkit wrote while it had one method, are turned into those of today (format 2).
 */

import { GRAPHS, KINDS, STEP, VERBS, needed, tensorOf } from "./contract.mjs";
import { BundleVersionError, ConfigError, ManifestError, firstLine } from "./errors.mjs";

/**
 * @typedef {"image" | "series" | "spectrum" | "vector"} KindName
 * @typedef {{ kind: KindName, shape: number[], dtype: "uint8" | "float32", units: string[],
 *   feature_names: string[] }} Element What one element of a sequence is.
 * @typedef {{ static_size: number, dynamic_size: number, features: number, context: number,
 *   state: number }} Widths Axes that the model fixes: S, D, G, C and K; C and K are 0 where there are none.
 * @typedef {{ name: string, dtype: string, shape: (number | string)[] }} TensorSpec
 * @typedef {{ path: string, sha256: string, size: number, precision?: "float32" | "float16" | "int8" }} FileSpec
 * @typedef {{ inputs: TensorSpec[], outputs: TensorSpec[], files: Record<string, FileSpec> }} GraphSpec
 * @typedef {{ element: Element, widths: Widths, graphs: Record<string, GraphSpec>, method: string, variant: string,
 *   settings: Record<string, any>, capabilities: string[], refusals: Record<string, string>, steps: number,
 *   max_steps: number | null, feature_mean: number[], feature_std: number[], files: Record<string, FileSpec>,
 *   provenance: Record<string, any>, format: string, version: number, digest: string }} Manifest manifest.json, every
 *   default filled in: the verbs that the bundle has, why it has not the others, and the largest T that its prior draws.
 */

const FORMAT = "sdkit-bundle";
const VERSION = 2;

// -------------------------------------------------------------------------------------------------------------- JSON

/** A number as it is written: 1.0 and 1 are one number to JavaScript, but not to the digest. */
class NumberText {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }
  get isInteger() {
    return !/[.eE]/.test(this.text);
  }
  /** The number as the exporter writes it. */
  get canonical() {
    return this.isInteger ? BigInt(this.text).toString() : this.asFloat;
  }
  /** The number as the exporter writes it where the schema has a float. */
  get asFloat() {
    const value = Number(this.isInteger ? BigInt(this.text) : this.text);
    if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
    const [mantissa, exponent] = value.toExponential().split("e");
    if (Number(exponent) < -5 || Number(exponent) >= 16) return `${mantissa}e${Number(exponent)}`;
    return Number.isInteger(value) ? `${value}.0` : String(value);
  }
}

const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const NUMBER_KEY = "\u0000number";

/**
 * Parse JSON, numbers kept as they are written.
 * @param {string} text Valid JSON.
 */
function parseKeepingNumbers(text) {
  const tagged = text.replace(TOKENS, (token) => (token[0] === '"' ? token : JSON.stringify({ [NUMBER_KEY]: token })));
  return JSON.parse(tagged, (_, value) => (value?.[NUMBER_KEY] ? new NumberText(value[NUMBER_KEY]) : value));
}

// ------------------------------------------------------------------------------------------------------------ checks

/**
 * A check of one place of the manifest: returns its compact JSON, keys in the schema's order and defaults filled in.
 * @typedef {(value: any, at: string) => string} Check
 */

/** @param {any} value */
function typeName(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (value instanceof NumberText) return value.isInteger ? "int" : "float";
  return typeof value === "string" ? "str" : typeof value === "boolean" ? "bool" : "object";
}

/** @param {string} at */
const place = (at) => (at === "$" ? "" : ` - at \`${at}\``);

/** @param {string} expected @param {any} value @param {string} at @returns {never} */
function refuse(expected, value, at) {
  throw new TypeError(`Expected \`${expected}\`, got \`${typeName(value)}\`${place(at)}`);
}

/**
 * @param {Record<string, (value: any) => string>} types How each of the types is written, by name.
 * @returns {Check}
 */
const oneType = (types) => (value, at) => {
  const type = typeName(value);
  return Object.hasOwn(types, type) ? types[type](value) : refuse(Object.keys(types).join(" | "), value, at);
};
const canonical = (/** @type {NumberText} */ value) => value.canonical;
const string = oneType({ str: JSON.stringify });
const boolean = oneType({ bool: String });
const integer = oneType({ int: canonical });
const integerOrNull = oneType({ int: canonical, null: String });
const integerOrString = oneType({ int: canonical, str: JSON.stringify });
/** @type {Check} */
const float = (value, at) => (value instanceof NumberText ? value.asFloat : refuse("float", value, at));
/** @type {(...names: string[]) => Check} */
const oneOf =
  (...names) =>
  (value, at) => {
    const text = string(value, at);
    if (!names.includes(value)) throw new TypeError(`Invalid enum value '${value}'${place(at)}`);
    return text;
  };
/** @type {(item: Check) => Check} */
const list = (item) => (value, at) =>
  Array.isArray(value) ? `[${value.map((v, i) => item(v, `${at}[${i}]`)).join()}]` : refuse("array", value, at);
/** @type {(...names: string[]) => (key: string, at: string) => string} */
const oneKey =
  (...names) =>
  (key, at) => {
    if (!names.includes(key)) throw new TypeError(`Invalid enum value '${key}' - at \`key\` in \`${at}\``);
    return JSON.stringify(key);
  };
/** @type {(key: string, at: string) => string} */
const anyKey = (key) => JSON.stringify(key);
/** @type {(item: Check, key?: (key: string, at: string) => string) => Check} */
const dictionary =
  (item, key = anyKey) =>
  (value, at) =>
    typeName(value) === "object"
      ? `{${Object.entries(value)
          .map(([k, v]) => `${key(k, at)}:${item(v, `${at}[...]`)}`)
          .join()}}`
      : refuse("object", value, at);
/** @type {Check} */
const anything = (value, at) => {
  const type = typeName(value);
  if (type === "object") return dictionary(anything)(value, at);
  if (type === "array") return list(anything)(value, at);
  return value instanceof NumberText ? value.canonical : JSON.stringify(value);
};
/** Default of a field that is left out where it is not given. */
const ABSENT = "";
/** @type {(fields: Record<string, Check>, defaults?: Record<string, string>) => Check} */
const struct =
  (fields, defaults = {}) =>
  (value, at) => {
    if (typeName(value) !== "object") refuse("object", value, at);
    /** @type {Record<string, string>} */
    const found = {};
    for (const [key, one] of Object.entries(value)) {
      if (!Object.hasOwn(fields, key)) throw new TypeError(`Object contains unknown field \`${key}\`${place(at)}`);
      found[key] = `"${key}":${fields[key](one, `${at}.${key}`)}`;
    }
    const entries = Object.keys(fields).map((key) => {
      if (Object.hasOwn(found, key)) return found[key];
      if (!Object.hasOwn(defaults, key)) throw new TypeError(`Object missing required field \`${key}\`${place(at)}`);
      return defaults[key] === ABSENT ? ABSENT : `"${key}":${defaults[key]}`;
    });
    return `{${entries.filter((entry) => entry !== ABSENT).join()}}`;
  };
/** @type {(fields: Record<string, Check>) => Check} */
const optional = (fields) => {
  const blank = (/** @type {Check} */ check) => (check === integer ? "0" : '""');
  return struct(fields, Object.fromEntries(Object.entries(fields).map(([key, check]) => [key, blank(check)])));
};

// ------------------------------------------------------------------------------------------------------------ schema

const elementFields = struct(
  {
    kind: string,
    shape: list(integer),
    dtype: oneOf("uint8", "float32"),
    units: list(string),
    feature_names: list(string),
  },
  { units: "[]", feature_names: "[]" },
);
/** @type {Check} */
const element = (value, at) => {
  const found = elementFields(value, at);
  const { kind, shape, dtype } = /** @type {Element} */ (JSON.parse(found));
  if (!Object.hasOwn(KINDS, kind)) {
    const known = Object.keys(KINDS).sort().join(", ");
    throw new TypeError(`unknown kind of element '${kind}'; there are: ${known}${place(at)}`);
  }
  const { axes, dtypes } = KINDS[kind];
  if (shape.length !== axes.length || Math.min(...shape) < 1) {
    const message = `an element of kind ${kind} has the axes (${axes.join(", ")}), not the shape ${tuple(shape)}`;
    throw new TypeError(`${message}${place(at)}`);
  }
  if (!dtypes.includes(dtype)) {
    throw new TypeError(`an element of kind ${kind} is ${dtypes.join(" or ")}, not ${dtype}${place(at)}`);
  }
  return found;
};
const letters = struct(
  { static_size: integer, dynamic_size: integer, features: integer, hidden_size: integer },
  { features: "0", hidden_size: "0" },
);
const widths = struct(
  { static_size: integer, dynamic_size: integer, features: integer, context: integer, state: integer },
  { features: "0", context: "0", state: "0" },
);
const tensor = struct({ name: string, dtype: string, shape: list(integerOrString) });
const file = struct(
  {
    path: string,
    sha256: string,
    size: integer,
    exporter: string,
    opset: integerOrNull,
    ir_version: integerOrNull,
    precision: oneOf("float32", "float16", "int8"),
  },
  { exporter: '""', opset: "null", ir_version: "null", precision: ABSENT },
);
const graph = struct({
  inputs: list(tensor),
  outputs: list(tensor),
  files: dictionary(file, oneKey("onnx", "torchscript")),
});
const provenance = optional({
  sdkit_version: string,
  torch_version: string,
  created: string,
  run: string,
  weights: string,
  weights_sha256: string,
  epochs: integer,
  data: string,
  data_source: string,
  data_licence: string,
  seed: integer,
  preset: string,
  commit: string,
});
/** Fields with which a manifest ends, in every format. */
const LAST = { files: dictionary(file), provenance, format: string, version: integer, digest: string };
const defaults = (/** @type {number} */ version) => ({
  files: "{}",
  provenance: provenance({}, "$"),
  format: `"${FORMAT}"`,
  version: String(version),
  digest: '""',
});
/**
 * Fields of a manifest by its version, in the order of which the digest is taken.
 * @type {Record<number, Check>}
 */
const FORMATS = {
  1: struct(
    {
      element,
      letters,
      graphs: dictionary(graph),
      steps: integer,
      anchor: string,
      anchor_dynamic: string,
      causal: boolean,
      variant: string,
      model: dictionary(anything),
      ...LAST,
    },
    defaults(1),
  ),
  2: struct(
    {
      element,
      widths,
      graphs: dictionary(graph),
      method: string,
      variant: string,
      settings: dictionary(anything),
      capabilities: list(string),
      refusals: dictionary(string),
      steps: integer,
      max_steps: integerOrNull,
      feature_mean: list(float),
      feature_std: list(float),
      ...LAST,
    },
    { max_steps: "null", feature_mean: "[]", feature_std: "[]", ...defaults(2) },
  ),
};

/**
 * Return the manifest of a text, one of format 1 as one of today.
 * @param {Uint8Array} bytes Of manifest.json.
 * @param {string} where What messages call it.
 * @returns {Promise<Manifest>}
 * @throws {BundleVersionError} Of a version that this module does not read.
 * @throws {ManifestError} Not JSON, unknown or missing keys or graphs, or changed since it was sealed.
 */
export async function parseManifest(bytes, where) {
  let value;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    JSON.parse(text); // numbers are marked only in a text that is JSON
    value = parseKeepingNumbers(text);
  } catch (error) {
    throw new ManifestError(`${where} is not JSON: ${firstLine(error)}`);
  }
  if (typeName(value) !== "object" || value.format !== FORMAT) {
    throw new ManifestError(`${where} is not the manifest of an sdkit bundle: it has no format '${FORMAT}'`);
  }
  const version = typeName(value.version) === "int" ? Number(value.version.text) : 0;
  if (!Object.hasOwn(FORMATS, version)) {
    throw new BundleVersionError(
      `${where} has version ${spelt(value.version)}; this sdkit reads versions 1 and ${VERSION}`,
    );
  }
  let found, blank;
  try {
    found = JSON.parse(FORMATS[version](value, "$"));
    blank = FORMATS[version]({ ...value, digest: "" }, "$");
  } catch (error) {
    throw new ManifestError(`${where} does not follow the manifest's schema: ${firstLine(error)}`);
  }
  const problem = version === 1 ? problem1(found) : problem2(found);
  if (problem) throw new ManifestError(`${where} ${problem}`);
  if ((await sha256(new TextEncoder().encode(blank))) !== found.digest) {
    throw new ManifestError(
      `${where} was changed after it was written: its digest does not fit; export the bundle again`,
    );
  }
  return version === 1 ? upgraded(found) : found;
}

/**
 * Return what is wrong with the capabilities, the graphs or their tensors; empty where nothing is.
 * @param {Manifest} manifest
 */
function problem2({ capabilities, refusals, graphs, widths, element }) {
  const named = [...capabilities, ...Object.keys(refusals)];
  const verbs = Object.keys(VERBS);
  if (String([...named].sort()) !== String([...verbs].sort())) {
    return `names the verbs ${named.join(", ")}; expected each of ${verbs.join(", ")} once`;
  }
  const required = needed(capabilities);
  const [names, known] = [Object.keys(graphs), Object.keys(GRAPHS)];
  if (!holds(names, required) || !holds(known, names)) {
    const rest = known.filter((name) => !required.includes(name)).join(", ");
    return `names the graphs ${names.join(", ")}; expected ${required.join(", ")}, and any of ${rest}`;
  }
  for (const name of names) {
    const found = tensorProblem(name, graphs[name], element, widths);
    if (found) return found;
    if (gives(graphs[name].inputs, "context") && !gives(graphs.static?.outputs ?? [], "context")) {
      return `gives the graph ${name} the input context, which the graph static does not return`;
    }
  }
  if (names.includes(STEP) && widths.state < 1) {
    return `gives the graph ${STEP} no input 'state' (B, K) of a fixed width K`;
  }
  return "";
}

/** @param {TensorSpec[]} tensors @param {string} name */
function gives(tensors, name) {
  return tensors.some((tensor) => tensor.name === name);
}

/** @param {string} name @param {GraphSpec} graph @param {Element} element @param {Widths} widths */
function tensorProblem(name, { inputs, outputs }, element, widths) {
  const rule = GRAPHS[name];
  const [taken, given] = [inputs, outputs].map((tensors) => [...new Set(tensors.map((one) => one.name))].sort());
  if (!holds(rule.inputs, taken)) {
    return `gives the graph ${name} the inputs ${taken.join(", ")}; known are ${rule.inputs.join(", ")}`;
  }
  if (!holds(given, rule.outputs) || !holds([...rule.outputs, ...(rule.optional ?? [])], given)) {
    return `gives the graph ${name} the outputs ${given.join(", ")}; expected ${rule.outputs.join(", ")}`;
  }
  for (const { name: tensor, shape, dtype } of [...inputs, ...outputs]) {
    const expected = tensorOf(name, tensor, element, widths);
    const where = `gives the tensor ${tensor} of graph ${name}`;
    if (tuple(shape) !== tuple(expected.shape)) {
      return `${where} the shape ${tuple(shape)}; expected ${tuple(expected.shape)}`;
    }
    if (dtype !== expected.dtype) return `${where} the dtype ${dtype}; expected ${expected.dtype}`;
  }
  return "";
}

/** @param {string[]} all @param {string[]} some */
function holds(all, some) {
  return some.every((one) => all.includes(one));
}

/**
 * Return axes as Python writes them, such as `('B', 'T', 3)`.
 * @param {(number | string)[]} axes
 */
function tuple(axes) {
  const texts = axes.map((axis) => (typeof axis === "string" ? `'${axis}'` : String(axis)));
  return `(${texts.join(", ")}${axes.length === 1 ? "," : ""})`;
}

/**
 * Return a value of the manifest as Python writes it.
 * @param {any} value
 * @returns {string}
 */
function spelt(value) {
  if (value === undefined || value === null) return "None";
  if (value instanceof NumberText) return value.canonical;
  if (Array.isArray(value)) return `[${value.map(spelt).join(", ")}]`;
  return typeof value === "boolean" ? (value ? "True" : "False") : String(value);
}

// ---------------------------------------------------------------------------------------------------------- format 1

const GRAPHS_1 = ["encoder", "static", "dynamic", "decoder", "prior"];

/**
 * Return what is wrong with the graphs of a manifest of format 1; empty where nothing is.
 * @param {any} manifest
 */
function problem1(manifest) {
  const names = Object.keys(manifest.graphs);
  if (!holds(names, GRAPHS_1) || !holds([...GRAPHS_1, STEP], names)) {
    return `names the graphs ${names.join(", ")}; expected ${GRAPHS_1.join(", ")}, and ${STEP} or none`;
  }
  if (names.includes(STEP) && stateSize(manifest) < 1) {
    return `gives the graph ${STEP} no input 'state' (B, K) of a fixed width K`;
  }
  return "";
}

/**
 * Return a manifest of format 1 as one of today; it keeps its version and its digest. Its graphs run as they are: what
 * is called `context` today is called `static_hidden` in them, and graphs are fed by the names that the manifest lists.
 * @param {any} manifest
 * @returns {Manifest}
 */
function upgraded(manifest) {
  const { element, letters: old, graphs, variant, model, steps, files, provenance, format, version, digest } = manifest;
  const { element: _, feature_mean = [], feature_std = [], ...settings } = model;
  const reason = whyNotOnline(manifest);
  return {
    element,
    widths: {
      static_size: old.static_size,
      dynamic_size: old.dynamic_size,
      features: old.features,
      context: old.hidden_size,
      state: stateSize(manifest),
    },
    graphs,
    method: "dbse",
    variant,
    settings,
    capabilities: Object.keys(VERBS).filter((verb) => !(reason && verb === "stream")),
    refusals: reason ? { stream: reason } : /** @type {Record<string, string>} */ ({}),
    steps,
    max_steps: null,
    feature_mean,
    feature_std,
    files,
    provenance,
    format,
    version,
    digest,
  };
}

/** @param {{ graphs: Record<string, GraphSpec> }} manifest */
function stateSize({ graphs }) {
  const width = graphs[STEP]?.inputs.find((input) => input.name === "state" && input.shape.length)?.shape.at(-1);
  return typeof width === "number" ? width : 0;
}

/** @param {any} manifest */
function whyNotOnline({ causal, anchor, graphs }) {
  if (!causal) return "its LSTM is bidirectional, so no dynamic code is known before the last element";
  if (anchor !== "first") {
    return `its static code is read from the ${anchor} element, which is not known when a stream begins`;
  }
  return graphs[STEP] ? "" : `its bundle was made before bundles had a graph ${STEP}; export its run again`;
}

// ------------------------------------------------------------------------------------------------------------ digest

/**
 * Return the SHA-256 of bytes, as hexadecimal digits.
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) {
    throw new ConfigError(
      "browsers check files only on https and on localhost; open the page there, as `sdkit serve` does",
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
