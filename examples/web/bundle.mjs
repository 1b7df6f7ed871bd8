// @ts-check
/** Reading a bundle: its manifest, its files and their digests. Nothing of a bundle is run here. */

import { BundleError, BundleFileError, BundlePathError, DigestError, MissingFileError } from "./errors.mjs";
import { parseManifest, sha256 } from "./manifest.mjs";

/**
 * @typedef {(done: number, total: number) => void} Progress Is called with the number of bytes that were read.
 * @typedef {{ name: string, read: (path: string, onBytes?: (count: number) => void)
 *   => Promise<Uint8Array<ArrayBuffer> | undefined> }} Source Where a bundle's files come from.
 */

export const MANIFEST_FILE = "manifest.json";
const ENDINGS = [".onnx", ".ts.pt", ".npz", ".json", ".md"];

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

/** @param {string} name @param {import("./manifest.mjs").FileSpec} spec */
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
   * @param {import("./manifest.mjs").Manifest} manifest
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
        `${source.name} is not a bundle: it holds no ${MANIFEST_FILE}; \`sdkit export\` makes one`,
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
      const graphs = Object.values(this.manifest.graphs);
      const have = ["onnx", "torchscript"].filter((format) => graphs.every(({ files }) => format in files));
      throw new BundleError(
        `${this.source.name} holds no onnx graphs (it holds: ${have.join(", ") || "none"}); ` +
          "`sdkit export --format onnx`",
      );
    }
    return bytes;
  }
}
