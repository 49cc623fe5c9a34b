// The page: what is done with it, and what then happens.

import { Camera } from "./camera.js";
import { Told } from "./card.js";
import { decode, MOST_PIXELS } from "./decode.js";
import { keep, onFiles, onKeys, readKept, switchTheme } from "./hands.js";
import { LIVE_SIDE_PX, watcher } from "./live.js";
import { Looker } from "./looker.js";
import { drawRamp, engineText, hideAnswer, setChinese, showAnswer, showCard, showClasses, verdictText } from "./panel.js";
import { measuring } from "./measure.js";
import { Panes } from "./panes.js";
import { saving } from "./saving.js";
import { Series } from "./series.js";
import { Stage } from "./stage.js";
import { announce, tell, tellError } from "./telling.js";
import { currentLanguage, say, speak } from "./words.js";

const MOST_MODEL_BYTES = 100e6;
const STILL_SIDE_PX = 800;
const BEHIND_FROM_S = 0.3;

const $ = (id) => document.getElementById(id);
const stage = new Stage();
const panes = new Panes();
const looker = new Looker();
const camera = new Camera($("video"), () => {
  tell("camera_lost", {}, true);
  freezeOr(false);
  changed();
});
const series = new Series((row) => openPhotograph(row.file));
const now = {
  site: null, card: null, threads: 1, runsOn: null, modelName: "",
  live: false, frozen: false, answer: null, bitmap: null, name: "", file: null, shrunkBy: 1, // of the bitmap that was answered
  shown: null, view: "heat", refine: false, opacity: 0.6,
  umPerTakenPx: null, // of a pixel as it was taken: photographs of one scale are shrunk by more or less
  rate: 0, behind: 0, panelAt: 0, seen: 0, work: Promise.resolve(),
  get umPerPx() { return this.umPerTakenPx && this.umPerTakenPx * this.shrunkBy; }, // of the bitmap
};

const options = (side) => ({ shown: now.shown, view: now.view === "photo" ? "heat" : now.view, refine: now.refine, side, umPerPx: now.umPerPx });

/** Do one thing after the other: the worker looks at one photograph at a time. */
function after(task) {
  const done = now.work.then(task);
  now.work = done.catch(() => {});
  return done;
}

// ---- the model

async function openModel(content, name) {
  try {
    if (content.byteLength > MOST_MODEL_BYTES) throw new Told("model_too_large", { size: Math.round(content.byteLength / 1e6) });
    tell("opening");
    const opened = await after(() => looker.open(content));
    Object.assign(now, { card: opened.card, runsOn: null, modelName: name, shown: null });
    tell("model_opened", { name });
    changed();
    if (now.bitmap && !(now.live && !now.frozen)) await lookAgain();
  } catch (error) {
    tellError(error, name);
  }
}

// ---- photographs

async function openPhotograph(file) {
  stopCamera();
  try {
    const { bitmap, shrunkFrom, shrunkBy } = await decode(file, now.card);
    if (shrunkFrom) tell("shrunk", { name: file.name, pixels: Math.round(shrunkFrom / 1e6), most: MOST_PIXELS / 1e6 }, true);
    stage.showBitmap(bitmap, shrunkBy);
    showMap(null);
    const held = { name: file.name, file, shrunkBy };
    if (!now.card) {
      keepBitmap(bitmap);
      Object.assign(now, held);
      tell("no_model", {}, true);
      return;
    }
    const answer = await after(() => looker.look(bitmap, { ...options(STILL_SIDE_PX), umPerPx: stage.umPerPx }));
    Object.assign(now, held);
    take(answer);
    announce(verdictText(now.card, answer));
    series.add({ name: file.name, file, ...rowOf(answer) }, answer.bitmap);
    const wantsRefined = (now.view === "heat" && now.refine) || now.view === "compare";
    if (wantsRefined && !answer.refined && !answer.refinedMap) tell("not_refined", {}, true);
  } catch (error) {
    tellError(error, file.name);
    const told = error instanceof Told ? say(error.key, { name: file.name, ...error.values }) : String(error);
    series.add({ name: file.name, told });
  }
  changed();
}

const rowOf = (answer) => ({ answer: { ...answer, bitmap: null }, card: now.card, umPerPx: answer.umPerPx });

async function openFiles(files) {
  const model = files.find((file) => file.name.toLowerCase().endsWith(".onnx"));
  if (model) await openModel(await model.arrayBuffer(), model.name);
  const photographs = files.filter((file) => file !== model);
  if (photographs.length === 0) {
    if (!model) tell("empty_drop", {}, true);
    return;
  }
  tell("");
  for (const [i, file] of photographs.entries()) {
    if (photographs.length > 1) $("progress").textContent = say("progress", { done: i, all: photographs.length });
    if (i === 0) tell("looking", { name: file.name });
    await openPhotograph(file);
  }
  $("progress").textContent = photographs.length > 1 ? say("progress", { done: photographs.length, all: photographs.length }) : "";
  if (!$("message").classList.contains("warn")) tell("");
}

/** Give the held photograph to the worker, which has it until the answer brings it back. */
function lookAtHeld(wanted) {
  const bitmap = now.bitmap;
  now.bitmap = null;
  return after(() => looker.look(bitmap, wanted));
}

/** Look once more at what is held: another class, another map. */
async function lookAgain() {
  if (!now.bitmap || !now.card || (now.live && !now.frozen)) return;
  const { file } = now;
  try {
    const answer = await lookAtHeld(options(now.live ? LIVE_SIDE_PX : STILL_SIDE_PX));
    series.change(file, rowOf(answer), answer.bitmap);
    if (now.bitmap) answer.bitmap.close(); // another photograph has been opened meanwhile
    else take(answer);
  } catch (error) {
    tellError(error);
  }
  changed();
}

// ---- the camera

async function startCamera(wanted) {
  try {
    await camera.start(wanted);
    keepBitmap(null);
    panes.hide();
    $("light").checked = false;
    Object.assign(now, { live: true, frozen: false, answer: null, name: "", file: null, shrunkBy: 1, rate: 0 });
    tell(now.card ? "" : "no_model", {}, !now.card);
    await camera.describe($("device"), $("resolution"));
    changed();
    watch();
  } catch (error) {
    stopCamera();
    tellError(error);
    changed();
  }
}

const watch = watcher(now, camera, { look: (bitmap, side) => after(() => looker.look(bitmap, options(side))), take, showVideo });

function stopCamera() {
  camera.stop();
  Object.assign(now, { live: false, frozen: false });
}

/** Show the camera's picture in its size; another size than before has another scale. */
function showVideo(size) {
  if (now.umPerPx && now.liveSize && String(now.liveSize) !== String(size)) {
    setScale(null); // a camera that bins and one that crops have scales of their own
    tell("forgotten_scale", {}, true);
  }
  now.liveSize = size;
  stage.showVideo(...size);
}

/** Hold the frame that was analysed last, so that map and photograph belong together. */
function freezeOr(goesOn) {
  if (!now.answer || !now.bitmap) return;
  now.frozen = !goesOn;
  if (now.frozen) stage.showBitmap(now.bitmap, now.shrunkBy);
  changed();
}

// ---- what is shown

function keepBitmap(bitmap) {
  if (now.bitmap && now.bitmap !== bitmap) now.bitmap.close();
  now.bitmap = bitmap;
}

function take(answer, onlyMap = false) {
  const isFirst = now.answer === null;
  keepBitmap(answer.bitmap);
  now.answer = answer;
  if (isFirst) changed();
  now.runsOn = answer.runsOn;
  document.body.dataset.engine = answer.runsOn.engine;
  document.body.dataset.network = answer.milliseconds.network.toFixed(1);
  document.body.dataset.seen = String(++now.seen);
  showMap(answer);
  if (onlyMap) return;
  now.panelAt = performance.now();
  showAnswer(now.card, answer);
  showState();
}

/** Show an answer's map, or its panes; null takes either off. */
function showMap(answer) {
  if (answer && now.bitmap && now.view === "compare") panes.show(now.bitmap, answer, now.opacity, now.umPerPx);
  else panes.hide();
  stage.showMap(answer && now.view !== "photo" ? answer.map : null);
}

function showState() {
  const parts = [];
  const size = stage.size;
  if (now.live && !now.frozen && now.rate) parts.push(say("rate", { rate: now.rate.toFixed(now.rate < 10 ? 1 : 0) }));
  if (size) parts.push(say("pixels", { width: size[0], height: size[1] }));
  if (size) parts.push(stage.umPerPx ? say("scale_is", { scale: stage.umPerPx.toPrecision(3) }) : say("scale_unknown"));
  if (now.runsOn) parts.push(engineText(now.runsOn, now.threads));
  $("state").textContent = parts.join("  ·  ");
  const badge = $("badge");
  badge.textContent = now.frozen ? say("frozen") : now.live && now.behind > BEHIND_FROM_S ? say("behind", { seconds: now.behind.toFixed(1) }) : "";
  badge.hidden = !badge.textContent;
}

setInterval(() => now.live && now.answer && announce(verdictText(now.card, now.answer)), 3000);

/** Bring everything that depends on the state in line with it. */
function changed() {
  const has = now.answer !== null && now.bitmap !== null;
  if (!now.live && !now.bitmap) {
    stage.clear();
    panes.hide();
  }
  $("camera").classList.toggle("on", now.live);
  $("camera").querySelector("span").textContent = say(now.live ? "stop" : "camera");
  for (const id of ["snapshot", "table", "print"]) $(id).disabled = !has;
  $("freeze").disabled = !(now.live && has);
  $("freeze").setAttribute("aria-pressed", String(now.frozen));
  $("measure").disabled = !has;
  $("shown").hidden = $("legend").hidden = now.card === null;
  $("source").hidden = !now.live;
  $("light-line").hidden = !camera.hasLight;
  document.body.classList.toggle("empty", !now.live && !now.bitmap);
  if (now.card) {
    showClasses(now.card, now.shown, (shown) => choose({ shown }));
    showCard(now.card);
    $("model-name").textContent = now.card.name;
  }
  if (has) showAnswer(now.card, now.answer);
  else hideAnswer();
  series.show();
  showState();
}

/** Change how the map is shown, and show it so. */
function choose(wanted) {
  Object.assign(now, wanted);
  if ("opacity" in wanted) {
    stage.opacity = now.opacity;
    $("opacity").value = Math.round(100 * now.opacity);
    drawRamp(now.opacity);
    if (now.view === "compare" && now.answer) showMap(now.answer);
    remember();
    return;
  }
  $("refine").checked = now.refine;
  for (const one of document.getElementsByName("view")) one.checked = one.value === now.view;
  for (const one of document.getElementsByName("shown")) one.checked = one.value === String(now.shown ?? "");
  $("ramp").classList.toggle("off", now.view !== "heat" && now.view !== "compare");
  $("refine").disabled = now.view !== "heat";
  if (now.view !== "compare") panes.hide(); // at once: the line of a measurement is drawn on what is below
  if (now.view === "photo") showMap(null);
  else lookAgain();
}

function setScale(umPerTakenPx) {
  now.umPerTakenPx = umPerTakenPx;
  stage.umPerTakenPx = umPerTakenPx;
  if (now.view === "compare" && now.answer) showMap(now.answer);
  showState();
}

const measure = measuring(stage, {
  begin: () => {
    if (now.live && !now.frozen) freezeOr(false);
    if (now.view === "compare") choose({ view: "heat" }); // a line is drawn over one large picture
  },
  tell,
  setScale: (umPerPx) => {
    setScale(umPerPx / stage.shrunkBy);
    tell("scale_is", { scale: umPerPx.toPrecision(4) });
    if (now.card.um_per_px) lookAgain(); // the network is to see the photograph at its own scale
    else series.change(now.file, { umPerPx: now.umPerPx });
  },
});

// ---- what is saved

/** Look at the held photograph once more, for a report; what is shown stays as it is. */
async function compared() {
  if (now.live && !now.frozen) freezeOr(false);
  if (!now.bitmap) return null;
  const answer = await lookAtHeld({ ...options(STILL_SIDE_PX), view: "compare" });
  if (!now.bitmap) keepBitmap(answer.bitmap); // no other photograph has been opened meanwhile
  changed();
  return answer;
}

const { snapshot, table, report } = saving(now, series, tell, compared);

// ---- hands

const actions = {
  camera: () => {
    if (!now.live) return startCamera();
    stopCamera();
    if (now.bitmap) stage.showBitmap(now.bitmap, now.shrunkBy);
    changed();
  },
  photographs: () => $("photographs-file").click(),
  model: () => $("model-file").click(),
  sample: async () => openFiles([new File([await (await fetch("sample.jpg")).blob()], "sample.jpg")]),
  freeze: () => freezeOr(now.frozen),
  measure,
  snapshot: () => snapshot().catch(tellError),
  report: () => report().catch(tellError),
  table,
  clear: () => series.clear(),
};
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => actions[button.dataset.do]());
}
for (const id of ["photographs-file", "model-file"]) {
  $(id).addEventListener("change", () => {
    const files = [...$(id).files];
    $(id).value = "";
    $("about").close();
    openFiles(files);
  });
}
$("opacity").addEventListener("input", () => choose({ opacity: $("opacity").value / 100 }));
$("refine").addEventListener("change", () => choose({ refine: $("refine").checked }));
for (const one of document.getElementsByName("view")) one.addEventListener("change", () => choose({ view: one.value }));
const sizeOf = () => $("resolution").value.split("x").map(Number);
for (const id of ["device", "resolution"]) {
  $(id).addEventListener("change", () => startCamera({ device: $("device").value, size: sizeOf() }));
}
$("light").addEventListener("change", () => {
  camera.light($("light").checked).catch((error) => {
    $("light").checked = false;
    tellError(error);
  });
});
$("about-open").addEventListener("click", () => $("about").showModal());
$("language").addEventListener("click", () => {
  speak(currentLanguage() === "zh" ? "en" : "zh");
  remember();
  changed();
});
$("theme").addEventListener("click", () => {
  switchTheme();
  remember();
});
onFiles(openFiles);
const nextClass = (step) => {
  const all = [null, ...now.card.classes.keys()];
  choose({ shown: all[(all.indexOf(now.shown) + step + all.length) % all.length] });
};
const fade = (step) => choose({ opacity: Math.min(1, Math.max(0, Math.round(10 * (now.opacity + step)) / 10)) });
onKeys(
  {
    c: () => nextClass(1), x: () => nextClass(-1), 0: () => choose({ shown: null }),
    "+": () => fade(0.1), "=": () => fade(0.1), "-": () => fade(-0.1), t: () => choose({ refine: !now.refine }),
    s: () => $("snapshot").click(), p: () => $("print").click(), m: () => $("measure").click(), " ": () => $("freeze").click(),
  },
  () => now.card !== null,
);

// ---- the beginning

const remember = () => keep({ language: currentLanguage(), theme: document.documentElement.dataset.theme, opacity: now.opacity });

async function begin() {
  const kept = readKept();
  if (["dark", "light"].includes(kept.theme)) document.documentElement.dataset.theme = kept.theme;
  speak(kept.language ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
  choose({ opacity: typeof kept.opacity === "number" ? kept.opacity : 0.6 });
  changed();
  let build = "plain";
  try {
    ({ build, threads: now.threads } = await looker.engine());
    now.site = await (await fetch("site.json")).json();
    setChinese(now.site.chinese);
    if (now.site.model) await openModel(await (await fetch(now.site.model)).arrayBuffer(), now.site.model_name);
    else tell("no_model", {}, true);
  } catch (error) {
    tellError(error);
  }
  document.body.dataset.ready = "yes";
  // Without https there is no service worker, and no page offline. It keeps the one build that this browser uses.
  navigator.serviceWorker?.register(`sw.js?build=${build}`).catch(() => {});
}
begin();
