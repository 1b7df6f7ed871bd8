// @ts-check
/** Sequences from files that a visitor opens: .npy arrays, and .png strips of frames side by side. */

import { DataError, KINDS, checkSequences } from "./sdkit.mjs";

/** @typedef {import("./sdkit.mjs").Sequences} Sequences */
/** @typedef {import("./sdkit.mjs").Element} Element */

const NPY_MAGIC = "\x93NUMPY";

/**
 * Return the sequences of a file, (B, T, *element).
 * @param {File} file
 * @param {Element} element
 * @returns {Promise<Sequences>}
 * @throws {DataError} Another kind of file, or sequences that are not of this element.
 */
export async function readFile(file, element) {
  if (file.name.endsWith(".npy")) return readNpy(new Uint8Array(await file.arrayBuffer()), element, file.name);
  const { pictorial } = KINDS[element.kind];
  if (file.name.endsWith(".png") && pictorial) return readStrip(file, element);
  const kinds = pictorial ? "a .npy array or a .png strip" : "a .npy array";
  throw new DataError(`${file.name} is not ${kinds}`);
}

/**
 * Return the sequences of a .npy file: one, (T, *element), or several, (B, T, *element).
 * @param {Uint8Array} bytes
 * @param {Element} element
 * @param {string} where What messages call it.
 * @returns {Sequences}
 */
export function readNpy(bytes, element, where) {
  const { header, start } = npyHeader(bytes, where);
  const descr = /'descr': '([^']*)'/.exec(header)?.[1];
  const shape = (/'shape': \(([\d, ]*)\)/.exec(header)?.[1] ?? "")
    .split(",")
    .filter((size) => size.trim())
    .map(Number);
  const order = /'fortran_order': False/.test(header);
  const expected = { uint8: "|u1", float32: "<f4" }[element.dtype];
  const single = shape.length === 1 + element.shape.length;
  if (descr !== expected || !order) {
    const wanted = `${element.dtype} in C order (numpy.ascontiguousarray(x, "${element.dtype}"))`;
    throw new DataError(`${where} holds ${descr}${order ? "" : " in Fortran order"}; expected ${wanted}`);
  }
  const body = bytes.slice(start);
  if (element.dtype === "float32" && body.length % 4) throw new DataError(`${where} ends in the middle of a number`);
  const data = element.dtype === "uint8" ? body : new Float32Array(body.buffer);
  return checkSequences(element, { data, shape: single ? [1, ...shape] : shape }, where);
}

/** @param {Uint8Array} bytes @param {string} where */
function npyHeader(bytes, where) {
  const text = (/** @type {number} */ from, /** @type {number} */ to) =>
    String.fromCharCode(...bytes.subarray(from, to));
  if (bytes.length < 12 || text(0, 6) !== NPY_MAGIC) throw new DataError(`${where} is not a .npy file`);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [length, offset] = bytes[6] === 1 ? [view.getUint16(8, true), 10] : [view.getUint32(8, true), 12];
  return { header: text(offset, offset + length), start: offset + length };
}

/**
 * Return the sequence of a picture that shows its frames side by side, at the element's own size.
 * @param {File} file
 * @param {Element} element
 * @returns {Promise<Sequences>}
 */
async function readStrip(file, element) {
  const [channels, height, width] = element.shape;
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => {
    throw new DataError(`${file.name} is not a picture that this browser reads`);
  });
  const steps = bitmap.width / width;
  if (bitmap.height !== height || !Number.isInteger(steps)) {
    const given = `${bitmap.width} x ${bitmap.height}`;
    throw new DataError(`${file.name} is ${given} pixels; a strip is ${height} high and T times ${width} wide`);
  }
  const canvas = new OffscreenCanvas(bitmap.width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, height).data;
  const data =
    element.dtype === "uint8"
      ? new Uint8Array(steps * channels * height * width)
      : new Float32Array(steps * channels * height * width);
  const scale = element.dtype === "uint8" ? 1 : 255;
  let place = 0;
  for (let step = 0; step < steps; step++) {
    for (let channel = 0; channel < channels; channel++) {
      for (let row = 0; row < height; row++) {
        for (let column = 0; column < width; column++) {
          data[place++] = pixels[4 * (row * bitmap.width + step * width + column) + Math.min(channel, 3)] / scale;
        }
      }
    }
  }
  return checkSequences(element, { data, shape: [1, steps, ...element.shape] }, file.name);
}
