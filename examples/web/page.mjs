// @ts-check
/** The page: two sequences, their codes swapped, blended and drawn anew, all in this browser. */

import { readFile, readNpy } from "./files.mjs";
import { KINDS, Runtime, SdkitError, slice } from "./sdkit.mjs";
import { colour, drawCodes, drawer, hiddenFeatures, rangesOf } from "./view.mjs";

/** @typedef {import("./sdkit.mjs").Sequences} Sequences */
/** @typedef {import("./sdkit.mjs").Floats} Floats */
/** @typedef {import("./sdkit.mjs").Codes} Codes */
/** @typedef {import("./view.mjs").Clip} Clip */
/** @typedef {"a" | "b"} Side */
/** @typedef {{ x: Sequences, name: string }} Choice A sequence that can be chosen, (1, T, *element). */
/** @typedef {{ clip: Clip, codes?: Codes, hues?: [string, string] }} Shown What a canvas plays. */

const ORT = "./onnxruntime-web/ort.wasm.bundle.min.mjs";
const MOST_OPENED = 16;
/** Verbs that the page offers where the model has them. */
const OFFERED = ["encode", "decode", "reconstruct", "swap", "generate", "resample_static", "resample_dynamic"];

/** @template {HTMLElement} E @param {string} id @returns {E} */
const at = (id) => /** @type {E} */ (document.getElementById(id));
/** @param {string} id @returns {HTMLInputElement} */
const input = (id) => at(id);
/** @param {Side} side @returns {HTMLElement} */
const card = (side) => /** @type {HTMLElement} */ (document.querySelector(`[data-side=${side}]`));

/** @type {Choice[]} */
const choices = [];
/** @type {Record<Side, { x: Sequences, codes: Codes }>} */
const chosen = /** @type {any} */ ({});
/** @type {Map<string, Shown>} */
const shown = new Map();
/** @type {Runtime} */
let rt;
/**
 * A second sequence is for swaps alone.
 * @type {Side[]}
 */
let sides = ["a", "b"];
/** @type {import("./view.mjs").Draw} */
let draw;
/** @type {import("./view.mjs").Ranges} */
let ranges;
let hues = { a: "", b: "", new: "" };
let [frame, playing, working] = [0, true, 0];

// -------------------------------------------------------------------------------------------------------- start-up

/** Load the model and the sample sequences, then show the page. */
async function start() {
  document.documentElement.dataset.state = "loading";
  const ort = await import(ORT).catch((reason) => {
    throw new SdkitError(
      `${ORT} cannot be loaded (${reason.message}); 'sdkit export --web DIR' writes it beside this page`,
    );
  });
  ort.env.wasm.proxy = true;
  ort.env.wasm.numThreads = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  rt = await Runtime.open("bundle/", { ort, progress: tellProgress });
  at("status").textContent = "Looking at the first sequences.";
  document.body.classList.add(KINDS[rt.element.kind].pictorial ? "image" : "chart");
  offer();
  readColours();
  draw = drawer(rt.element, () => ranges);
  describe(await loadSamples());
  at("main").hidden = false;
  for (const side of sides) listen(side);
  listenToControls();
  setRanges(choices.map((one) => one.x));
  await begin();
  at("loading").hidden = true;
  at("transport").hidden = false;
  setPlaying(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  tick();
}

/** Choose the first sequences, or draw one where the model takes none. */
async function begin() {
  if (!can("encode")) return busy(refreshDrawn);
  fillPickers();
  at("none").hidden = choices.length > 0;
  if (choices.length === 0) return busy(async () => undefined);
  await Promise.all(sides.map((side, i) => choose(side, choices[Math.min(i, choices.length - 1)])));
}

/** @param {string} verb */
function can(verb) {
  return rt.manifest.capabilities.includes(verb);
}

/** Show what the model can do, hide the rest, and say why. */
function offer() {
  const fits = (/** @type {string} */ needs) => needs.split("|").some((all) => all.split(" ").every(can));
  for (const place of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-needs]"))) {
    place.hidden = !fits(place.dataset.needs ?? "");
  }
  for (const place of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-lacks]"))) {
    place.hidden = fits(place.dataset.lacks ?? "");
  }
  if (!can("swap")) sides = ["a"];
  // A model that encodes, but neither swaps nor draws static codes, has none.
  const hasStatic = can("swap") || can("resample_static") || !can("encode");
  document.body.classList.toggle("no-static", !hasStatic);
  const { method, variant } = rt.manifest;
  at("model").textContent = `Method ${method}${variant ? `, variant ${variant}` : ""}.`;
  const reasons = refusalsByReason().filter(([, verbs]) => verbs.some((verb) => OFFERED.includes(verb)));
  at("cannot").hidden = reasons.length === 0;
  for (const [reason, verbs] of reasons) {
    const offered = verbs.filter((verb) => OFFERED.includes(verb)).join(", ");
    at("cannot").append(
      Object.assign(document.createElement("li"), { textContent: `This model cannot ${offered}: ${reason}.` }),
    );
  }
}

/**
 * Return the verbs that the model has not, by what keeps it from them.
 * @returns {[string, string[]][]}
 */
function refusalsByReason() {
  /** @type {Map<string, string[]>} */
  const verbs = new Map();
  for (const [verb, reason] of Object.entries(rt.manifest.refusals)) {
    verbs.set(reason, [...(verbs.get(reason) ?? []), verb]);
  }
  return [...verbs];
}

/** @param {number} done @param {number} total */
function tellProgress(done, total) {
  at("progress").setAttribute("value", String(done / total));
  const megabytes = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(1);
  at("status").textContent = `Reading and checking the model: ${megabytes(done)} of ${megabytes(total)} MB`;
}

/**
 * Fill `choices` with the sequences that lie beside the page, or with two drawn ones where there are none. A model that
 * does not encode takes none.
 * @returns {Promise<{ name?: string, source?: string, licence?: string, rate?: number }>} What is known of them.
 */
async function loadSamples() {
  if (!can("encode")) return {};
  const response = await fetch("samples/samples.json");
  if (!response.ok) {
    if (!can("generate")) return {};
    const drawn = rt.cast(await rt.generate(2, drawable(rt.manifest.steps), { seed: 0 }));
    for (let i = 0; i < 2; i++) choices.push({ x: slice(drawn, i, i + 1), name: `drawn with seed 0, number ${i}` });
    return {};
  }
  const about = await response.json();
  for (const { file, name } of about.sequences) {
    const bytes = await (await fetch(`samples/${file}`)).arrayBuffer();
    choices.push({ x: readNpy(new Uint8Array(bytes), rt.element, file), name });
  }
  if (about.rate) setSpeed(about.rate);
  return about;
}

/**
 * Return T, or less where the prior draws no more.
 * @param {number} steps T.
 */
function drawable(steps) {
  return Math.min(steps, rt.manifest.max_steps ?? steps);
}

/** @param {Sequences[]} arrays What is shown. */
function setRanges(arrays) {
  ranges = rangesOf(rt.element, arrays);
}

/** @param {number} rate Elements a second. */
function setSpeed(rate) {
  const select = /** @type {HTMLSelectElement} */ (at("speed"));
  if (![...select.options].some((option) => Number(option.value) === rate)) {
    select.append(new Option(`${rate} / s`, String(rate)));
  }
  select.value = String(rate);
}

function readColours() {
  hues = { a: colour("--a"), b: colour("--b"), new: colour("--new") };
}

/**
 * Tell what the model is and where it comes from.
 * @param {{ name?: string, source?: string, licence?: string }} samples
 */
function describe(samples) {
  const { element, widths, manifest } = rt;
  const p = manifest.provenance;
  const unseen = hiddenFeatures(element);
  const moving = `${widths.dynamic_size} a step move`;
  const noStatic = document.body.classList.contains("no-static");
  const facts = {
    method: `${manifest.method}${manifest.variant ? `, variant ${manifest.variant}` : ""}`,
    cannot: refusalsByReason()
      .map(([reason, verbs]) => `${verbs.join(", ")}: ${reason}`)
      .join("; "),
    "learned from": `${p.data || "unknown data"}, ${manifest.steps} elements a sequence, ${p.epochs} epochs`,
    "source of the data": p.data_source || "not stated",
    "licence of the data": p.data_licence || "not stated",
    "sequences shown":
      samples.name &&
      `${samples.name}: ${samples.source || "source not stated"} (${samples.licence || "licence not stated"})`,
    element: `${element.kind} (${element.shape.join(", ")}) ${element.dtype}${unseen ? `; ${unseen} more features are not drawn` : ""}`,
    codes: noStatic ? `${widths.dynamic_size} numbers a step` : `${widths.static_size} numbers stay, ${moving}`,
    "longest sequence drawn": manifest.max_steps && `${manifest.max_steps} elements`,
    "weights, SHA-256": p.weights_sha256,
    "exported by": `sdkit ${p.sdkit_version}, ${p.created}`,
  };
  for (const [name, value] of Object.entries(facts)) {
    if (!value) continue;
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = String(value);
    at("card").append(term, text);
  }
}

// -------------------------------------------------------------------------------------------------------- choosing

/** Offer every choice to both sides. */
function fillPickers() {
  for (const side of sides) {
    const picker = /** @type {HTMLElement} */ (card(side).querySelector(".picker"));
    for (const choice of choices.slice(picker.querySelectorAll("label").length)) picker.append(thumbnail(side, choice));
    for (const [i, canvas] of picker.querySelectorAll("canvas").entries()) {
      draw(canvas, { x: choices[i].x, hue: hues[side] }, 0);
    }
  }
}

/** @param {Side} side @param {Choice} choice */
function thumbnail(side, choice) {
  const label = document.createElement("label");
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: side, ariaLabel: choice.name });
  radio.addEventListener("change", () => attempt(() => choose(side, choice)));
  label.title = choice.name;
  label.append(radio, document.createElement("canvas"));
  return label;
}

/** @param {Side} side @param {Choice} choice */
async function choose(side, choice) {
  const radios = card(side).querySelectorAll(".picker input");
  /** @type {HTMLInputElement} */ (radios[choices.indexOf(choice)]).checked = true;
  await busy(async () => {
    const codes = await rt.encode(choice.x);
    /** @type {HTMLElement} */ (card(side).querySelector("h3")).textContent = `${side.toUpperCase()}: ${choice.name}`;
    await showChosen(side, choice.x, codes);
    chosen[side] = { x: choice.x, codes };
    if (!sides.every((one) => chosen[one])) return;
    setRanges(sides.flatMap((one) => [chosen[one].x, clipOf(`codes-${one}`).x]));
    await refreshAll();
  });
}

/**
 * Show a sequence, its codes, and what is decoded from them.
 * @param {Side} side
 * @param {Sequences} x
 * @param {Codes} codes
 */
async function showChosen(side, x, codes) {
  const clip = { x, hue: hues[side] };
  show(`source-${side}`, { clip });
  const colours = /** @type {[string, string]} */ ([hues[side], hues[side]]);
  if (can("decode")) await decodeInto(`reconstruction-${side}`, codes, colours, `codes-${side}`);
  else show(`codes-${side}`, { clip, codes, hues: colours });
}

/** Show what is made of the chosen sequences. */
async function refreshAll() {
  const swaps = can("swap") && can("decode") ? [refreshSwap(), refreshBlend()] : [];
  await Promise.all([...swaps, refreshDrawn()]);
}

/** @param {Side} side */
function listen(side) {
  const place = card(side);
  const file = /** @type {HTMLInputElement} */ (place.querySelector("input[type=file]"));
  const open = (/** @type {FileList | null | undefined} */ files) =>
    attempt(async () => {
      for (const one of files ?? []) await openFile(side, one);
    });
  file.addEventListener("change", () => open(file.files).then(() => (file.value = "")));
  place.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("over");
  });
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    open(event.dataTransfer?.files);
  });
}

/** @param {Side} side @param {File} file */
async function openFile(side, file) {
  const x = await readFile(file, rt.element);
  const first = choices.length;
  const count = Math.min(x.shape[0], MOST_OPENED);
  for (let i = 0; i < count; i++)
    choices.push({ x: slice(x, i, i + 1), name: count > 1 ? `${file.name}, ${i}` : file.name });
  fillPickers();
  await choose(side, choices[first]);
}

// --------------------------------------------------------------------------------------------------------- results

const refreshSwap = latest(async () => {
  const { a, b } = chosen;
  await decodeInto(
    "a-with-b",
    { static: a.codes.static, dynamic: b.codes.dynamic },
    [hues.a, hues.b],
    "codes-a-with-b",
  );
  await decodeInto(
    "b-with-a",
    { static: b.codes.static, dynamic: a.codes.dynamic },
    [hues.b, hues.a],
    "codes-b-with-a",
  );
});

const refreshBlend = latest(async () => {
  const share = Number(input("mix").value);
  const checked = /** @type {HTMLInputElement} */ (document.querySelector("[name=motion]:checked"));
  const side = /** @type {Side} */ (checked.value);
  const [a, b] = sides.map((one) => chosen[one].codes.static);
  const mixed = { data: a.data.map((value, i) => (1 - share) * value + share * b.data[i]), shape: a.shape };
  const hue = `color-mix(in oklab, ${hues.a}, ${hues.b} ${Math.round(100 * share)}%)`;
  at("mix-text").textContent = share.toFixed(2);
  document.documentElement.style.setProperty("--mix", String(share));
  await decodeInto(
    "blended",
    { static: mixed, dynamic: chosen[side].codes.dynamic },
    [hue, hues[side]],
    "codes-blended",
  );
});

const refreshDrawn = latest(async () => {
  const [seedStatic, seedDynamic] = ["seed-static", "seed-dynamic"].map((id) => Number(input(id).value));
  at("python-static").textContent = String(seedStatic);
  at("python-dynamic").textContent = String(seedDynamic);
  at("python-both").textContent = String(seedDynamic);
  if (!can("decode")) return;
  const steps = chosen.a?.x.shape[1] ?? rt.manifest.steps;
  const most = drawable(steps);
  at("python-steps").textContent = String(most);
  showLimit(steps, most);
  const { codes } = chosen.a ?? {};
  if (codes && can("resample_static")) {
    const fixed = await rt.drawStatic(1, { seed: seedStatic });
    await decodeInto("new-static", { static: fixed, dynamic: codes.dynamic }, [hues.new, hues.a]);
  }
  if (codes && can("resample_dynamic") && steps === most) {
    const dynamic = await rt.drawDynamic(1, steps, { seed: seedDynamic });
    await decodeInto("new-dynamic", { static: codes.static, dynamic }, [hues.a, hues.new]);
  }
  if (can("generate")) {
    const fixed = await rt.drawStatic(1, { seed: seedStatic });
    const dynamic = await rt.drawDynamic(1, most, { seed: seedDynamic });
    await decodeInto("new-both", { static: fixed, dynamic }, [hues.new, hues.new]);
    if (codes) return;
    setRanges([clipOf("new-both").x]);
    showFrame(frame);
  }
});

/**
 * Say that the chosen sequence is longer than what the prior draws, where it is, and leave out what cannot be drawn.
 * @param {number} steps T of the sequence.
 * @param {number} most T that is drawn.
 */
function showLimit(steps, most) {
  at("limit").hidden = steps === most;
  const effects = [
    can("resample_dynamic") && "its motion is not drawn anew",
    can("generate") && `new sequences have ${most}`,
  ].filter(Boolean);
  at("limit").textContent =
    `The prior of this model draws at most ${most} steps, and A has ${steps}: ${effects.join(", and ")}.`;
  if (!can("resample_dynamic")) return;
  for (const id of ["new-dynamic", "python-dynamic"]) {
    /** @type {HTMLElement} */ (at(id).parentElement).hidden = steps > most;
  }
  if (steps > most) shown.delete("new-dynamic");
}

/**
 * Decode codes and play the result on a canvas.
 * @param {string} id Of the canvas.
 * @param {Codes} codes
 * @param {[string, string]} colours Of the static and of the dynamic code; a chart is drawn in the first.
 * @param {string} [place] Where the codes are drawn.
 */
async function decodeInto(id, codes, colours, place) {
  const { x, x_std: std } = await rt.decodeOutputs(codes);
  show(id, { clip: { x: rt.cast(x), std, hue: colours[0] } });
  if (place) show(place, { clip: clipOf(id), codes, hues: colours });
}

/** @param {string} id */
function clipOf(id) {
  return /** @type {Shown} */ (shown.get(id)).clip;
}

function listenToControls() {
  input("mix").addEventListener("input", () => attempt(() => busy(refreshBlend)));
  for (const radio of document.querySelectorAll("[name=motion]")) {
    radio.addEventListener("change", () => attempt(() => busy(refreshBlend)));
  }
  for (const what of ["static", "dynamic"]) {
    const seed = input(`seed-${what}`);
    const refresh = () => seed.checkValidity() && seed.value !== "" && attempt(() => busy(refreshDrawn));
    seed.addEventListener("input", refresh);
    at(`draw-${what}`).addEventListener("click", () => {
      seed.value = String(Number(seed.value) + 1);
      refresh();
    });
  }
  at("play").addEventListener("click", () => setPlaying(!playing));
  input("frame").addEventListener("input", () => {
    setPlaying(false);
    showFrame(Number(input("frame").value));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => attempt(recolour));
  addEventListener("resize", () => showFrame(frame));
  // A file that misses its card must not replace the page.
  for (const event of ["dragover", "drop"]) addEventListener(event, (drag) => drag.preventDefault());
}

/** Draw everything in the colours of the other scheme. */
async function recolour() {
  readColours();
  fillPickers();
  await busy(async () => {
    if (!sides.every((side) => chosen[side])) return can("encode") ? undefined : refreshDrawn();
    for (const side of sides) await showChosen(side, chosen[side].x, chosen[side].codes);
    await refreshAll();
  });
}

// --------------------------------------------------------------------------------------------------------- playing

/** @param {string} id @param {Shown} what */
function show(id, what) {
  shown.set(id, what);
  drawOne(id, what);
}

/** @param {string} id @param {Shown} what */
function drawOne(id, { clip, codes, hues: colours }) {
  const step = frame % clip.x.shape[1];
  if (codes && colours) drawCodes(at(id), codes, colours, step);
  else draw(at(id), clip, step);
}

/** @param {number} next */
function showFrame(next) {
  const longest = Math.max(1, ...Array.from(shown.values(), ({ clip }) => clip.x.shape[1]));
  frame = next % longest;
  Object.assign(input("frame"), { max: longest - 1, value: frame });
  at("frame-text").textContent = `${frame + 1} / ${longest}`;
  for (const [id, what] of shown) drawOne(id, what);
}

/** @param {boolean} on */
function setPlaying(on) {
  playing = on;
  at("play").classList.toggle("paused", !on);
  at("play").ariaLabel = on ? "Pause" : "Play";
}

function tick() {
  showFrame(playing ? frame + 1 : frame);
  setTimeout(tick, 1000 / Number(input("speed").value));
}

// ------------------------------------------------------------------------------------------------------------ work

/**
 * Return a function that runs `work`; calls made meanwhile become one more run, with what is wanted by then.
 * @param {() => Promise<void>} work
 * @returns {() => Promise<void>}
 */
function latest(work) {
  /** @type {Promise<void> | undefined} */
  let running;
  let again = false;
  return () => {
    again = true;
    running ??= (async () => {
      try {
        while (again) {
          again = false;
          await work();
        }
      } finally {
        running = undefined;
      }
    })();
    return running;
  };
}

/** @param {() => Promise<void>} work */
async function busy(work) {
  document.documentElement.dataset.state = "busy";
  working++;
  try {
    await work();
  } finally {
    if (--working === 0) document.documentElement.dataset.state = "ready";
  }
}

/**
 * Do something; say what went wrong.
 * @param {() => Promise<unknown>} work
 */
async function attempt(work) {
  const place = at("error");
  try {
    place.hidden = true;
    await work();
  } catch (error) {
    place.textContent = error instanceof Error ? error.message : String(error);
    place.hidden = false;
    place.scrollIntoView({ block: "nearest" });
    if (!(error instanceof SdkitError)) throw error;
  }
}

await attempt(start);
if (document.documentElement.dataset.state === "loading") {
  at("loading").hidden = true;
  document.documentElement.dataset.state = "failed";
}
