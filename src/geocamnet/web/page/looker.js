// The page's end of the worker: a promise for each question.

import { Told } from "./card.js";

export class Looker {
  #worker;
  #waiting = new Map();
  #next = 0;

  constructor() {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
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

  /** Open a model file. @param {ArrayBuffer} content taken over @returns {{card: object, threads: number}} */
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
