// Many photographs as a table: thumbnails, sortable, written out as CSV.

import { areaText, percent, titleOf, verdictText } from "./panel.js";
import { say } from "./words.js";

const THUMB_PX = 112;
const COLUMNS = ["name", "says", "probability", "covered"];
const $ = (id) => document.getElementById(id);

export class Series {
  rows = [];
  #by = null;
  #down = true;
  #onOpen;

  /** @param {(row: object) => void} onOpen called with the row that a person opens */
  constructor(onOpen) {
    this.#onOpen = onOpen;
  }

  /**
   * Add what was said of a photograph.
   * @param {{name: string, file?: File, answer?: object, card?: object, umPerPx?: number | null, told?: string}} row
   *   umPerPx: of the answer's size; told: why there is no answer
   */
  add(row, bitmap) {
    const answer = row.answer;
    if (answer && bitmap) row.thumb = thumbnail(bitmap, answer.map);
    const kept = this.rows.findIndex((one) => one.file && one.file === row.file);
    if (kept >= 0) this.rows[kept] = row;
    else this.rows.push(row);
    this.show();
  }

  /** Change what the row of a file says, where it has one: another answer with its bitmap, another scale. */
  change(file, said, bitmap) {
    const row = file && this.rows.find((one) => one.file === file);
    if (row) this.add({ ...row, ...said }, bitmap);
  }

  clear() {
    this.rows = [];
    this.show();
  }

  show() {
    $("series").hidden = this.rows.length < 2;
    if ($("series").hidden) return;
    const head = document.querySelector("#series thead tr");
    head.replaceChildren(document.createElement("th"), ...COLUMNS.map((key) => this.#heading(key)));
    const sorted = [...this.rows];
    if (this.#by) sorted.sort((a, b) => this.#compare(a, b) * (this.#down ? 1 : -1));
    document.querySelector("#series tbody").replaceChildren(...sorted.map((row) => this.#line(row)));
  }

  /** The table as CSV, one line a photograph, for the model whose card is given. */
  csv(card) {
    const names = card.classes.map((one) => one.name);
    const head = ["file", "verdict", "label", "probability", "distance", "evidence", "width_px", "height_px", "um_per_px", "model"];
    const lines = [[...head, ...names.map((one) => `p_${one}`), ...names.map((one) => `area_percent_${one}`)]];
    for (const row of this.rows) {
      if (row.card !== card) {
        lines.push([row.name, row.told ?? ""]);
        continue;
      }
      const { answer } = row;
      const named = answer.named.map((c) => names[c]);
      const refusals = { not_sure: "not sure", nothing_here: "nothing here", unfamiliar: "unlike the training photographs" };
      lines.push([
        row.name, named.join("|") || refusals[answer.refusal], named[0] ?? "", answer.probabilities[answer.order[0]].toFixed(6),
        answer.distance.toFixed(4), answer.evidence.toFixed(4), answer.size.width, answer.size.height, row.umPerPx ?? "", card.name,
        ...answer.probabilities.map((one) => one.toFixed(6)), ...answer.percent.map((one) => one.toFixed(2)),
      ]);
    }
    return "\ufeff" + lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n"; // the mark tells Excel: UTF-8
  }

  #heading(key) {
    const th = document.createElement("th");
    th.scope = "col";
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: say(key) });
    if (this.#by === key) th.setAttribute("aria-sort", this.#down ? "ascending" : "descending");
    button.addEventListener("click", () => {
      this.#down = this.#by === key ? !this.#down : key === "name" || key === "says";
      this.#by = key;
      this.show();
      [...document.querySelectorAll("#series th button")][COLUMNS.indexOf(key)]?.focus();
    });
    th.append(button);
    return th;
  }

  #line(row) {
    const line = document.createElement("tr");
    const add = (content, className = "") => {
      const td = Object.assign(document.createElement("td"), { className });
      td.append(content);
      line.append(td);
    };
    add(row.thumb ?? "", "thumb");
    if (row.file) {
      const open = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: row.name });
      open.addEventListener("click", () => this.#onOpen(row));
      add(open);
      row.thumb?.addEventListener("click", () => this.#onOpen(row));
    } else add(row.name);
    if (!row.answer) {
      add(row.told ?? say("unreadable"), "warn");
      add("");
      add("");
      return line;
    }
    const { answer, card } = row;
    const strongest = titleOf(card.classes[answer.order[0]]);
    const says = verdictText(card, answer);
    add(answer.refusal === null ? says : `${says} (${say("strongest", { name: strongest })})`, answer.refusal ? "dim" : "");
    add(percent(answer.probabilities[answer.order[0]]), "number");
    add(areaText(answer.percent[answer.order[0]]), "number");
    return line;
  }

  #compare(a, b) {
    const value = (row) => {
      if (this.#by === "name") return row.name;
      if (!row.answer) return this.#by === "says" ? "\uffff" : -1;
      if (this.#by === "says") return verdictText(row.card, row.answer);
      const first = row.answer.order[0];
      return this.#by === "probability" ? row.answer.probabilities[first] : row.answer.percent[first];
    };
    const [x, y] = [value(a), value(b)];
    return typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
  }
}

function thumbnail(bitmap, map) {
  const canvas = document.createElement("canvas");
  const factor = THUMB_PX / Math.max(bitmap.width, bitmap.height);
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * factor)));
  const draw = canvas.getContext("2d");
  draw.imageSmoothingQuality = "high";
  draw.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const layer = new OffscreenCanvas(map.width, map.height);
  layer.getContext("2d").putImageData(new ImageData(map.rgba, map.width, map.height), 0, 0);
  draw.globalAlpha = 0.6;
  draw.drawImage(layer, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function cell(value) {
  const text = String(value).replace(/^[=+@\t\r]/, "'$&"); // a file name must not become a formula
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
