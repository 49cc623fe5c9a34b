// Sentences for the person at the page: below the answer, and for a screen reader.

import { Told } from "./card.js";
import { say } from "./words.js";

const SILENT_AFTER_MS = 6000; // of a sentence that is no warning
const SPOKEN_EVERY_MS = 1500;
const $ = (id) => document.getElementById(id);

/** Say a sentence below the answer; it stays until the next one where it is a warning. */
let silence = 0;
export function tell(key, values = {}, isWarning = false) {
  const message = $("message");
  message.textContent = key ? say(key, values) : "";
  message.classList.toggle("warn", isWarning);
  clearTimeout(silence);
  if (key && !isWarning) silence = setTimeout(() => (message.textContent = ""), SILENT_AFTER_MS);
}

export function tellError(error, name = "") {
  if (error instanceof Told) tell(error.key, { name, ...error.values }, true);
  else tell("failed", { what: String(error?.message ?? error) }, true);
}

let spokenAt = 0;
export function announce(text) {
  if (performance.now() - spokenAt < SPOKEN_EVERY_MS || $("spoken").textContent === text) return;
  spokenAt = performance.now();
  $("spoken").textContent = text;
}
