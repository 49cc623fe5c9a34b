// The scale, measured by a line over something of known length.

import { say } from "./words.js";

const $ = (id) => document.getElementById(id);
const LEAST_PX = 10;

/**
 * Return what begins a measurement, and ends one that goes on.
 * @param {Stage} stage on which the line is drawn
 * @param {{begin: Function, tell: Function, setScale: (umPerPx: number) => void}} page
 */
export function measuring(stage, page) {
  const end = () => {
    $("measure").setAttribute("aria-pressed", "false");
    stage.onLineDrawn = null;
  };
  let pixels = 0;
  $("length").addEventListener("close", end);
  $("length-cancel").addEventListener("click", () => $("length").close());
  $("length").querySelector("form").addEventListener("submit", (event) => {
    const um = Number($("length-um").value.trim().replace(",", "."));
    if (um > 0 && isFinite(um)) {
      page.setScale(um / pixels);
      return;
    }
    event.preventDefault();
    $("length-wrong").textContent = say("length_wrong", { received: $("length-um").value });
  });
  return () => {
    if ($("measure").getAttribute("aria-pressed") === "true") {
      end();
      return;
    }
    $("measure").setAttribute("aria-pressed", "true");
    page.begin();
    page.tell("draw_line");
    stage.onLineDrawn = (length) => {
      if (length < LEAST_PX) {
        page.tell("line_short", {}, true);
        return;
      }
      pixels = length;
      $("length-wrong").textContent = "";
      $("length").showModal();
    };
  };
}
