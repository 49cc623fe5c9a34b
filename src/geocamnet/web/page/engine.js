// ONNX Runtime in the build that this browser can use: with WebGPU where there is a GPU behind it, plain otherwise.

import { Told } from "./card.js";

const MOST_THREADS = 4; // of a network this small, more only wait for each other
const FILES = {
  plain: ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"],
  gpu: ["ort.jspi.bundle.min.mjs", "ort-wasm-simd-threaded.jspi.wasm"],
};
const cores = navigator.hardwareConcurrency || 1;

/**
 * Start ONNX Runtime.
 * @param {string | null} wanted "webgpu" also where a GPU is played by the processor, "wasm" never; otherwise where there
 *   is a GPU
 * @throws {Told} its code can't be loaded
 * @returns {Promise<{ort: object, build: "plain" | "gpu", threads: number}>}
 */
export async function startEngine(wanted) {
  const build = wanted !== "wasm" && (await hasGpu(wanted === "webgpu")) ? "gpu" : "plain";
  const [code, binary] = FILES[build].map((name) => new URL(`./engine/${name}`, import.meta.url).href);
  const ort = await import(code).catch((error) => {
    throw new Told("engine_failed", { what: String(error?.message ?? error) });
  });
  ort.env.wasm.wasmPaths = { wasm: binary };
  // Half of the cores: threads that wait spin, and the camera, texture and the page itself need the rest. On 2 cores a
  // second thread made every frame slower (measured).
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, Math.ceil(cores / 2)) : 1;
  ort.env.logLevel = "error";
  return { ort, build, threads: ort.env.wasm.numThreads };
}

/** Whether the build with WebGPU can run: it waits for the GPU in the midst of WebAssembly (JSPI; Chrome and Edge 137). */
async function hasGpu(mayBePlayed) {
  if (!("Suspending" in WebAssembly) || !navigator.gpu) return false;
  try {
    const adapter = await navigator.gpu.requestAdapter();
    return adapter !== null && (mayBePlayed || !adapter.info?.isFallbackAdapter);
  } catch {
    return false;
  }
}
