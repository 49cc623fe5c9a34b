// Frames of the camera as bitmaps: the newest one, fetched so that it is there when the worker is free.

const LONGEST_WAIT_MS = 500; // for a frame of a camera that gives none
const EARLY = 1.5; // times as long as fetching one has taken lately
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Frames {
  #camera;
  #video;
  #next = null;
  #fetchMs = 0;

  /** @param {import("./camera.js").Camera} camera @param {HTMLVideoElement} video that shows it */
  constructor(camera, video) {
    this.#camera = camera;
    this.#video = video;
  }

  /** @returns {Promise<{bitmap: ImageBitmap, size: number[], takenAt: number} | null>} null: the camera gives none */
  take() {
    const next = this.#next ?? this.#fetch();
    this.#next = null;
    return next;
  }

  /** Fetch the next frame while the worker is busy, which it will be for about so long. */
  ahead(busyMs) {
    this.#next = sleep(Math.max(0, busyMs - EARLY * this.#fetchMs)).then(() => this.#fetch());
    this.#next.catch(() => {}); // told to who takes it
  }

  /** Let a frame go that was fetched and is not wanted; wait for the camera's next one. */
  async pass() {
    const next = this.#next;
    this.#next = null;
    (await next?.catch(() => null))?.bitmap.close();
    if (this.#camera.isOn) await this.#camera.newFrame(LONGEST_WAIT_MS);
  }

  async #fetch() {
    await this.#camera.newFrame(LONGEST_WAIT_MS);
    const video = this.#video;
    if (!this.#camera.isOn || video.readyState < 2) return null;
    const takenAt = performance.now();
    const size = [video.videoWidth, video.videoHeight];
    const bitmap = await createImageBitmap(video, { colorSpaceConversion: "none" });
    this.#fetchMs = performance.now() - takenAt;
    return { bitmap, size, takenAt };
  }
}
