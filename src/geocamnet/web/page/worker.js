// Inference, away from the page's own thread: a frame comes in, names, areas and a coloured map go out.

import { cellsCovered, placeMap, ranking, scaleMaps, scaledSize, strongestClass, verdictOf } from "./answer.js";
import { readCard, Told } from "./card.js";
import { startEngine } from "./engine.js";
import { Network } from "./network.js";
import { PLASMA } from "./plasma.js";
import { enhance, textureGuide } from "./refine.js";
import { distanceOf, resizeArea, resizeLinear } from "./texture.js";

const MOST_REFINED_PIXELS = 4e6; // texture is measured in JavaScript; beyond that it takes seconds
const MOST_SCALED_PIXELS = 25e6;

const wanted = new URL(self.location.href).searchParams.get("engine");
const starting = startEngine(wanted);
starting.catch(() => {}); // told to whoever asks
let network = null;
let triesGpu = false;
const canvas = new OffscreenCanvas(1, 1);
const pixels = canvas.getContext("2d", { willReadFrequently: true });

const answers = { engine: about, open: ({ content }) => open(content), look: ({ bitmap, options }) => look(bitmap, options) };
let work = Promise.resolve(); // one thing after the other: ONNX Runtime does not run twice at a time
self.addEventListener("message", ({ data }) => {
  work = work.then(() => answerTo(data));
});

async function answerTo(data) {
  try {
    const [answer, transfer] = await answers[data.kind](data);
    self.postMessage({ id: data.id, answer }, transfer);
  } catch (error) {
    data.bitmap?.close();
    const told = error instanceof Told ? error : new Told("failed", { what: String(error?.message ?? error) });
    self.postMessage({ id: data.id, told: { key: told.key, values: told.values } });
  }
}

/** Say which build of ONNX Runtime is used, and with how many threads. */
async function about() {
  const { build, threads } = await starting;
  return [{ build, threads }, []];
}

/** Open a model file, given whole; the one before is kept until this one is known to be right. */
async function open(content) {
  const bytes = new Uint8Array(content);
  const card = readCard(bytes);
  const { ort, build } = await starting;
  const opened = await Network.open(ort, card, bytes);
  await network?.close();
  network = opened;
  triesGpu = build === "gpu";
  return [{ card }, []];
}

/**
 * Look at a photograph.
 * @param {ImageBitmap} bitmap taken over, and given back with the answer
 * @param {object} options shown (position of a class, null: the most probable), view (heat, classes; compare: the
 *   plain and the refined heat), refine,
 *   side (long side of the map that is returned), umPerPx (of the bitmap; it comes back with the answer),
 *   raw (return the class maps too)
 */
async function look(bitmap, options) {
  if (network === null) throw new Told("no_model");
  const { card } = network;
  const { width, height } = bitmap;
  const started = performance.now();
  const rgb = rgbOf(bitmap);
  const seen = scaledToCard(card, rgb, height, width, options.umPerPx);
  const { probabilities, maps } = await network.run(seen.rgb, seen.height, seen.width);
  const ofNetwork = performance.now() - started;
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
    size: { width, height }, umPerPx: options.umPerPx ?? null,
    bitmap, milliseconds: { network: ofNetwork, all: performance.now() - started }, runsOn: network.runsOn,
  };
  if (triesGpu) tryGpuNext(seen);
  return [answer, [bitmap, map.rgba.buffer, ...(refinedMap ? [refinedMap.rgba.buffer] : [])]];
}

/** Once the first photograph is answered, see whether the GPU is faster: that compiles shaders, which takes a while. */
function tryGpuNext({ rgb, height, width }) {
  triesGpu = false;
  const one = network;
  work = work.then(() => one === network && one.tryGpu(rgb, height, width, wanted === "webgpu"));
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
