// Pictures that are kept: photograph and map in one, a scale bar, a strip of words below.

const LEAST_WIDTH_PX = 1000; // of a picture: small photographs are enlarged, so that words can be read
const MOST_PANES_PX = 3000; // of a picture of several panes

/** The longest of 1, 2 or 5 times a power of ten that is not above `longest`. */
export function roundLength(longest) {
  const power = 10 ** Math.floor(Math.log10(longest));
  return [5, 2, 1, 0.5].map((one) => one * power).find((one) => one <= longest * (1 + 1e-9));
}

export const lengthLabel = (um) => (um >= 1000 ? `${um / 1000} mm` : `${um} µm`);

const font = (size, weight = 400) => `${weight} ${size}px system-ui, sans-serif`;

/** Draw a photograph into a box [x, y, width, height], and over it a map {rgba, width, height} where there is one. */
export function drawPane(draw, bitmap, map, opacity, [x, y, width, height]) {
  draw.imageSmoothingQuality = "high";
  draw.drawImage(bitmap, x, y, width, height);
  if (!map) return;
  const layer = new OffscreenCanvas(map.width, map.height);
  layer.getContext("2d").putImageData(new ImageData(map.rgba, map.width, map.height), 0, 0);
  draw.globalAlpha = opacity;
  draw.drawImage(layer, x, y, width, height);
  draw.globalAlpha = 1;
}

/** Draw a scale bar into the lower right corner of a box; pxUm: micrometres a pixel of what is drawn. */
export function drawBar(draw, pxUm, letter, [left, top, width, height]) {
  const um = roundLength((width / 4) * pxUm);
  const long = um / pxUm;
  const [x, y] = [left + width - long - letter * 1.4, top + height - letter * 2.6];
  draw.fillStyle = "rgb(0 0 0 / 0.6)";
  draw.fillRect(x - letter * 0.7, y - letter * 0.4, long + letter * 1.4, letter * 2.4);
  draw.fillStyle = "#fff";
  draw.font = font(letter, 600);
  draw.textAlign = "center";
  draw.fillText(lengthLabel(um), x + long / 2, y + letter * 0.8);
  draw.fillRect(x, y + letter * 1.3, long, Math.max(2, letter / 5));
  draw.textAlign = "left";
}

/**
 * One picture of panes beside each other, each with its scale bar, and a strip of words below, as a PNG.
 * @param {ImageBitmap} bitmap the photograph
 * @param {{map: object | null, title?: string}[]} panes one, or several that share the photograph
 * @param {{opacity: number, umPerPx: number | null, words: string[]}} about the first of the words large
 * @returns {Promise<Blob>}
 */
export async function picture(bitmap, panes, { opacity, umPerPx, words }) {
  const most = panes.length > 1 ? MOST_PANES_PX / panes.length / bitmap.width : Infinity;
  const factor = Math.min(most, Math.max(1, LEAST_WIDTH_PX / (bitmap.width * panes.length)));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * factor)));
  const gap = panes.length > 1 ? Math.round(width / 40) : 0;
  const whole = panes.length * width + (panes.length - 1) * gap;
  const letter = Math.round(Math.max(18, whole / 48 / Math.sqrt(panes.length)));
  const titled = panes.some((one) => one.title) ? Math.round(letter * 1.7) : 0;
  const strip = Math.round(words.length ? letter * (1.5 * words.length + 1.6) : 0);
  const canvas = new OffscreenCanvas(whole, titled + height + strip);
  const draw = canvas.getContext("2d");
  draw.fillStyle = "#fff";
  draw.fillRect(0, 0, canvas.width, canvas.height);
  panes.forEach(({ map, title }, i) => {
    const box = [i * (width + gap), titled, width, height];
    if (title) {
      draw.fillStyle = "#4d545b";
      draw.font = font(letter, 600);
      draw.fillText(title, box[0], letter * 1.2, width);
    }
    drawPane(draw, bitmap, map, opacity, box);
    if (umPerPx) drawBar(draw, umPerPx / factor, letter, box);
  });
  words.forEach((line, i) => {
    draw.fillStyle = i === 0 ? "#15181b" : "#4d545b";
    draw.font = i === 0 ? font(Math.round(letter * 1.25), 600) : font(letter);
    draw.fillText(line, letter, titled + height + letter * (2 + 1.5 * i), whole - 2 * letter);
  });
  return canvas.convertToBlob({ type: "image/png" });
}
