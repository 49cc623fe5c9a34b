// The heatmap refined by texture: a guided filter whose guide are three GLCM maps, as `runtime/heatmap.enhance` has it
// (He, Sun and Tang 2013, DOI 10.1109/TPAMI.2012.213), on a grid of a third of the texture window.

import { quantise, resizeArea, resizeLinear, textureMaps, toGrey } from "./texture.js";

const REGULARISATION = 1e-3;
const K = 3;

/** The texture of every pixel, (H, W, 3) in [0, 1]. */
export function textureGuide(rgb, height, width, texture) {
  const level = quantise(toGrey(rgb), texture);
  const maps = textureMaps(level, height, width, texture, ["contrast", "homogeneity", "variance"]);
  const top = (texture.levels - 1) ** 2;
  const guide = new Float32Array(height * width * K);
  for (let i = 0; i < height * width; i++) {
    guide[i * K] = Math.log1p(maps.contrast[i]) / Math.log1p(top);
    guide[i * K + 1] = maps.homogeneity[i];
    guide[i * K + 2] = Math.log1p(maps.variance[i]) / Math.log1p(top / 4);
  }
  return guide;
}

/**
 * Refine a heatmap (H, W) in [0, 1].
 * @param {Float32Array} guide of `textureGuide`
 */
export function enhance(heat, guide, height, width, windowPx) {
  const radius = Math.max(windowPx, halfToEven(Math.max(height, width) / 8));
  const step = Math.max(1, Math.floor(Math.min(windowPx, radius) / 3));
  const h = Math.max(1, halfToEven(height / step));
  const w = Math.max(1, halfToEven(width / step));
  const size = h * w;
  const side = Math.max(1, halfToEven(radius / step));
  const mean = (values) => blur(values, h, w, side);
  const small = resizeArea(heat, height, width, h, w, 1);
  const smallGuide = resizeArea(guide, height, width, h, w, K);
  const floor = heat.reduce((least, one) => Math.min(least, one), Infinity);
  const p = small.map((one) => one - floor);
  const centre = [0, 1, 2].map((k) => {
    let sum = 0;
    for (let i = 0; i < size; i++) sum += smallGuide[i * K + k];
    return sum / size;
  });
  const g = centre.map((middle, k) => Float32Array.from({ length: size }, (_, i) => smallGuide[i * K + k] - middle));
  const meanG = g.map(mean);
  const meanP = mean(p);
  const product = (a, b, meanA, meanB) => {
    const found = mean(a.map((one, i) => one * b[i]));
    return found.map((one, i) => one - meanA[i] * meanB[i]);
  };
  const sigma = g.map((one, i) => g.map((other, j) => (j < i ? null : product(one, other, meanG[i], meanG[j]))));
  const cov = g.map((one, i) => product(one, p, meanG[i], meanP));
  const slopes = g.map(() => new Float32Array(size));
  const offset = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const a = sigma.map((row, r) => row.map((_, c) => sigma[Math.min(r, c)][Math.max(r, c)][i]));
    for (let k = 0; k < K; k++) a[k][k] += REGULARISATION;
    const x = solved(a, cov.map((one) => one[i]));
    offset[i] = meanP[i] + floor;
    for (let k = 0; k < K; k++) {
      slopes[k][i] = x[k];
      offset[i] -= x[k] * (meanG[k][i] + centre[k]);
    }
  }
  const refined = resizeLinear(mean(offset), h, w, height, width, 1);
  slopes.forEach((one, k) => {
    const slope = resizeLinear(mean(one), h, w, height, width, 1);
    for (let i = 0; i < refined.length; i++) refined[i] += slope[i] * guide[i * K + k];
  });
  return refined.map((one) => Math.min(1, Math.max(0, one)));
}

/** x of A x = b for a symmetric, positive definite A, by Gauss's elimination. */
function solved(a, b) {
  for (let k = 0; k < K; k++) {
    for (let r = k + 1; r < K; r++) {
      const share = a[r][k] / a[k][k];
      for (let c = k; c < K; c++) a[r][c] -= share * a[k][c];
      b[r] -= share * b[k];
    }
  }
  for (let k = K - 1; k >= 0; k--) {
    for (let c = k + 1; c < K; c++) b[k] -= a[k][c] * b[c];
    b[k] /= a[k][k];
  }
  return b;
}

/** Mean over windows of 2 radius + 1, the picture mirrored at its edges, edge pixel and all. */
function blur(values, height, width, radius) {
  const along = (from, count, length, stride, jump, into) => {
    for (let line = 0; line < count; line++) {
      const value = (i) => from[line * jump + mirrored(i, length) * stride];
      let sum = 0;
      for (let i = -radius; i <= radius; i++) sum += value(i);
      for (let i = 0; i < length; i++) {
        into[line * jump + i * stride] = sum / (2 * radius + 1);
        sum += value(i + radius + 1) - value(i - radius);
      }
    }
    return into;
  };
  const rows = along(values, height, width, 1, width, new Float64Array(values.length));
  return Float32Array.from(along(rows, width, height, width, 1, new Float64Array(values.length)));
}

function mirrored(i, length) {
  while (i < 0 || i >= length) i = i < 0 ? -1 - i : 2 * length - 1 - i;
  return i;
}

/** Python's round: halves go to the even neighbour. */
function halfToEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}
