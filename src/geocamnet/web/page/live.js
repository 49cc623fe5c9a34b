// The camera's newest frame is looked at whenever the worker is free; those in between are passed over.

import { Frames } from "./frames.js";
import { tellError } from "./telling.js";

export const LIVE_SIDE_PX = 320; // of the map over a live picture: smooth, so the browser may enlarge it
const LIVE_CLASSES_PX = 480; // of one with sharp edges
const PANEL_EVERY_MS = 125; // nobody reads faster
const AFTER_ERROR_MS = 500;

/**
 * @param {object} now the page's state
 * @param {import("./camera.js").Camera} camera
 * @param {{look: Function, take: Function, showVideo: Function}} page what looks at a bitmap, shows an answer, a size
 * @returns {() => Promise<void>} watches until the camera is off, or until it is called again
 */
export function watcher(now, camera, page) {
  let watching = 0;
  return async () => {
    const mine = ++watching;
    const goesOn = () => camera.isOn && mine === watching;
    const frames = new Frames(camera, document.getElementById("video"));
    let [answeredAt, busy] = [0, 0];
    while (goesOn()) {
      try {
        if (now.frozen) {
          await frames.pass();
          continue;
        }
        const frame = await frames.take();
        if (frame === null) continue;
        const isWanted = goesOn() && !now.frozen;
        if (isWanted) page.showVideo(frame.size);
        if (!isWanted || !now.card) {
          frame.bitmap.close();
          continue;
        }
        const started = performance.now();
        const looking = page.look(frame.bitmap, now.view === "classes" ? LIVE_CLASSES_PX : LIVE_SIDE_PX);
        frames.ahead(busy);
        const answer = await looking;
        const ended = performance.now();
        busy = ended - started;
        if (!goesOn() || now.frozen) {
          answer.bitmap.close();
          continue;
        }
        now.behind = (ended - frame.takenAt) / 1000;
        const perSecond = 1000 / (ended - answeredAt);
        now.rate = now.rate === 0 ? perSecond : 0.9 * now.rate + 0.1 * perSecond;
        answeredAt = ended;
        page.take(answer, ended - now.panelAt < PANEL_EVERY_MS);
      } catch (error) {
        tellError(error);
        await new Promise((resolve) => setTimeout(resolve, AFTER_ERROR_MS));
      }
    }
    await frames.pass();
  };
}
