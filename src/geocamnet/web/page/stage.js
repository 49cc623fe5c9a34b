// The photograph with its map: layers that share one frame, the scale bar, the line of a measurement.

const $ = (id) => document.getElementById(id);

/** The longest of 1, 2 or 5 times a power of ten that is not above `longest`. */
export function roundLength(longest) {
  const power = 10 ** Math.floor(Math.log10(longest));
  return [5, 2, 1, 0.5].map((one) => one * power).find((one) => one <= longest * (1 + 1e-9));
}

export const lengthLabel = (um) => (um >= 1000 ? `${um / 1000} mm` : `${um} µm`);

export class Stage {
  #size = null; // of what is shown, in its own pixels
  #umPerPx = null;
  #line = null;

  constructor() {
    new ResizeObserver(() => this.fit()).observe($("stage"));
    const frame = $("frame");
    let start = null;
    const place = (event) => {
      const box = frame.getBoundingClientRect();
      const within = (value, most) => Math.min(most, Math.max(0, value));
      const [width, height] = this.#size;
      return [within(((event.clientX - box.left) / box.width) * width, width), within(((event.clientY - box.top) / box.height) * height, height)];
    };
    frame.addEventListener("pointerdown", (event) => {
      if (!this.onLine || !this.#size) return;
      start = place(event);
      frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      if (start) this.drawLine([start, place(event)]);
    });
    frame.addEventListener("pointerup", (event) => {
      if (!start) return;
      const line = [start, place(event)];
      start = null;
      this.drawLine(line);
      this.onLine?.(Math.hypot(line[1][0] - line[0][0], line[1][1] - line[0][1]));
    });
    frame.addEventListener("pointercancel", () => (start = null));
  }

  /** Called with the length, in the photograph's pixels, of a line that was drawn; null where none is wanted. */
  set onLineDrawn(wanted) {
    this.onLine = wanted;
    $("frame").classList.toggle("measuring", wanted !== null);
    if (wanted === null) this.drawLine(null);
  }

  get size() {
    return this.#size;
  }

  showVideo(width, height) {
    $("photo").hidden = true;
    $("video").hidden = false;
    this.#show(width, height);
  }

  showBitmap(bitmap) {
    const photo = $("photo");
    [photo.width, photo.height] = [bitmap.width, bitmap.height];
    photo.getContext("2d").drawImage(bitmap, 0, 0);
    photo.hidden = false;
    $("video").hidden = true;
    this.#show(bitmap.width, bitmap.height);
  }

  /** Lay a map over it: {rgba, width, height}; null takes it off. */
  showMap(map) {
    const canvas = $("map");
    canvas.hidden = map === null;
    if (map === null) return;
    if (canvas.width !== map.width || canvas.height !== map.height) [canvas.width, canvas.height] = [map.width, map.height];
    canvas.getContext("2d").putImageData(new ImageData(map.rgba, map.width, map.height), 0, 0);
  }

  /** Take everything off, for the words of welcome. */
  clear() {
    this.#size = null;
    $("frame").hidden = true;
    $("welcome").hidden = false;
  }

  set opacity(value) {
    $("map").style.opacity = value;
  }

  set umPerPx(value) {
    this.#umPerPx = value;
    this.#drawBar();
  }

  drawLine(line) {
    this.#line = line;
    const box = $("frame").getBoundingClientRect();
    const factor = this.#size ? box.width / this.#size[0] : 1;
    for (const one of $("line").children) {
      ["x1", "y1", "x2", "y2"].forEach((name, i) => one.setAttribute(name, line ? line[i >> 1][i & 1] * factor : -9));
    }
  }

  fit() {
    if (!this.#size) return;
    const [width, height] = this.#size;
    const stage = $("stage");
    const style = getComputedStyle(stage);
    const most = [stage.clientWidth - 2 * parseFloat(style.paddingLeft), stage.clientHeight - 2 * parseFloat(style.paddingTop)];
    const factor = Math.min(most[0] / width, most[1] / height);
    $("frame").style.width = `${Math.floor(width * factor)}px`;
    $("frame").style.height = `${Math.floor(height * factor)}px`;
    this.drawLine(this.#line);
    this.#drawBar();
  }

  /**
   * The picture as it is seen, with a scale bar and a strip of words below, as a PNG.
   * @param {string[]} words lines, the first one large
   * @returns {Promise<Blob>}
   */
  async picture(bitmap, { map, opacity, words }) {
    const factor = Math.max(1, 1000 / bitmap.width); // small photographs are enlarged, so that words can be read
    const [width, height] = [Math.round(bitmap.width * factor), Math.round(bitmap.height * factor)];
    const letter = Math.round(Math.max(18, width / 48));
    const strip = Math.round(letter * (1.5 * words.length + 1.6));
    const canvas = new OffscreenCanvas(width, height + strip);
    const draw = canvas.getContext("2d");
    draw.fillStyle = "#fff";
    draw.fillRect(0, 0, width, height + strip);
    draw.imageSmoothingQuality = "high";
    draw.drawImage(bitmap, 0, 0, width, height);
    if (map) {
      const layer = new OffscreenCanvas(map.width, map.height);
      layer.getContext("2d").putImageData(new ImageData(map.rgba, map.width, map.height), 0, 0);
      draw.globalAlpha = opacity;
      draw.drawImage(layer, 0, 0, width, height);
      draw.globalAlpha = 1;
    }
    const font = (size, weight = 400) => `${weight} ${size}px system-ui, sans-serif`;
    if (this.#umPerPx) {
      const um = roundLength((bitmap.width / 4) * this.#umPerPx);
      const long = (um / this.#umPerPx) * factor;
      const [x, y] = [width - long - letter * 1.4, height - letter * 2.6];
      draw.fillStyle = "rgb(0 0 0 / 0.6)";
      draw.fillRect(x - letter * 0.7, y - letter * 0.4, long + letter * 1.4, letter * 2.4);
      draw.fillStyle = "#fff";
      draw.font = font(letter, 600);
      draw.textAlign = "center";
      draw.fillText(lengthLabel(um), x + long / 2, y + letter * 0.8);
      draw.fillRect(x, y + letter * 1.3, long, Math.max(2, letter / 5));
    }
    draw.textAlign = "left";
    words.forEach((line, i) => {
      draw.fillStyle = i === 0 ? "#15181b" : "#4d545b";
      draw.font = i === 0 ? font(Math.round(letter * 1.25), 600) : font(letter);
      draw.fillText(line, letter, height + letter * (2 + 1.5 * i), width - 2 * letter);
    });
    return canvas.convertToBlob({ type: "image/png" });
  }

  #show(width, height) {
    $("frame").hidden = false;
    $("welcome").hidden = true;
    const changed = !this.#size || this.#size[0] !== width || this.#size[1] !== height;
    this.#size = [width, height];
    if (changed) this.fit();
  }

  #drawBar() {
    const bar = $("bar");
    bar.hidden = !this.#umPerPx || !this.#size;
    if (bar.hidden) return;
    const factor = parseFloat($("frame").style.width) / this.#size[0];
    const um = roundLength((this.#size[0] / 4) * this.#umPerPx);
    bar.querySelector("span").textContent = lengthLabel(um);
    bar.querySelector("i").style.width = `${(um / this.#umPerPx) * factor}px`;
  }
}
