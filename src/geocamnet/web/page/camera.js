// The live camera: which there are, a stream of one, and its end.

import { Told } from "./card.js";

const SIZES = [[640, 480], [1280, 720], [1280, 960], [1920, 1080], [2592, 1944], [3840, 2160]];

export class Camera {
  #video;
  #stream = null;
  #frames = 0; // shown so far
  #taken = 0; // of them, when one was last waited for
  #wake = null;

  /** @param {HTMLVideoElement} video shows it @param {() => void} onLost called when it is pulled away */
  constructor(video, onLost) {
    this.#video = video;
    this.onLost = onLost;
  }

  get isOn() {
    return this.#stream !== null;
  }

  /**
   * Switch on, or over to another device or size.
   * @param {{device?: string, size?: number[]}} wanted
   * @throws {Told} refused, none there, busy
   */
  async start({ device, size = [1280, 960] } = {}) {
    if (!navigator.mediaDevices?.getUserMedia) throw new Told("camera_insecure");
    this.stop();
    const [width, height] = size;
    const video = { width: { ideal: width }, height: { ideal: height } };
    if (device) video.deviceId = { exact: device };
    else video.facingMode = { ideal: "environment" }; // on a phone the camera that looks into the eyepiece
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    } catch (error) {
      const keys = { NotAllowedError: "camera_denied", SecurityError: "camera_denied", NotReadableError: "camera_busy", AbortError: "camera_busy" };
      throw new Told(keys[error.name] ?? "camera_none");
    }
    this.#stream = stream;
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => {
      if (this.#stream !== stream) return;
      this.stop();
      this.onLost();
    });
    this.#video.srcObject = stream;
    const count = () => {
      if (this.#stream !== stream) return;
      this.#frames++;
      this.#wake?.();
      this.#video.requestVideoFrameCallback(count);
    };
    this.#video.requestVideoFrameCallback(count);
    await this.#video.play().catch(() => {}); // cut off by `stop`: nothing to show
  }

  /** Wait for a frame that was not waited for yet, at most so long; at once where one came meanwhile. */
  async newFrame(most) {
    if (this.#frames === this.#taken) {
      await Promise.race([new Promise((resolve) => (this.#wake = resolve)), new Promise((resolve) => setTimeout(resolve, most))]);
    }
    this.#taken = this.#frames;
  }

  /** Whether the camera has a light of its own that can be switched. */
  get hasLight() {
    const [track] = this.#stream?.getVideoTracks() ?? [];
    return track?.getCapabilities?.().torch === true;
  }

  /** @throws {Told} the camera would not */
  async light(isOn) {
    const [track] = this.#stream?.getVideoTracks() ?? [];
    try {
      await track.applyConstraints({ advanced: [{ torch: isOn }] });
    } catch {
      throw new Told("light_refused");
    }
  }

  stop() {
    const stream = this.#stream;
    this.#stream = null; // before the tracks end: this end is wanted
    for (const track of stream?.getTracks() ?? []) track.stop();
    this.#video.srcObject = null;
  }

  /** Fill the two lists of choice with what there is. */
  async describe(devices, sizes) {
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
    const settings = this.#stream?.getVideoTracks()[0]?.getSettings() ?? {};
    devices.replaceChildren(
      ...cameras.map((one, i) => new Option(one.label || `${i + 1}`, one.deviceId, false, one.deviceId === settings.deviceId)),
    );
    const now = `${settings.width}x${settings.height}`;
    const all = [...SIZES.map((size) => size.join("x")), now];
    sizes.replaceChildren(
      ...[...new Set(all)].map((size) => new Option(size.replace("x", " × "), size, false, size === now)),
    );
  }
}
