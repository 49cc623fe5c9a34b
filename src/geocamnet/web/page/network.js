// A model file, run on the processor, or on the GPU where that is faster on this machine and says the same.

import { Told } from "./card.js";

const TIMED_RUNS = 5;
const LONGEST_WARM_UP_MS = 20_000; // a GPU that is played by the processor would hold up the camera
const CLEARLY_FASTER = 0.9;
const TOLERANCE = 1e-3; // of probabilities, and of class maps in units of their own scale
// Measured against the processor's answers. Two things the GPU's part of ONNX Runtime 1.30 can't: shrink without
// aliasing, and lay such a graph out anew.
const ON_GPU = { name: "webgpu", preferredLayout: "NCHW", forceCpuNodeNames: ["resize"] };

export class Network {
  #ort;
  #bytes;
  #plain;
  #gpu = null;
  #timed = null;

  /** Open a model file. @throws {Told} it is none, or none of ours */
  static async open(ort, card, bytes) {
    const one = new Network();
    Object.assign(one, { card });
    [one.#ort, one.#bytes] = [ort, bytes];
    try {
      one.#plain = await one.#session("wasm");
    } catch (error) {
      throw new Told("model_not_opened", { what: firstLine(error) });
    }
    const outputs = ["probabilities", "class_maps"];
    try {
      const { inputNames, outputNames } = one.#plain;
      if (inputNames.join() !== "image" || !outputs.every((name) => outputNames.includes(name))) throw new Told("model_other_contract");
      await one.run(new Uint8Array(3 * 64 * 64).fill(128), 64, 64); // also warms it up
    } catch (error) {
      await one.close();
      throw error instanceof Told ? error : new Told("model_other_contract");
    }
    return one;
  }

  /** Where it runs: "webgpu" or "wasm"; and milliseconds of either, where they were compared. */
  get runsOn() {
    return { engine: this.#gpu ? "webgpu" : "wasm", timed: this.#timed };
  }

  /** @param {Uint8Array} rgb height * width * 3 @returns probabilities, and class maps with their height and width */
  async run(rgb, height, width) {
    if (this.#gpu) {
      try {
        return await this.#runOn(this.#gpu, rgb, height, width);
      } catch {
        this.#gpu = null; // a GPU can be lost: the driver restarted, the laptop slept
      }
    }
    return this.#runOn(this.#plain, rgb, height, width);
  }

  /**
   * Try the GPU on a photograph, and keep to it if it says the same, faster.
   * @param {boolean} whateverItTakes keep to it even if it is slower
   */
  async tryGpu(rgb, height, width, whateverItTakes) {
    let gpu = null;
    try {
      gpu = await this.#session(ON_GPU);
      const expected = await this.#runOn(this.#plain, rgb, height, width);
      const began = performance.now();
      const found = await this.#runOn(gpu, rgb, height, width); // shaders are compiled here
      if (!agree(expected, found)) throw new Error("WebGPU gives other numbers");
      if (!whateverItTakes) {
        if (performance.now() - began > LONGEST_WARM_UP_MS) throw new Error("WebGPU is slow");
        const times = { webgpu: [], wasm: [] };
        for (let i = 0; i < TIMED_RUNS; i++) {
          for (const [name, session] of [["webgpu", gpu], ["wasm", this.#plain]]) {
            const started = performance.now();
            await this.#runOn(session, rgb, height, width);
            times[name].push(performance.now() - started);
          }
        }
        this.#timed = { webgpu: median(times.webgpu), wasm: median(times.wasm) };
        if (this.#timed.webgpu > CLEARLY_FASTER * this.#timed.wasm) throw new Error("WebGPU is not faster");
      }
      this.#gpu = gpu;
    } catch {
      await gpu?.release().catch(() => {});
    }
    this.#bytes = null;
  }

  async close() {
    for (const one of [this.#plain, this.#gpu]) await one?.release().catch(() => {});
  }

  #session(provider) {
    // Only what is fatal is logged: its errors are raised, and told in our words.
    return this.#ort.InferenceSession.create(this.#bytes, { executionProviders: [provider], logSeverityLevel: 4 });
  }

  async #runOn(session, rgb, height, width) {
    const image = new this.#ort.Tensor("uint8", rgb, [1, height, width, 3]);
    const found = await session.run({ image });
    const [given, cells] = [found.probabilities, found.class_maps];
    const count = this.card.classes.length;
    if (given.dims[1] !== count || cells.dims.length !== 4 || cells.dims[1] !== count) throw new Told("model_other_contract");
    const maps = { values: cells.data, height: cells.dims[2], width: cells.dims[3] };
    if (!given.data.every(isFinite) || !maps.values.every(isFinite)) throw new Told("model_not_finite");
    return { probabilities: given.data, maps };
  }
}

function agree(one, other) {
  const differ = (a, b) => a.length !== b.length || a.some((value, i) => !(Math.abs(value - b[i]) <= TOLERANCE));
  const scale = one.maps.values.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  return !differ(one.probabilities, other.probabilities) && !differ(one.maps.values.map((v) => v / scale), other.maps.values.map((v) => v / scale));
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function firstLine(error) {
  return String(error?.message ?? error).split("\n")[0].slice(0, 200);
}
