// @ts-check
/** Drawing: an element of a sequence as a picture, a line chart or a spectrogram, and codes as strips of colour. */

import { KINDS } from "./contract.mjs";

/** @typedef {import("./sdkit.mjs").Floats} Floats */
/** @typedef {import("./sdkit.mjs").Sequences} Sequences */
/** @typedef {import("./sdkit.mjs").Element} Element */
/** @typedef {import("./sdkit.mjs").Codes} Codes */
/** @typedef {{ x: Sequences, std?: Floats, hue: string }} Clip One sequence, (1, T, *element), and its colour. */
/** @typedef {{ low: number, high: number }[]} Ranges Of values, one a feature. */
/** @typedef {(canvas: HTMLCanvasElement, clip: Clip, frame: number) => void} Draw */

const MOST_FEATURES = 6;
const CELLS = 32;
const ROW = 58;
const LABEL = 14;

/**
 * Return the colour of a CSS variable, such as `--a`.
 * @param {string} name
 */
export function colour(name) {
  // Resolved by an element, because the variable itself is text such as light-dark(...).
  const probe = document.body.appendChild(document.createElement("span"));
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** @param {HTMLCanvasElement} canvas */
function context2d(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/**
 * How elements of a kind are drawn.
 * @type {Record<string, (canvas: HTMLCanvasElement, element: Element, ranges: Ranges, clip: Clip, frame: number) => void>}
 */
const DRAWERS = { image: drawImage, series: drawLines, spectrum: drawSpectrum, vector: drawLines };

/**
 * Return what draws elements of a kind.
 * @param {Element} element
 * @param {() => Ranges} ranges Of the values that are on the page now.
 * @returns {Draw}
 */
export function drawer(element, ranges) {
  return (canvas, clip, frame) => DRAWERS[element.kind](canvas, element, ranges(), clip, frame);
}

/**
 * Return the number of features that are drawn as a line each; 0 where elements are drawn as a whole.
 * @param {Element} element
 */
function lines(element) {
  return DRAWERS[element.kind] === drawLines ? /** @type {number} */ (element.shape.at(-1)) : 0;
}

/** @param {HTMLCanvasElement} canvas @param {Element} element @param {Ranges} _ @param {Clip} clip @param {number} frame */
function drawImage(canvas, element, _, { x }, frame) {
  const [channels, height, width] = element.shape;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const area = height * width;
  const pixels = x.data.subarray(frame * channels * area, (frame + 1) * channels * area);
  const scale = x.data instanceof Uint8Array ? 1 : 255;
  const image = new ImageData(width, height);
  for (let place = 0; place < area; place++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * place + channel] = scale * pixels[(channels === 3 ? channel : 0) * area + place];
    }
    image.data[4 * place + 3] = 255;
  }
  context2d(canvas).putImageData(image, 0, 0);
}

/**
 * Return the range of every feature that is a line, or one for all bins of spectra, widened a little.
 * @param {Element} element
 * @param {Sequences[]} arrays
 * @returns {Ranges}
 */
export function rangesOf(element, arrays) {
  const count = lines(element) || 1;
  const ranges = Array.from({ length: count }, () => ({ low: Infinity, high: -Infinity }));
  for (const { data } of arrays) {
    data.forEach((value, i) => {
      const range = ranges[i % count];
      if (value < range.low) range.low = value;
      if (value > range.high) range.high = value;
    });
  }
  return ranges.map(({ low, high }) => {
    if (low > high) return { low: 0, high: 1 };
    const margin = 0.08 * (high - low) || 0.5;
    return { low: low - margin, high: high + margin };
  });
}

/**
 * Make a canvas as fine as the screen and return its width in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {number} height CSS pixels.
 */
function fit(canvas, height) {
  const width = canvas.clientWidth || 300;
  const ratio = devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  const context = context2d(canvas);
  context.scale(ratio, ratio);
  return { context, width };
}

/** @param {HTMLCanvasElement} canvas @param {Element} element @param {Ranges} ranges @param {Clip} clip @param {number} frame */
function drawLines(canvas, element, ranges, { x, std, hue }, frame) {
  const [window, features] = [KINDS[element.kind].windowed ? element.shape[0] : 1, lines(element)];
  const small = canvas.closest(".picker") !== null;
  const shown = Math.min(features, small ? 1 : MOST_FEATURES);
  const row = small ? 44 : ROW;
  const { context, width } = fit(canvas, row * shown);
  const total = x.shape[1] * window;
  const across = (/** @type {number} */ step) => ((step + 0.5) / total) * width;
  if (!small) {
    context.fillStyle = colour("--line");
    context.fillRect((frame * window * width) / total, 0, (window * width) / total, row * shown);
  }
  for (let feature = 0; feature < shown; feature++) {
    const { low, high } = ranges[feature];
    const bottom = (feature + 1) * row - 4;
    const room = row - 4 - (small ? 4 : LABEL);
    const up = (/** @type {number} */ value) => bottom - ((value - low) / (high - low)) * room;
    const at = (/** @type {number} */ step) => x.data[step * features + feature];
    if (std) {
      context.fillStyle = hue;
      context.globalAlpha = 0.22;
      for (let step = 0; step < total; step++) {
        const spread = std.data[step * features + feature];
        const top = up(at(step) + spread);
        context.fillRect(across(step - 0.5), top, width / total + 0.5, up(at(step) - spread) - top);
      }
      context.globalAlpha = 1;
    }
    drawLine(context, total, across, (step) => up(at(step)), hue);
    if (!small) drawLabel(context, element, feature, feature * row + 11);
  }
}

/**
 * Draw a line that breaks where values were not observed; a value alone is a dot.
 * @param {CanvasRenderingContext2D} context
 * @param {number} total
 * @param {(step: number) => number} across
 * @param {(step: number) => number} up
 * @param {string} hue
 */
function drawLine(context, total, across, up, hue) {
  context.strokeStyle = context.fillStyle = hue;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let step = 0; step < total; step++) {
    if (Number.isNaN(up(step))) continue;
    const joined = step > 0 && !Number.isNaN(up(step - 1));
    if (joined) context.lineTo(across(step), up(step));
    else context.moveTo(across(step), up(step));
    if (!joined && !(step + 1 < total && !Number.isNaN(up(step + 1))))
      context.fillRect(across(step) - 1, up(step) - 1, 2.5, 2.5);
  }
  context.stroke();
}

/** @param {CanvasRenderingContext2D} context @param {Element} element @param {number} feature @param {number} height */
function drawLabel(context, element, feature, height) {
  const unit = element.units.length > 1 ? element.units[feature] : (element.units[0] ?? "");
  const name = element.feature_names[feature] ?? `feature ${feature + 1}`;
  context.fillStyle = colour("--soft");
  context.font = "11px system-ui, sans-serif";
  context.fillText(unit ? `${name} (${unit})` : name, 4, height);
}

/** @param {HTMLCanvasElement} canvas @param {Element} element @param {Ranges} ranges @param {Clip} clip @param {number} frame */
function drawSpectrum(canvas, element, ranges, { x, hue }, frame) {
  const [bins] = element.shape;
  const steps = x.shape[1];
  const { low, high } = ranges[0];
  const { context, width } = fit(canvas, canvas.closest(".picker") ? 44 : 150);
  const height = canvas.clientHeight || 150;
  for (let step = 0; step < steps; step++) {
    for (let bin = 0; bin < bins; bin++) {
      context.globalAlpha = Math.min(1, Math.max(0, (x.data[step * bins + bin] - low) / (high - low)));
      context.fillStyle = hue;
      context.fillRect(
        (step * width) / steps,
        height - ((bin + 1) * height) / bins,
        width / steps + 0.5,
        height / bins + 0.5,
      );
    }
  }
  context.globalAlpha = 1;
  context.strokeStyle = colour("--ink");
  context.strokeRect((frame * width) / steps, 0.5, width / steps, height - 1);
}

/**
 * Return how many features stay unseen.
 * @param {Element} element
 */
export function hiddenFeatures(element) {
  return Math.max(0, lines(element) - MOST_FEATURES);
}

/**
 * Draw codes into a place: a strip for the static code, a field with a column a step for the dynamic codes. At most 32
 * cells of each code are shown, evenly spaced.
 * @param {HTMLElement} place
 * @param {Codes} codes One sequence.
 * @param {[string, string]} hues Of the static and of the dynamic code.
 * @param {number} frame The column to mark.
 */
export function drawCodes(place, codes, hues, frame) {
  if (!place.firstChild) {
    place.innerHTML = `<span class="needs-static">static</span>
      <canvas class="static-code needs-static" aria-hidden="true"></canvas>
      <span>dynamic</span><canvas class="dynamic-code" aria-hidden="true"></canvas>`;
  }
  const [fixed, moving] = place.querySelectorAll("canvas");
  const steps = codes.dynamic.shape[1];
  drawCells(fixed, codes.static, 1, hues[0], -1);
  drawCells(moving, codes.dynamic, steps, hues[1], frame);
}

/** @param {HTMLCanvasElement} canvas @param {Floats} code @param {number} steps @param {string} hue @param {number} frame */
function drawCells(canvas, code, steps, hue, frame) {
  const size = code.data.length / steps;
  const cells = Math.min(size, CELLS);
  const strip = steps === 1;
  // Gaps of one cell in four between columns make steps countable.
  const column = 8;
  Object.assign(canvas, strip ? { width: cells, height: 1 } : { width: steps * column, height: cells });
  const context = context2d(canvas);
  const scale = Math.sqrt(code.data.reduce((sum, value) => sum + value * value, 0) / code.data.length) || 1;
  for (let step = 0; step < steps; step++) {
    for (let cell = 0; cell < cells; cell++) {
      const value = code.data[step * size + Math.floor((cell * size) / cells)];
      context.fillStyle = hue;
      context.globalAlpha = (0.52 + 0.48 * Math.tanh(value / scale)) * (strip || step === frame ? 1 : 0.5);
      if (strip) context.fillRect(cell, 0, 1, 1);
      else context.fillRect(step * column, cell, column - 1, 1);
    }
  }
}
