// Inference, away from the page's own thread: a frame comes in, names, areas and a coloured map go out.

import * as ort from "./engine/ort.wasm.bundle.min.mjs";
import { cellsCovered, placeMap, ranking, scaleMaps, scaledSize, strongestClass, verdictOf } from "./answer.js";
import { readCard, Told } from "./card.js";
import { PLASMA } from "./plasma.js";
import { enhance, textureGuide } from "./refine.js";
import { distanceOf, resizeArea, resizeLinear } from "./texture.js";

const MOST_THREADS = 4; // of a network this small, more only wait for each other
const cores = navigator.hardwareConcurrency || 1;
const MOST_REFINED_PIXELS = 4e6; // texture is measured in JavaScript; beyond that it takes seconds
const MOST_SCALED_PIXELS = 25e6;

let model = null; // {card, session}
const canvas = new OffscreenCanvas(1, 1);
const pixels = canvas.getContext("2d", { willReadFrequently: true });

ort.env.wasm.wasmPaths = { wasm: new URL("./engine/ort-wasm-simd-threaded.wasm", import.meta.url).href };
// Half of the cores: threads that wait spin, and the camera, texture and the page itself need the rest. On 2 cores a
// second thread made every frame slower (measured).
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, Math.ceil(cores / 2)) : 1;
ort.env.logLevel = "error";

self.addEventListener("message", async ({ data }) => {
  try {
    const [answer, transfer] = data.kind === "open" ? await open(data.content) : await look(data.bitmap, data.options);
    self.postMessage({ id: data.id, answer }, transfer);
  } catch (error) {
    data.bitmap?.close();
    const told = error instanceof Told ? error : new Told("failed", { what: String(error?.message ?? error) });
    self.postMessage({ id: data.id, told: { key: told.key, values: told.values } });
  }
});

/** Open a model file, given whole; the one before is kept until this one is known to be right. */
async function open(content) {
  const bytes = new Uint8Array(content);
  const card = readCard(bytes);
  let session;
  try {
    // Only what is fatal is logged: its errors are raised, and told in our words.
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 4 });
  } catch (error) {
    throw new Told("model_not_opened", { what: firstLine(error) });
  }
  const outputs = ["probabilities", "class_maps"];
  if (session.inputNames.join() !== "image" || !outputs.every((name) => session.outputNames.includes(name))) {
    await session.release();
    throw new Told("model_other_contract");
  }
  try {
    await run({ card, session }, new Uint8Array(3 * 64 * 64).fill(128), 64, 64); // also warms it up
  } catch (error) {
    await session.release();
    throw error instanceof Told ? error : new Told("model_other_contract");
  }
  await model?.session.release();
  model = { card, session };
  return [{ card, threads: ort.env.wasm.numThreads }, []];
}

/**
 * Look at a photograph.
 * @param {ImageBitmap} bitmap taken over, and given back with the answer
 * @param {object} options shown (position of a class, null: the most probable), view (heat, classes; compare: the
 *   plain and the refined heat), refine,
 *   side (long side of the map that is returned), raw (return the class maps too)
 */
async function look(bitmap, options) {
  if (model === null) throw new Told("no_model");
  const { card } = model;
  const { width, height } = bitmap;
  const started = performance.now();
  const rgb = rgbOf(bitmap);
  const seen = scaledToCard(card, rgb, height, width, options.umPerPx);
  const { probabilities, maps } = await run(model, seen.rgb, seen.height, seen.width);
  const network = performance.now() - started;
  const distance = distanceOf(card.familiar, seen.rgb, seen.height, seen.width);
  const verdict = verdictOf(card, probabilities, maps, distance);
  const order = ranking(probabilities);
  const shown = options.shown ?? order[0];
  const heat = scaleMaps(card, maps);
  const covered = cellsCovered(card, seen.height, seen.width);
  const [h, w] = scaledSize(height, width, Math.min(options.side ?? 480, Math.max(height, width)));
  const areas = strongestClass(card, heat, covered, ...scaledSize(height, width, Math.min(200, Math.max(h, w))));
  const canRefine = width * height <= MOST_REFINED_PIXELS;
  const refine = () => {
    const one = placeMap(card, heat, shown, covered, height, width);
    const finer = enhance(one, textureGuide(rgb, height, width, card.texture), height, width, card.texture.window_px);
    return { ...paintHeat(finer), height, width, heat: options.raw ? finer : undefined };
  };
  const plain = () => ({ ...paintHeat(placeMap(card, heat, shown, covered, h, w)), height: h, width: w });
  const refined = options.view === "heat" && Boolean(options.refine) && canRefine;
  let map;
  if (options.view === "classes") map = { ...paintClasses(card, strongestClass(card, heat, covered, h, w).classes), height: h, width: w };
  else map = refined ? refine() : plain();
  const refinedMap = options.view === "compare" && canRefine ? refine() : null;
  const answer = {
    probabilities: Array.from(probabilities), order, ...verdict, distance, shown, refined,
    percent: areas.percent,
    map, refinedMap,
    maps: options.raw ? maps : undefined,
    size: { width, height },
    bitmap, milliseconds: { network, all: performance.now() - started },
  };
  return [answer, [bitmap, map.rgba.buffer, ...(refinedMap ? [refinedMap.rgba.buffer] : [])]];
}

async function run({ card, session }, rgb, height, width) {
  const image = new ort.Tensor("uint8", rgb, [1, height, width, 3]);
  const found = await session.run({ image });
  const [given, cells] = [found.probabilities, found.class_maps];
  const count = card.classes.length;
  if (given.dims[1] !== count || cells.dims.length !== 4 || cells.dims[1] !== count) throw new Told("model_other_contract");
  const maps = { values: cells.data, height: cells.dims[2], width: cells.dims[3] };
  if (!given.data.every(isFinite) || !maps.values.every(isFinite)) throw new Told("model_not_finite");
  return { probabilities: given.data, maps };
}

/** The photograph at the card's micrometres a pixel, or as it is where either scale is unknown. */
function scaledToCard(card, rgb, height, width, umPerPx) {
  const factor = umPerPx && card.um_per_px ? umPerPx / card.um_per_px : 1;
  const [h, w] = [height, width].map((side) => Math.max(1, Math.round(side * factor)));
  if (h === height && w === width) return { rgb, height, width };
  if (h * w > MOST_SCALED_PIXELS) throw new Told("coarse");
  const resize = factor < 1 ? resizeArea : resizeLinear;
  return { rgb: Uint8Array.from(resize(rgb, height, width, h, w, 3), (one) => Math.round(one)), height: h, width: w };
}

/** The photograph as the model file wants it: RGB bytes, nothing else done to them. */
function rgbOf(bitmap) {
  const { width, height } = bitmap;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  pixels.fillStyle = "#fff"; // what is transparent lies on white, as in Python
  pixels.fillRect(0, 0, width, height);
  pixels.drawImage(bitmap, 0, 0);
  const rgba = pixels.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  return rgb;
}

/** Heat as colour, as opaque as it is hot: the page multiplies with the opacity that is set. */
function paintHeat(heat) {
  const rgba = new Uint8ClampedArray(heat.length * 4);
  for (let i = 0; i < heat.length; i++) {
    const step = Math.round(heat[i] * 255);
    rgba[4 * i] = PLASMA[3 * step];
    rgba[4 * i + 1] = PLASMA[3 * step + 1];
    rgba[4 * i + 2] = PLASMA[3 * step + 2];
    rgba[4 * i + 3] = step;
  }
  return { rgba };
}

function paintClasses(card, classes) {
  const rgba = new Uint8ClampedArray(classes.length * 4);
  for (let i = 0; i < classes.length; i++) {
    if (classes[i] >= 0) rgba.set([...card.classes[classes[i]].colour_rgb, 255], 4 * i);
  }
  return { rgba };
}

function firstLine(error) {
  return String(error?.message ?? error).split("\n")[0].slice(0, 200);
}
