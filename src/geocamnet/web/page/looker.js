// The page's end of the worker: a promise for each question.

import { Told } from "./card.js";

export class Looker {
  #worker;
  #waiting = new Map();
  #next = 0;

  constructor() {
    const at = new URL("./worker.js", import.meta.url);
    at.search = new URL(location.href).search; // ?engine=wasm or ?engine=webgpu
    this.#worker = new Worker(at, { type: "module" });
    this.#worker.addEventListener("message", ({ data }) => {
      const { resolve, reject } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.told) reject(new Told(data.told.key, data.told.values));
      else resolve(data.answer);
    });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      for (const { reject } of this.#waiting.values()) reject(new Told("engine_failed", { what: event.message ?? "" }));
      this.#waiting.clear();
    });
  }

  /** Which ONNX Runtime the browser can use. @returns {{build: "plain" | "gpu", threads: number}} */
  engine() {
    return this.#ask({ kind: "engine" }, []);
  }

  /** Open a model file. @param {ArrayBuffer} content taken over @returns {{card: object}} */
  open(content) {
    return this.#ask({ kind: "open", content }, [content]);
  }

  /** Look at a photograph; see worker.js. The bitmap is taken over and comes back in the answer. */
  look(bitmap, options) {
    return this.#ask({ kind: "look", bitmap, options }, [bitmap]);
  }

  #ask(question, transfer) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, ...question }, transfer);
    });
  }
}
