// What a network's answer amounts to: names and refusals, heat, areas. The rules of docs/reference/model-file.md.

export const NOT_SURE = "not_sure";
export const NOTHING_HERE = "nothing_here";
export const UNFAMILIAR = "unfamiliar";
const MULTI_LABEL_FROM = 0.5;

/** Positions of the classes, the most probable first; the first of equals first. */
export function ranking(probabilities) {
  return Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
}

/**
 * What is said of a photograph: the classes named, or a refusal.
 * @returns {{named: number[], refusal: string | null, evidence: number}}
 */
export function verdictOf(card, probabilities, maps, distance) {
  const evidence = evidenceOf(card, maps);
  let refusal = null;
  if (card.familiar !== null && distance > card.familiar.limit) refusal = UNFAMILIAR;
  else if (card.evidence_below !== null && evidence < card.evidence_below) refusal = NOTHING_HERE;
  const order = ranking(probabilities);
  const least = (c) => card.label_thresholds[c] ?? MULTI_LABEL_FROM;
  let named = [];
  if (refusal === null) {
    named =
      card.labels === "single"
        ? order.slice(0, 1).filter((c) => probabilities[c] >= card.abstain_below)
        : order.filter((c) => probabilities[c] >= least(c));
    if (named.length === 0) refusal = NOT_SURE;
  }
  return { named, refusal, evidence };
}

/** E of the card's rules, from the logits mean(M_c) + b_c. */
function evidenceOf(card, maps) {
  const size = maps.height * maps.width;
  const logits = card.class_bias.map((bias, c) => {
    let sum = 0;
    for (let i = c * size; i < (c + 1) * size; i++) sum += maps.values[i];
    return sum / size + bias;
  });
  if (card.labels === "multi") {
    return logits.reduce((sum, z) => sum + Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))), 0);
  }
  const highest = Math.max(...logits);
  return highest + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - highest), 0));
}

/** Class maps as heat in [0, 1] on the cells, with the card's constants and nothing of the photograph's own. */
export function scaleMaps(card, maps) {
  const count = card.classes.length;
  const size = maps.height * maps.width;
  const heat = new Float32Array(maps.values.length);
  for (let i = 0; i < size; i++) {
    let mean = 0;
    if (card.labels === "single") {
      for (let c = 0; c < count; c++) mean += maps.values[c * size + i];
      mean /= count;
    }
    for (let c = 0; c < count; c++) {
      heat[c * size + i] = Math.min(1, Math.max(0, (maps.values[c * size + i] - mean) / card.map_scale[c]));
    }
  }
  return { values: heat, height: maps.height, width: maps.width };
}

/** [height, width] after scaling the long side, rounded in 32 bits as ONNX Runtime does. */
export function scaledSize(height, width, longSide) {
  const scale = Math.fround(Math.fround(longSide) / Math.fround(Math.max(height, width)));
  return [height, width].map((side) => Math.max(1, Math.floor(Math.fround(Math.fround(side) * scale) + 0.5)));
}

/** How many cells of a class map a photograph spans, [down, across], fractions included. */
export function cellsCovered(card, height, width) {
  const [h, w] = card.long_side_px === null ? [height, width] : scaledSize(height, width, card.long_side_px);
  return [h / card.map_stride, w / card.map_stride];
}

/**
 * Bring one class's cells to height x width, every cell where the network looked: cell i on pixel stride * i.
 * @param {{values: Float32Array, height: number, width: number}} maps of all classes
 * @param {number} c position of the class
 * @param {number[]} covered cells that the photograph spans, [down, across]
 */
export function placeMap(card, maps, c, covered, height, width) {
  const { height: rows, width: columns } = maps;
  const from = c * rows * columns;
  const down = looked(rows, height, covered[0], card.map_stride);
  const across = looked(columns, width, covered[1], card.map_stride);
  const wide = new Float32Array(rows * width);
  for (let r = 0; r < rows; r++) {
    for (let x = 0; x < width; x++) {
      const left = maps.values[from + r * columns + across.first[x]];
      const right = maps.values[from + r * columns + across.second[x]];
      wide[r * width + x] = left + across.share[x] * (right - left);
    }
  }
  const placed = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const above = down.first[y] * width;
    const below = down.second[y] * width;
    const share = down.share[y];
    for (let x = 0; x < width; x++) {
      placed[y * width + x] = wide[above + x] + share * (wide[below + x] - wide[above + x]);
    }
  }
  return placed;
}

function looked(cells, size, covered, stride) {
  const first = new Int32Array(size);
  const second = new Int32Array(size);
  const share = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const place = Math.min(cells - 1, Math.max(0, ((i + 0.5) * covered) / size - 0.5 / stride));
    first[i] = Math.floor(place);
    second[i] = Math.min(cells - 1, first[i] + 1);
    share[i] = place - first[i];
  }
  return { first, second, share };
}

/**
 * The class of every pixel: its hottest one where that heat reaches the threshold, -1 where none does.
 * @returns {{classes: Int16Array, percent: number[]}} and the area of each class
 */
export function strongestClass(card, heat, covered, height, width, threshold = 0.5) {
  const hottest = new Float32Array(height * width).fill(-1);
  const classes = new Int16Array(height * width).fill(-1);
  const size = heat.height * heat.width;
  for (let c = 0; c < card.classes.length; c++) {
    // Between cells heat is no higher than in them: a class that is cold in all of them wins no pixel.
    if (!heat.values.subarray(c * size, (c + 1) * size).some((one) => one >= threshold)) continue;
    const placed = placeMap(card, heat, c, covered, height, width);
    for (let i = 0; i < placed.length; i++) {
      if (placed[i] > hottest[i]) {
        hottest[i] = placed[i];
        classes[i] = c;
      }
    }
  }
  const counts = new Array(card.classes.length).fill(0);
  for (let i = 0; i < classes.length; i++) {
    if (hottest[i] >= threshold) counts[classes[i]]++;
    else classes[i] = -1;
  }
  return { classes, percent: counts.map((count) => (100 * count) / classes.length) };
}
