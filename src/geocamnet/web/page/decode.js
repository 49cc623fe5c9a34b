// A file becomes pixels that the network can be shown.

import { Told } from "./card.js";

export const MOST_PIXELS = 16e6; // of a photograph inside the browser; a larger one is shrunk, and that is said

/**
 * @param {File} file
 * @param {object | null} card of the model that is to see it
 * @returns {Promise<{bitmap: ImageBitmap, shrunkFrom: number, shrunkBy: number}>} shrunkFrom: pixels that it had, 0 where it
 *   is whole; shrunkBy: how many of them one of the bitmap is wide
 * @throws {Told} no photograph, or too narrow for the network
 */
export async function decode(file, card) {
  let bitmap;
  try {
    const how = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
    bitmap = await createImageBitmap(file, how);
  } catch {
    throw new Told("not_image");
  }
  const { width, height } = bitmap;
  const longSide = card?.long_side_px;
  if (longSide && Math.min(width, height) * longSide < Math.max(width, height)) throw new Told("narrow");
  if (width * height <= MOST_PIXELS) return { bitmap, shrunkFrom: 0, shrunkBy: 1 };
  const factor = Math.sqrt(MOST_PIXELS / (width * height));
  const size = { resizeWidth: Math.floor(width * factor), resizeHeight: Math.floor(height * factor), resizeQuality: "high" };
  const shrunk = await createImageBitmap(bitmap, size);
  bitmap.close();
  const shrunkBy = Math.max(width, height) / Math.max(shrunk.width, shrunk.height); // the long side is rounded least
  return { bitmap: shrunk, shrunkFrom: width * height, shrunkBy };
}
