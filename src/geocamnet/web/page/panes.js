// The photograph, its map and the refined map beside each other, in place of the one frame.

import { drawBar, drawPane } from "./picture.js";
import { say } from "./words.js";

const MOST_PX = 1000; // long side of a pane's own pixels
const $ = (id) => document.getElementById(id);

/** What the panes show, in order: of an answer that was asked for with the view "compare". */
export function panesOf(answer) {
  const panes = [
    { key: "photo", map: null },
    { key: "heat", map: answer.map },
    { key: "heat_refined", map: answer.refinedMap },
  ];
  return panes.filter((one) => one.key !== "heat_refined" || one.map);
}

export class Panes {
  #ratio = 1; // width by height of the photograph

  constructor() {
    new ResizeObserver(() => this.#fit()).observe($("panes"));
  }

  /** Show an answer; each pane is a figure with its caption. */
  show(bitmap, answer, opacity, umPerPx) {
    const panes = panesOf(answer);
    const box = $("panes");
    while (box.children.length < panes.length) {
      const figure = document.createElement("figure");
      figure.append(document.createElement("canvas"), document.createElement("figcaption"));
      box.append(figure);
    }
    while (box.children.length > panes.length) box.lastChild.remove();
    const factor = Math.min(1, MOST_PX / Math.max(bitmap.width, bitmap.height));
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * factor)));
    panes.forEach(({ key, map }, i) => {
      const [canvas, caption] = box.children[i].children;
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      const draw = canvas.getContext("2d");
      drawPane(draw, bitmap, map, opacity, [0, 0, width, height]);
      if (umPerPx) drawBar(draw, umPerPx / factor, Math.max(11, width / 30), [0, 0, width, height]);
      caption.textContent = say(key);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", say(key));
    });
    box.hidden = false;
    this.#ratio = width / height;
    this.#fit();
  }

  hide() {
    $("panes").hidden = true;
  }

  /** In as many columns as show them largest. */
  #fit() {
    const box = $("panes");
    const count = box.children.length;
    if (box.hidden || count === 0) return;
    const [gap, caption] = [12, 28];
    const style = getComputedStyle(box);
    const [wide, high] = [box.clientWidth - 2 * parseFloat(style.paddingLeft), box.clientHeight - 2 * parseFloat(style.paddingTop)];
    const widthIn = (columns) => {
      const rows = Math.ceil(count / columns);
      const most = [(wide - gap * (columns - 1)) / columns, ((high - gap * (rows - 1)) / rows - caption) * this.#ratio];
      return Math.max(1, Math.floor(Math.min(...most)));
    };
    const ways = Array.from({ length: count }, (_, i) => count - i);
    const columns = ways.reduce((best, one) => (widthIn(one) > widthIn(best) ? one : best));
    box.style.gridTemplateColumns = `repeat(${columns}, ${widthIn(columns)}px)`;
  }
}
