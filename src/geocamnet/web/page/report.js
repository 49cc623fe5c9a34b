// One printed page about one photograph: what is said, why, where, and what the model is.

import { areaText, cardLines, percent, titleOf, verdictText } from "./panel.js";
import { panesOf } from "./panes.js";
import { picture } from "./picture.js";
import { currentLanguage, say } from "./words.js";

const $ = (id) => document.getElementById(id);
const made = (name, text = "", ...children) => {
  const one = document.createElement(name);
  one.textContent = text;
  one.append(...children);
  return one;
};

let addresses = []; // of the pictures in the report that was made last

/**
 * Fill the report and hand it to the browser's printer.
 * @param {object} card of the model
 * @param {object} answer of the view "compare", its bitmap with it
 * @param {{name: string, umPerPx: number | null, opacity: number, version: string}} about
 */
export async function printReport(card, answer, { name, umPerPx, opacity, version }) {
  for (const one of addresses) URL.revokeObjectURL(one);
  addresses = [];
  const pictures = [];
  for (const pane of panesOf(answer)) {
    const blob = await picture(answer.bitmap, [pane], { opacity, umPerPx, words: [] });
    const image = new Image();
    image.src = URL.createObjectURL(blob);
    image.alt = say(pane.key);
    addresses.push(image.src);
    await image.decode();
    pictures.push(made("figure", "", image, made("figcaption", say(pane.key))));
  }
  const row = made("div", "", ...pictures);
  row.className = "panes";
  const heat = `${say("report_heat", { name: titleOf(card.classes[answer.shown]) })} ${say("report_area")}`;
  const scale = umPerPx ? say("scale_is", { scale: umPerPx.toPrecision(4) }) : say("scale_unknown");
  const size = say("pixels", { width: answer.size.width, height: answer.size.height });
  const about = made("dl");
  for (const [key, text] of cardLines(card)) about.append(made("dt", say(key)), made("dd", text));
  const when = new Date().toLocaleString(currentLanguage() === "zh" ? "zh-CN" : "en-GB");
  $("report").replaceChildren(
    made("p", [name || say("camera"), when, size, scale].join("  ·  ")),
    made("h1", verdictText(card, answer)),
    made("p", answer.refusal === null ? "" : say(`${answer.refusal}_why`)),
    row,
    made("p", heat),
    classTable(card, answer),
    made("h2", `${say("about_model")}: ${card.name}`),
    about,
    made("p", `GeoCAMNet ${version}  ·  ${say("private")}`),
  );
  window.print();
}

/** Every class: probability, and the share of the photograph that it covers; the most probable first. */
function classTable(card, answer) {
  const table = made("table");
  table.append(made("thead", "", made("tr", "", ...["class_shown", "probability", "covered"].map((key) => made("th", say(key))))));
  const rows = answer.order.map((c) =>
    made("tr", "", made("td", titleOf(card.classes[c])), made("td", percent(answer.probabilities[c])), made("td", areaText(answer.percent[c]))),
  );
  table.append(made("tbody", "", ...rows));
  if (rows.length > 8) table.className = "many";
  return table;
}
