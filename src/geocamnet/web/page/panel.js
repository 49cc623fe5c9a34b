// What is said beside the photograph: the verdict, the most probable classes, the legend with areas, the card.

import { PLASMA } from "./plasma.js";
import { currentLanguage, say } from "./words.js";

const $ = (id) => document.getElementById(id);
const element = (name, about = {}, ...children) => {
  const made = Object.assign(document.createElement(name), about);
  made.append(...children);
  return made;
};

let chinese = {};
export const setChinese = (titles) => (chinese = titles);

/** A class's name for people, in the page's language. */
export const titleOf = (one) => (currentLanguage() === "zh" && chinese[one.name]) || one.title;

export const percent = (share) => `${(100 * share).toFixed(0)} %`;
export const areaText = (value) => `${value > 0 && value < 10 ? value.toFixed(1) : value.toFixed(0)} %`;

/** The verdict in words: titles of what is named, or a refusal. */
export function verdictText(card, answer) {
  return answer.named.map((c) => titleOf(card.classes[c])).join(" + ") || say(answer.refusal);
}

export function showAnswer(card, answer) {
  $("answer").hidden = false;
  $("verdict").textContent = verdictText(card, answer);
  $("answer").classList.toggle("refused", answer.refusal !== null);
  $("why").textContent = answer.refusal === null ? "" : say(`${answer.refusal}_why`);
  const rows = answer.order.slice(0, 3).map((c) => {
    const meter = element("i");
    meter.style.setProperty("--share", answer.probabilities[c]);
    return element("li", {}, element("span", { textContent: titleOf(card.classes[c]) }), element("b", { textContent: percent(answer.probabilities[c]) }), meter);
  });
  $("top").replaceChildren(...rows);
  card.classes.forEach((_, c) => {
    const row = $("classes").querySelector(`[data-class="${c}"] b`);
    if (row) row.textContent = areaText(answer.percent[c]);
  });
  for (const row of $("classes").children) row.classList.toggle("on-map", Number(row.dataset.class) === answer.shown);
}

export function hideAnswer() {
  $("answer").hidden = true;
}

/** The list of classes: legend, areas and the choice of the map in one. */
export function showClasses(card, shown, onChoice) {
  const row = (title, value, colour) => {
    const input = element("input", { type: "radio", name: "shown", value, checked: String(shown ?? "") === value });
    input.addEventListener("change", () => onChoice(value === "" ? null : Number(value)));
    const patch = element("i");
    if (colour) patch.style.background = `rgb(${colour.join(" ")})`;
    else patch.className = "any";
    const made = element("label", {}, input, patch, element("span", { textContent: title }), element("b"));
    made.dataset.class = value;
    return made;
  };
  const rows = card.classes.map((one, c) => row(titleOf(one), String(c), one.colour_rgb));
  $("classes").replaceChildren(row(say("most_probable"), "", null), ...rows);
}

/** Where the network runs, and where the GPU was tried, how it compares. */
export function engineText({ engine, timed }, threads) {
  const where = engine === "webgpu" ? "WebGPU" : threads > 1 ? say("threads", { threads }) : say("one_thread");
  return timed ? `${where} (${say("timed", { webgpu: timed.webgpu.toFixed(0), wasm: timed.wasm.toFixed(0) })})` : where;
}

/** The colours of heat as they lie on mid-grey with this opacity. */
export function drawRamp(opacity) {
  const canvas = document.querySelector("#ramp canvas");
  const picture = new ImageData(256, 1);
  for (let i = 0; i < 256; i++) {
    for (let k = 0; k < 3; k++) picture.data[4 * i + k] = 128 + opacity * (i / 255) * (PLASMA[3 * i + k] - 128);
    picture.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** The card, as far as a person wants to know it: [key of a word, text]. */
export function cardLines(card) {
  const figure = card.metrics?.model?.balanced_accuracy;
  const lines = {
    known: card.classes.map(titleOf).join(", "),
    figures: figure === undefined ? "" : say("on_n", { value: figure.toFixed(2), n: card.metrics.n ?? "?" }),
    parameters: `${card.parameters.toLocaleString("en")}, ${card.architecture}`,
    precision: card.precision,
    input: card.long_side_px ? `${card.long_side_px} px` : `${card.um_per_px} µm/px`,
    data: card.data?.name ?? "",
    limits: card.limits, licence: card.licence, attribution: card.attribution,
  };
  return Object.entries(lines).filter(([, text]) => text);
}

export function showCard(card) {
  const rows = cardLines(card);
  $("card").replaceChildren(...rows.flatMap(([key, text]) => [element("dt", { textContent: say(key) }), element("dd", { textContent: text })]));
}
