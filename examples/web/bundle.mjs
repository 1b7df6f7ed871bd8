// @ts-check
/** Reading a bundle: errors, the checks of manifest.json, files and their digests. Nothing of a bundle is run here. */

/**
 * @typedef {{ kind: "image" | "series" | "spectrum", shape: number[], dtype: "uint8" | "float32", units: string[],
 *   feature_names: string[] }} Element What one element of a sequence is.
 * @typedef {{ static_size: number, dynamic_size: number, features: number, hidden_size: number }} Letters
 * @typedef {{ name: string, dtype: string, shape: (number | string)[] }} TensorSpec
 * @typedef {{ path: string, sha256: string, size: number, precision?: "float32" | "float16" | "int8" }} FileSpec
 * @typedef {{ inputs: TensorSpec[], outputs: TensorSpec[], files: Record<string, FileSpec> }} GraphSpec
 * @typedef {{ element: Element, letters: Letters, graphs: Record<string, GraphSpec>, steps: number, anchor: string,
 *   anchor_dynamic: string, causal: boolean, variant: string, model: Record<string, any>,
 *   files: Record<string, FileSpec>, provenance: Record<string, any>, format: string, version: number,
 *   digest: string }} Manifest manifest.json, every default filled in.
 * @typedef {(done: number, total: number) => void} Progress Is told of bytes that were read.
 * @typedef {{ name: string, read: (path: string, onBytes?: (count: number) => void)
 *   => Promise<Uint8Array<ArrayBuffer> | undefined> }} Source Where a bundle's files come from.
 */

/** The five graphs of every model, in the order of the data's way through them. */
export const GRAPHS = ["encoder", "static", "dynamic", "decoder", "prior"];
/** The sixth, of models that can run online: the codes of one element and the past. */
export const STEP = "dynamic_step";
export const MANIFEST_FILE = "manifest.json";
const FORMAT = "sdkit-bundle";
const VERSION = 1;
const ENDINGS = [".onnx", ".ts.pt", ".npz", ".json", ".md"];

/** Base of all errors that a user can mend: one line that says what is wrong, where, and what to do. */
export class SdkitError extends Error {
  get name() {
    return this.constructor.name;
  }
}
/** An option that cannot be used. */
export class ConfigError extends SdkitError {}
/** Sequences or codes that do not have the expected shape, dtype or values. */
export class DataError extends SdkitError {}
/** A file that should be there and is not. */
export class MissingFileError extends SdkitError {}
/** A bundle that must not be used. */
export class BundleError extends SdkitError {}
/** A manifest that does not parse, has unknown keys or was changed. */
export class ManifestError extends BundleError {}
/** A bundle of a format version that this module does not read. */
export class BundleVersionError extends BundleError {}
/** A manifest entry that points outside its bundle. */
export class BundlePathError extends BundleError {}
/** A file of the bundle that is missing. */
export class BundleFileError extends BundleError {}
/** A file of the bundle whose bytes are not those that were exported. */
export class DigestError extends BundleError {}

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
    if (this.isInteger) return BigInt(this.text).toString();
    const value = Number(this.text);
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

/**
 * A check of one place of the manifest: returns its compact JSON, keys in the schema's order and defaults filled in.
 * @typedef {(value: any, at: string) => string} Check
 */

/** @param {string} expected @param {any} value @param {string} at @returns {never} */
function refuse(expected, value, at) {
  const given =
    value === null ? "null" : Array.isArray(value) ? "array" : value instanceof NumberText ? "number" : typeof value;
  throw new TypeError(`Expected ${expected}, got ${given} - at ${at}`);
}

/** @type {Check} */
const string = (value, at) => (typeof value === "string" ? JSON.stringify(value) : refuse("str", value, at));
/** @type {Check} */
const boolean = (value, at) => (typeof value === "boolean" ? String(value) : refuse("bool", value, at));
/** @type {Check} */
const integer = (value, at) =>
  value instanceof NumberText && value.isInteger ? value.canonical : refuse("int", value, at);
/** @type {(...names: string[]) => Check} */
const oneOf =
  (...names) =>
  (value, at) =>
    names.includes(value) ? JSON.stringify(value) : refuse(`one of ${names.join(", ")}`, value, at);
/** @type {(...checks: Check[]) => Check} */
const either =
  (...checks) =>
  (value, at) => {
    for (const check of checks.slice(0, -1)) {
      try {
        return check(value, at);
      } catch {}
    }
    return checks[checks.length - 1](value, at);
  };
/** @type {Check} */
const nothing = (value, at) => (value === null ? "null" : refuse("null", value, at));
/** @type {(item: Check) => Check} */
const list = (item) => (value, at) =>
  Array.isArray(value) ? `[${value.map((v, i) => item(v, `${at}[${i}]`)).join()}]` : refuse("array", value, at);
/** @type {(value: any) => boolean} */
const isObject = (value) =>
  value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof NumberText);
/** @type {(item: Check, key?: Check) => Check} */
const dictionary =
  (item, key = string) =>
  (value, at) =>
    isObject(value)
      ? `{${Object.entries(value)
          .map(([k, v]) => `${key(k, at)}:${item(v, `${at}.${k}`)}`)
          .join()}}`
      : refuse("object", value, at);
/** @type {Check} */
const anything = (value, at) =>
  isObject(value)
    ? dictionary(anything)(value, at)
    : Array.isArray(value)
      ? list(anything)(value, at)
      : value instanceof NumberText
        ? value.canonical
        : JSON.stringify(value);
/** Default of a field that is left out where it is not given. */
const ABSENT = "";
/** @type {(fields: Record<string, Check>, defaults?: Record<string, string>) => Check} */
const struct =
  (fields, defaults = {}) =>
  (value, at) => {
    if (!isObject(value)) refuse("object", value, at);
    for (const key of Object.keys(value)) {
      if (!Object.hasOwn(fields, key)) throw new TypeError(`Object contains unknown field '${key}' - at ${at}`);
    }
    const entries = Object.entries(fields).map(([key, check]) => {
      if (Object.hasOwn(value, key)) return `"${key}":${check(value[key], `${at}.${key}`)}`;
      if (!Object.hasOwn(defaults, key)) throw new TypeError(`Object missing required field '${key}' - at ${at}`);
      return defaults[key] === ABSENT ? ABSENT : `"${key}":${defaults[key]}`;
    });
    return `{${entries.filter((entry) => entry !== ABSENT).join()}}`;
  };
/** @type {(fields: Record<string, Check>) => Check} */
const optional = (fields) => {
  const blank = (/** @type {Check} */ check) => (check === integer ? "0" : '""');
  return struct(fields, Object.fromEntries(Object.entries(fields).map(([key, check]) => [key, blank(check)])));
};

const LAYOUTS = { image: ["C", "H", "W"], series: ["W", "F"], spectrum: ["F"] };
const elementFields = struct(
  {
    kind: oneOf(...Object.keys(LAYOUTS)),
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
  const { kind, shape } = /** @type {Element} */ (JSON.parse(found));
  if (shape.length !== LAYOUTS[kind].length || Math.min(...shape) < 1) {
    const axes = LAYOUTS[kind].join(", ");
    throw new TypeError(
      `an element of kind ${kind} has the axes (${axes}), not the shape (${shape.join(", ")}) - at ${at}`,
    );
  }
  return found;
};
const letters = struct(
  { static_size: integer, dynamic_size: integer, features: integer, hidden_size: integer },
  { features: "0", hidden_size: "0" },
);
const tensor = struct({ name: string, dtype: string, shape: list(either(integer, string)) });
const file = struct(
  {
    path: string,
    sha256: string,
    size: integer,
    exporter: string,
    opset: either(integer, nothing),
    ir_version: either(integer, nothing),
    precision: oneOf("float32", "float16", "int8"),
  },
  { exporter: '""', opset: "null", ir_version: "null", precision: ABSENT },
);
const graph = struct({
  inputs: list(tensor),
  outputs: list(tensor),
  files: dictionary(file, oneOf("onnx", "torchscript")),
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
const manifestFields = struct(
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
    files: dictionary(file),
    provenance,
    format: string,
    version: integer,
    digest: string,
  },
  { files: "{}", provenance: provenance({}, "$"), format: `"${FORMAT}"`, version: String(VERSION), digest: '""' },
);

/**
 * Return the manifest of a text.
 * @param {Uint8Array} bytes Of manifest.json.
 * @param {string} where What messages call it.
 * @returns {Promise<Manifest>}
 * @throws {BundleVersionError} Of a version that this module does not read.
 * @throws {ManifestError} Not JSON, unknown or missing keys or graphs, or changed since it was sealed.
 */
export async function parseManifest(bytes, where) {
  let header, text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (error) {
    throw new ManifestError(`${where} is not JSON: ${firstLine(error)}`);
  }
  if (header?.format !== FORMAT) {
    throw new ManifestError(`${where} is not the manifest of an sdkit bundle: it has no format '${FORMAT}'`);
  }
  if (header.version !== VERSION) {
    throw new BundleVersionError(`${where} has version ${header.version}; this sdkit reads version ${VERSION}`);
  }
  let canonical, blank;
  try {
    const value = parseKeepingNumbers(text);
    canonical = manifestFields(value, "$");
    blank = manifestFields({ ...value, digest: "" }, "$");
  } catch (error) {
    throw new ManifestError(`${where} does not follow the manifest's schema: ${firstLine(error)}`);
  }
  const manifest = /** @type {Manifest} */ (JSON.parse(canonical));
  checkGraphs(manifest, where);
  if ((await sha256(new TextEncoder().encode(blank))) !== manifest.digest) {
    throw new ManifestError(
      `${where} was changed after it was written: its digest does not fit; export the bundle again`,
    );
  }
  return manifest;
}

/** @param {Manifest} manifest @param {string} where */
function checkGraphs({ graphs }, where) {
  const names = Object.keys(graphs);
  if (!GRAPHS.every((name) => names.includes(name)) || !names.every((name) => [...GRAPHS, STEP].includes(name))) {
    const expected = `${GRAPHS.join(", ")}, and ${STEP} or none`;
    throw new ManifestError(`${where} names the graphs ${names.join(", ")}; expected ${expected}`);
  }
  const width = graphs[STEP]?.inputs.find((input) => input.name === "state")?.shape.at(-1);
  if (graphs[STEP] && !(Number(width) >= 1)) {
    throw new ManifestError(`${where} gives the graph ${STEP} no input 'state' (B, K) of a fixed width K`);
  }
}

/**
 * Return the SHA-256 of bytes, as hexadecimal digits.
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) {
    throw new ConfigError(
      "browsers check files only on https and on localhost; open the page there, as `sdkit serve` does",
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Return the files of a folder of this machine (node).
 * @param {string | URL} folder
 * @returns {Promise<Source>}
 */
export async function folderSource(folder) {
  const [fs, path, url] = await Promise.all([import("node:fs/promises"), import("node:path"), import("node:url")]);
  const root = folder instanceof URL ? url.fileURLToPath(folder) : folder;
  return {
    name: root,
    async read(name, onBytes) {
      const target = path.join(root, name);
      const [inside, real] = await Promise.all([root, target].map((one) => fs.realpath(one).catch(() => undefined)));
      if (inside === undefined || real === undefined) return undefined;
      if (!real.startsWith(inside + path.sep)) throw outside(root, name);
      if (!(await fs.stat(real)).isFile()) return undefined;
      const bytes = new Uint8Array(await fs.readFile(real));
      onBytes?.(bytes.length);
      return bytes;
    },
  };
}

/**
 * Return the files under an address.
 * @param {string | URL} address Of the bundle's folder; relative to the page.
 * @returns {Source}
 */
export function urlSource(address) {
  const base = new URL(address, globalThis.document?.baseURI);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return {
    name: base.href,
    async read(name, onBytes) {
      const response = await fetch(new URL(name.split("/").map(encodeURIComponent).join("/"), base));
      if (!response.ok || !response.body) return undefined;
      const parts = [];
      const reader = response.body.getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        parts.push(part.value);
        onBytes?.(part.value.length);
      }
      return new Uint8Array(await new Blob(parts).arrayBuffer());
    },
  };
}

/** @param {string | URL} where @returns {Promise<Source>} */
async function sourceOf(where) {
  const isAddress = where instanceof URL ? where.protocol !== "file:" : /^https?:/.test(where);
  return isAddress || globalThis.document ? urlSource(where) : folderSource(where);
}

/** @param {string} name @param {string} path */
function outside(name, path) {
  return new BundlePathError(`${name}: the manifest points outside the bundle, to '${path}'; do not use this bundle`);
}

/** @param {string} name @param {FileSpec} spec */
function checkPath(name, { path }) {
  const parts = path.split("/").filter((part) => part && part !== ".");
  if (path.startsWith("/") || parts.includes("..") || /[\\:]/.test(path) || parts.length === 0)
    throw outside(name, path);
  if (!ENDINGS.some((ending) => path.endsWith(ending))) {
    throw new BundlePathError(`${name}: the manifest names '${path}', a kind of file that no bundle holds`);
  }
}

/**
 * A bundle whose every file was checked: version, paths, sizes, digests.
 */
export class Bundle {
  /**
   * @param {Source} source
   * @param {Manifest} manifest
   * @param {Map<string, Uint8Array<ArrayBuffer>>} graphs Bytes of the ONNX graphs.
   */
  constructor(source, manifest, graphs) {
    this.source = source;
    this.manifest = manifest;
    this.graphs = graphs;
  }

  /**
   * Read and check a bundle; nothing of it is run.
   * @param {string | URL} where A folder (node) or an address.
   * @param {Progress} [progress]
   * @returns {Promise<Bundle>}
   * @throws {MissingFileError} There is none.
   * @throws {BundleError} Of the subclass that says what is wrong with it.
   */
  static async open(where, progress) {
    const source = await sourceOf(where);
    const text = await source.read(MANIFEST_FILE);
    if (!text) {
      throw new MissingFileError(
        `${source.name} is not a bundle: it holds no ${MANIFEST_FILE}; 'sdkit export' makes one`,
      );
    }
    const manifest = await parseManifest(text, `${source.name}/${MANIFEST_FILE}`);
    const specs = [
      ...Object.values(manifest.graphs).flatMap((one) => Object.values(one.files)),
      ...Object.values(manifest.files),
    ];
    specs.forEach((spec) => checkPath(source.name, spec));
    const total = specs.reduce((sum, spec) => sum + spec.size, 0);
    const graphs = new Map();
    let done = 0;
    for (const spec of specs) {
      const bytes = await source.read(spec.path, (count) => progress?.((done += count), total));
      if (!bytes) {
        const advice = "though the manifest names it; export or copy the bundle again";
        throw new BundleFileError(`${source.name}/${spec.path} is missing, ${advice}`);
      }
      if (bytes.length !== spec.size || (await sha256(bytes)) !== spec.sha256) {
        const advice = "(its bytes changed); export or copy the bundle again";
        throw new DigestError(`${source.name}/${spec.path} is not the file that was exported ${advice}`);
      }
      if (spec.path.endsWith(".onnx")) graphs.set(spec.path, bytes);
    }
    return new Bundle(source, manifest, graphs);
  }

  /**
   * Return the bytes of an ONNX graph.
   * @param {string} name
   * @throws {BundleError} The bundle holds it in another format only.
   */
  graph(name) {
    const spec = this.manifest.graphs[name].files.onnx;
    const bytes = spec && this.graphs.get(spec.path);
    if (!bytes) {
      throw new BundleError(
        `${this.source.name} holds no ONNX file of graph '${name}'; 'sdkit export --format onnx' makes one`,
      );
    }
    return bytes;
  }
}

/** @param {unknown} error */
export function firstLine(error) {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n")[0] || String(error);
}
