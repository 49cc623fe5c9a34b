// The photograph with its map: layers that share one frame, the scale bar, the line of a measurement.

import { lengthLabel, roundLength } from "./picture.js";

const $ = (id) => document.getElementById(id);

export class Stage {
  #size = null; // of what is shown, in its own pixels
  #umPerTakenPx = null; // of a photograph's own pixel
  #shrunkBy = 1; // how many of those one of the pixels shown is wide
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

  get shrunkBy() {
    return this.#shrunkBy;
  }

  /** Of a pixel that is shown; null where the scale is unknown. */
  get umPerPx() {
    return this.#umPerTakenPx && this.#umPerTakenPx * this.#shrunkBy;
  }

  showVideo(width, height) {
    $("photo").hidden = true;
    $("video").hidden = false;
    this.#show(width, height, 1);
  }

  showBitmap(bitmap, shrunkBy) {
    const photo = $("photo");
    [photo.width, photo.height] = [bitmap.width, bitmap.height];
    photo.getContext("2d").drawImage(bitmap, 0, 0);
    photo.hidden = false;
    $("video").hidden = true;
    this.#show(bitmap.width, bitmap.height, shrunkBy);
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

  set umPerTakenPx(value) {
    this.#umPerTakenPx = value;
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

  #show(width, height, shrunkBy) {
    $("frame").hidden = false;
    $("welcome").hidden = true;
    const changed = !this.#size || this.#size[0] !== width || this.#size[1] !== height || this.#shrunkBy !== shrunkBy;
    this.#size = [width, height];
    this.#shrunkBy = shrunkBy;
    if (changed) this.fit();
  }

  #drawBar() {
    const bar = $("bar");
    const { umPerPx } = this;
    bar.hidden = !umPerPx || !this.#size;
    if (bar.hidden) return;
    const factor = parseFloat($("frame").style.width) / this.#size[0];
    const um = roundLength((this.#size[0] / 4) * umPerPx);
    bar.querySelector("span").textContent = lengthLabel(um);
    bar.querySelector("i").style.width = `${(um / umPerPx) * factor}px`;
  }
}
