// @ts-check
/**
 * The contract of a bundle: its graphs, their tensors, the verbs, and the kinds of elements. These tables are those of
 * Python's sdkit.runtime.contract and sdkit.runtime.kinds; a test holds them to it.
 *
 * A host runs a chain of graphs over a pool of tensors. It puts into the pool what it is given (`x`, codes, `noise`),
 * feeds each graph by name the inputs that the manifest lists for it, and adds the graph's outputs to the pool. A mean
 * stands for its code (`MEANS`) until a sample replaces it.
 */

/** @typedef {(number | string)[]} Axes */

/**
 * Axes of every tensor. B batch and T steps are free; *element are the axes of an element; the letters of `WIDTHS` are
 * fixed by the model. All are float32 but the input `x`, which has the data set's dtype.
 * @type {Record<string, Axes>}
 */
export const TENSORS = {
  x: ["B", "T", "*element"],
  x_std: ["B", "T", "*element"],
  features: ["B", "T", "G"],
  context: ["B", "C"],
  static_mean: ["B", "S"],
  static_std: ["B", "S"],
  static: ["B", "S"],
  dynamic_mean: ["B", "T", "D"],
  dynamic_std: ["B", "T", "D"],
  dynamic: ["B", "T", "D"],
  noise: ["B", "T", "D"],
  element_features: ["B", 1, "G"],
  state: ["B", "K"],
  next_state: ["B", "K"],
};

/**
 * Fields of the manifest's `widths`, by letter.
 * @type {Record<string, string>}
 */
export const WIDTHS = { S: "static_size", D: "dynamic_size", G: "features", C: "context", K: "state" };

/**
 * The code that each mean stands for in the pool, unless a graph or the host has put a code there.
 * @type {Record<string, string>}
 */
export const MEANS = { static_mean: "static", dynamic_mean: "dynamic" };

/** The codes of one element of a live stream and what the future needs. */
export const STEP = "dynamic_step";
/** Static codes drawn from a prior other than N(0, I), in place of the noise itself. */
export const STATIC_PRIOR = "static_prior";
/** Dynamic codes drawn from a posterior whose steps are correlated, in place of mean + std * noise. */
export const DYNAMIC_POSTERIOR = "dynamic_posterior";

/**
 * Every graph that a bundle can hold, in the order of the data's way through them: the tensors that it may take, those
 * that it returns, those that it may return as well, and axes that differ from `TENSORS`.
 * @type {Record<string, { inputs: string[], outputs: string[], optional?: string[], axes?: Record<string, Axes> }>}
 */
export const GRAPHS = {
  encoder: { inputs: ["x"], outputs: ["features"] },
  static: { inputs: ["features"], outputs: ["static_mean", "static_std"], optional: ["context"] },
  dynamic: { inputs: ["features", "context", "static"], outputs: ["dynamic_mean", "dynamic_std"] },
  decoder: { inputs: ["static", "dynamic"], outputs: ["x"], optional: ["x_std"] },
  prior: { inputs: ["noise"], outputs: ["dynamic"], optional: ["dynamic_mean"] },
  [STATIC_PRIOR]: { inputs: ["noise"], outputs: ["static"], axes: { noise: ["B", "S"] } },
  [DYNAMIC_POSTERIOR]: { inputs: ["features", "context", "static", "noise"], outputs: ["dynamic"] },
  [STEP]: {
    inputs: ["element_features", "state"],
    outputs: ["static_mean", "dynamic_mean", "dynamic_std", "next_state"],
    axes: { dynamic_mean: ["B", 1, "D"], dynamic_std: ["B", 1, "D"] },
  },
};

const ENCODE = ["encoder", "static", "dynamic"];

/**
 * The capabilities: the graphs that each verb runs, in order.
 * @type {Record<string, string[]>}
 */
export const VERBS = {
  encode: ENCODE,
  decode: ["decoder"],
  reconstruct: [...ENCODE, "decoder"],
  swap: [...ENCODE, "decoder"],
  generate: ["prior", "decoder"],
  resample_static: [...ENCODE, "decoder"],
  resample_dynamic: ["encoder", "static", "prior", "decoder"],
  stream: ["encoder", STEP, "decoder"],
};

/**
 * Kinds of elements: the axes of an element, the dtypes that data may have, whether an element is a picture of pixels,
 * whether it spans several steps of time, and whether values may be missing, as NaN.
 * @type {Record<string, { axes: string[], dtypes: string[], pictorial: boolean, windowed: boolean, incomplete: boolean }>}
 */
export const KINDS = {
  image: { axes: ["C", "H", "W"], dtypes: ["uint8", "float32"], pictorial: true, windowed: false, incomplete: false },
  series: { axes: ["W", "F"], dtypes: ["uint8", "float32"], pictorial: false, windowed: true, incomplete: true },
  spectrum: { axes: ["F"], dtypes: ["uint8", "float32"], pictorial: false, windowed: false, incomplete: true },
  vector: { axes: ["F"], dtypes: ["float32"], pictorial: false, windowed: false, incomplete: true },
};

/**
 * Return the graphs that verbs run, in the order of `GRAPHS`.
 * @param {string[]} verbs
 */
export function needed(verbs) {
  const used = verbs.flatMap((verb) => VERBS[verb]);
  return Object.keys(GRAPHS).filter((graph) => used.includes(graph));
}

/**
 * Return the dtype and the shape of a tensor of a graph; B and T stay letters.
 * @param {string} graph
 * @param {string} tensor
 * @param {{ shape: number[], dtype: string }} element
 * @param {Record<string, number>} widths Of the model.
 * @returns {{ dtype: string, shape: Axes }}
 */
export function tensorOf(graph, tensor, element, widths) {
  const axes = GRAPHS[graph].axes?.[tensor] ?? TENSORS[tensor];
  return {
    dtype: graph === "encoder" && tensor === "x" ? element.dtype : "float32",
    shape: axes.flatMap((axis) => (axis === "*element" ? element.shape : axis in WIDTHS ? widths[WIDTHS[axis]] : axis)),
  };
}
