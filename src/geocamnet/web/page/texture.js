// Texture of a photograph: five GLCM features around every pixel, as `runtime/texture.py` defines them (symmetric pairs
// one pixel apart, mean of 0, 45, 90 and 135 degrees, windows clipped at the edge), and the statistics made of them.

import { scaledSize } from "./answer.js";

const OFFSETS = [[0, 1], [1, 1], [1, 0], [1, -1]]; // [down, across] of 0, 45, 90, 135 degrees

/** RGB bytes as grey bytes, by OpenCV's luma weights in its whole numbers. */
export function toGrey(rgb) {
  const grey = new Uint8Array(rgb.length / 3);
  for (let i = 0, at = 0; i < grey.length; i++, at += 3) {
    grey[i] = (rgb[at] * 9798 + rgb[at + 1] * 19235 + rgb[at + 2] * 3735 + 16384) >> 15;
  }
  return grey;
}

/** Grey bytes as levels: floor(levels (g - low) / (high - low)), held to 0 .. levels - 1. */
export function quantise(grey, { levels, low, high }) {
  const table = Uint8Array.from({ length: 256 }, (_, g) =>
    Math.min(levels - 1, Math.max(0, Math.floor(((g - low) * levels) / (high - low)))),
  );
  return grey.map((g) => table[g]);
}

/**
 * GLCM maps of a photograph.
 * @param {Uint8Array} level (H, W), 0 to levels - 1
 * @param {string[]} wanted of contrast, homogeneity, mean, variance, correlation
 * @returns {Object<string, Float32Array>} a map (H, W) each
 */
export function textureMaps(level, height, width, { window_px: window, levels }, wanted) {
  const maps = Object.fromEntries(wanted.map((name) => [name, new Float32Array(height * width)]));
  const closeness = Float64Array.from({ length: levels }, (_, d) => 1 / (1 + d * d));
  const radius = (window - 1) / 2;
  const moments = "variance" in maps || "correlation" in maps;
  const needs = { close: "homogeneity" in maps, sum: "mean" in maps || moments, product: moments };
  let pairs = 0;
  for (const [down, across] of OFFSETS) {
    const h = height - down;
    const w = width - Math.abs(across);
    if (h < 1 || w < 1) continue;
    pairs++;
    // Sums over everything above and to the left. Those of whole numbers may wrap around at 32 bits: what a window
    // holds is the difference of four, and fits.
    const size = (h + 1) * (w + 1);
    const square = new Int32Array(size);
    const close = needs.close ? new Float64Array(size) : null;
    const sum = needs.sum ? new Int32Array(size) : null;
    const product = needs.product ? new Int32Array(size) : null;
    const left = Math.max(0, -across);
    const right = Math.max(0, across);
    for (let y = 0; y < h; y++) {
      let squares = 0;
      let closes = 0;
      let sums = 0;
      let products = 0;
      for (let x = 0; x < w; x++) {
        const a = level[y * width + x + left];
        const b = level[(y + down) * width + x + right];
        const d = a > b ? a - b : b - a;
        const at = (y + 1) * (w + 1) + x + 1;
        const above = at - w - 1;
        square[at] = square[above] + (squares += d * d);
        if (close) close[at] = close[above] + (closes += closeness[d]);
        if (sum) sum[at] = sum[above] + (sums += a + b);
        if (product) product[at] = product[above] + (products += a * b);
      }
    }
    const { contrast: contrasts, homogeneity, mean: means, variance: variances, correlation: apart } = maps;
    for (let y = 0; y < height; y++) {
      const top = Math.max(0, y - radius);
      const bottom = Math.min(height, y + radius + 1) - down;
      for (let x = 0; x < width; x++) {
        const first = Math.max(0, x - radius);
        const last = Math.min(width, x + radius + 1) - Math.abs(across);
        if (bottom <= top || last <= first) continue;
        const n = (bottom - top) * (last - first);
        const i0 = top * (w + 1) + first;
        const i1 = top * (w + 1) + last;
        const i2 = bottom * (w + 1) + first;
        const i3 = bottom * (w + 1) + last;
        const at = y * width + x;
        const contrast = ((square[i3] - square[i2] - square[i1] + square[i0]) | 0) / n;
        if (contrasts) contrasts[at] += contrast;
        if (close) homogeneity[at] += (close[i3] - close[i2] - close[i1] + close[i0]) / n;
        if (!sum) continue;
        const mean = ((sum[i3] - sum[i2] - sum[i1] + sum[i0]) | 0) / (2 * n);
        if (means) means[at] += mean;
        if (!product) continue;
        const covariance = ((product[i3] - product[i2] - product[i1] + product[i0]) | 0) / n - mean * mean;
        const variance = Math.max(0, covariance + contrast / 2);
        if (variances) variances[at] += variance;
        // 1 - correlation is summed, which is 0 where nothing varies.
        if (apart && variance > 1e-9) apart[at] += contrast / (2 * variance);
      }
    }
  }
  for (const [name, values] of Object.entries(maps)) {
    for (let i = 0; i < values.length; i++) {
      const mean = pairs === 0 ? 0 : values[i] / OFFSETS.length;
      values[i] = name === "correlation" ? 1 - mean : mean;
    }
  }
  return maps;
}

/**
 * How far a photograph lies from the training photographs (`runtime/familiar.py`); 0 where the card does not say.
 * @param {Uint8Array} rgb (H, W, 3)
 */
export function distanceOf(familiar, rgb, height, width) {
  if (familiar === null) return 0;
  const away = statistics(rgb, height, width, familiar.long_side_px).map((one, i) => one - familiar.mean[i]);
  let square = 0;
  for (let i = 0; i < away.length; i++) {
    for (let j = 0; j < away.length; j++) square += away[i] * familiar.precision[i][j] * away[j];
  }
  return Math.sqrt(Math.max(0, square));
}

/** The 13 statistics of the card's `familiar`. */
export function statistics(rgb, height, width, longSide) {
  const [h, w] = scaledSize(height, width, longSide);
  const shrinks = Math.max(height, width) > longSide;
  const resized = shrinks ? resizeArea(rgb, height, width, h, w, 3) : resizeLinear(rgb, height, width, h, w, 3);
  const small = new Uint8Array(resized.length);
  for (let i = 0; i < small.length; i++) small[i] = Math.round(resized[i]);
  const texture = { window_px: 15, levels: 16, low: 0, high: 255 };
  const names = ["contrast", "homogeneity", "mean", "variance", "correlation"];
  const maps = textureMaps(quantise(toGrey(small), texture), h, w, texture, names);
  const found = [];
  for (const name of names) {
    const values = ["contrast", "variance"].includes(name) ? maps[name].map(Math.log1p) : maps[name];
    const scale = name === "mean" ? 15 : 1;
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[i];
    const mean = sum / values.length;
    let squares = 0;
    for (let i = 0; i < values.length; i++) squares += (values[i] - mean) * (values[i] - mean);
    found.push(mean / scale, Math.sqrt(squares / values.length) / scale);
  }
  let [red, blue, spread] = [0, 0, 0];
  for (let at = 0; at < small.length; at += 3) {
    const [r, g, b] = [small[at], small[at + 1], small[at + 2]];
    red += r - g;
    blue += b - g;
    spread += Math.max(r, g, b) - Math.min(r, g, b);
  }
  return [...found, ...[red, blue, spread].map((one) => one / (h * w) / 255)];
}

/** Values (H, W, K) at another size, mean over areas: OpenCV's INTER_AREA where it shrinks. */
export function resizeArea(values, height, width, h, w, channels) {
  return separable(values, height, width, h, w, channels, (size, wanted, add) => {
    const scale = size / wanted;
    for (let i = 0; i < wanted; i++) {
      const [from, to] = [i * scale, Math.min(size, (i + 1) * scale)];
      for (let at = Math.floor(from); at < Math.min(size, Math.ceil(to - 1e-9)); at++) {
        add(i, at, (Math.min(at + 1, to) - Math.max(at, from)) / (to - from));
      }
    }
  });
}

/** Values (H, W, K) at another size, bilinear between the middles of pixels, the edge repeated: INTER_LINEAR. */
export function resizeLinear(values, height, width, h, w, channels) {
  return separable(values, height, width, h, w, channels, (size, wanted, add) => {
    for (let i = 0; i < wanted; i++) {
      const place = Math.min(size - 1, Math.max(0, ((i + 0.5) * size) / wanted - 0.5));
      const first = Math.floor(place);
      add(i, first, 1 - (place - first));
      if (place > first) add(i, first + 1, place - first);
    }
  });
}

/** Resize down and across one after the other; `taps` says which pixels make one, and with which share. */
function separable(values, height, width, h, w, channels, taps) {
  const row = width * channels;
  const low = new Float32Array(h * row); // down first: whole rows are added up, which is quick
  taps(height, h, (to, from, share) => {
    const [a, b] = [to * row, from * row];
    for (let i = 0; i < row; i++) low[a + i] += share * values[b + i];
  });
  const found = new Float32Array(h * w * channels);
  taps(width, w, (to, from, share) => {
    for (let k = 0; k < channels; k++) {
      const [a, b] = [to * channels + k, from * channels + k];
      for (let y = 0; y < h; y++) found[y * w * channels + a] += share * low[y * row + b];
    }
  });
  return found;
}
