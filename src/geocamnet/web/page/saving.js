// What is saved of an answer: a picture, a table, a printed report.

import { download, stamp } from "./hands.js";
import { percent, titleOf, verdictText } from "./panel.js";
import { panesOf } from "./panes.js";
import { picture } from "./picture.js";
import { printReport } from "./report.js";
import { say } from "./words.js";

/**
 * @param {object} now the page's state
 * @param {import("./series.js").Series} series
 * @param {(key: string, values: object) => void} tell
 * @param {() => Promise<object | null>} compared looks at the held photograph with the view "compare"
 */
export function saving(now, series, tell, compared) {
  const stem = () => (now.name ? now.name.replace(/\.[^.]*$/, "") : "camera");

  function save(blob, name) {
    download(blob, name);
    tell("kept", { name });
  }

  async function snapshot() {
    const { answer, card, opacity, umPerPx } = now;
    const top = answer.order.slice(0, 3).map((c) => `${titleOf(card.classes[c])} ${percent(answer.probabilities[c])}`);
    const showsHeat = now.view === "heat" || now.view === "compare";
    const of = showsHeat ? [`${say("heat")}: ${titleOf(card.classes[answer.shown])}`] : [];
    const about = [...of, now.name || stamp(), card.name].join("  ·  ");
    const words = [verdictText(card, answer), top.join(",  "), about];
    const one = [{ map: now.view === "photo" ? null : answer.map }];
    const panes = now.view === "compare" ? panesOf(answer).map(({ key, map }) => ({ map, title: say(key) })) : one;
    save(await picture(now.bitmap, panes, { opacity, umPerPx, words }), `${stem()}-${stamp()}.png`);
  }

  function table() {
    const { answer, card, umPerPx } = now;
    if (now.live) series.add({ name: `camera ${stamp()}`, answer: { ...answer, bitmap: null }, card, umPerPx }, now.bitmap);
    save(new Blob([series.csv(card)], { type: "text/csv" }), `geocamnet-${stamp()}.csv`);
  }

  async function report() {
    const answer = await compared();
    if (answer) await printReport(now.card, answer, { ...now, version: now.site?.version ?? "" });
  }

  return { snapshot, table, report };
}
