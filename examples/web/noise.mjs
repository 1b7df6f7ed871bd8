// @ts-check
/** Noise that any host can draw again: Philox 4x64-10 counters and the Box-Muller transform. */

import { ConfigError } from "./errors.mjs";

/** What noise is for: the second half of the Philox key. */
export const PURPOSE = { staticPrior: 0, dynamicPrior: 1, staticPosterior: 2, dynamicPosterior: 3 };
const BITS = 64;
const HIGH = 64n;
const [MULTIPLY_0, MULTIPLY_1] = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const [WEYL_0, WEYL_1] = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];
const ROUNDS = 10;

/**
 * Return the four 64-bit outputs of Philox 4x64-10 for the counter (block, stream, 0, 0).
 * @param {bigint} block 1, 2, 3, ...
 * @param {bigint} stream Number of the sequence.
 * @param {bigint} key0 The seed.
 * @param {bigint} key1 One of PURPOSE.
 * @returns {bigint[]}
 */
export function philox(block, stream, key0, key1) {
  let [a, b, c, d] = [block, stream, 0n, 0n];
  for (let round = 0; round < ROUNDS; round++) {
    const [left, right] = [MULTIPLY_0 * a, MULTIPLY_1 * c];
    [a, b, c, d] = [
      (right >> HIGH) ^ b ^ key0,
      BigInt.asUintN(BITS, right),
      (left >> HIGH) ^ d ^ key1,
      BigInt.asUintN(BITS, left),
    ];
    key0 = BigInt.asUintN(BITS, key0 + WEYL_0);
    key1 = BigInt.asUintN(BITS, key1 + WEYL_1);
  }
  return [a, b, c, d];
}

/**
 * Return noise of `shape` (B, ...) for the sequences first, first + 1, ...: the same numbers in every host.
 * @param {number | bigint} seed 0 to 2^64 - 1; a bigint beyond 2^53.
 * @param {number} purpose One of PURPOSE.
 * @param {number | bigint} first
 * @param {number[]} shape
 * @returns {import("./sdkit.mjs").Floats}
 * @throws {ConfigError} A seed or `first` outside that range.
 */
export function standardNormal(seed, purpose, first, shape) {
  const [key, stream] = [whole("seed", seed), whole("first", first)];
  const size = shape.slice(1).reduce((total, length) => total * length, 1);
  const data = new Float32Array(shape[0] * size);
  for (let row = 0; row < shape[0]; row++) {
    const values = data.subarray(row * size, (row + 1) * size);
    for (let start = 0, block = 1n; start < size; start += 4, block++) {
      const raw = philox(block, stream + BigInt(row), key, BigInt(purpose)).map((bits) => Number(bits >> 11n));
      for (let pair = 0; pair < 4 && start + pair < size; pair += 2) {
        const radius = Math.sqrt(-2 * Math.log((raw[pair] + 1) / 2 ** 53));
        const angle = (2 * Math.PI * raw[pair + 1]) / 2 ** 53;
        values[start + pair] = radius * Math.cos(angle);
        if (start + pair + 1 < size) values[start + pair + 1] = radius * Math.sin(angle);
      }
    }
  }
  return { data, shape };
}

/** @param {string} name @param {number | bigint} value */
function whole(name, value) {
  const valid =
    typeof value === "bigint" ? value >= 0n && value < 1n << HIGH : Number.isSafeInteger(value) && value >= 0;
  if (!valid) throw new ConfigError(`${name} = ${value}; it must lie in 0..2^64 - 1, and be a bigint beyond 2^53`);
  return BigInt(value);
}
