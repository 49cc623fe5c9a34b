// The card of a model file: found in the ONNX metadata by a walk over its protobuf fields, then checked.

/** An error the user can mend: the key of a sentence in words.js, and what goes into it. */
export class Told extends Error {
  constructor(key, values = {}) {
    super(key);
    this.key = key;
    this.values = values;
  }
}

const CARD_KEY = "geocamnet_card";
const FORMAT = 1;
const METADATA_PROPS = 14; // field of ModelProto; each a StringStringEntryProto { key = 1; value = 2 }
const LENGTH_DELIMITED = 2;

/**
 * Return the card that a model file carries.
 * @param {Uint8Array} content the whole .onnx file
 * @throws {Told} not an ONNX file, no card, or a card that can't be used
 */
export function readCard(content) {
  let text = null;
  try {
    for (const field of fieldsOf(content)) {
      if (field.number !== METADATA_PROPS || field.bytes === null) continue;
      const entry = { 1: "", 2: "" };
      for (const part of fieldsOf(field.bytes)) {
        if (part.bytes !== null) entry[part.number] = new TextDecoder().decode(part.bytes);
      }
      if (entry[1] === CARD_KEY) text = entry[2];
    }
  } catch {
    throw new Told("model_not_onnx");
  }
  if (text === null) throw new Told("model_no_card");
  let card;
  try {
    card = JSON.parse(text);
  } catch {
    throw new Told("model_bad_card", { what: "JSON" });
  }
  return checked(card);
}

/** Yield the fields of a protobuf message: {number, bytes}, bytes null where it is a number. */
function* fieldsOf(content) {
  let at = 0;
  const number = () => {
    // A varint of up to 64 bits; multiplied, for JavaScript shifts 32 bits only.
    let value = 0;
    for (let factor = 1, count = 0; count < 10; factor *= 128, count++) {
      if (at >= content.length) throw new RangeError("cut short");
      const byte = content[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    throw new RangeError("no number");
  };
  while (at < content.length) {
    const tag = number();
    const kind = tag % 8;
    let bytes = null;
    if (kind === LENGTH_DELIMITED) {
      const length = number();
      if (at + length > content.length) throw new RangeError("cut short");
      bytes = content.subarray(at, at + length);
      at += length;
    } else if (kind === 0) {
      number();
    } else if (kind === 1 || kind === 5) {
      at += kind === 1 ? 8 : 4;
    } else {
      throw new RangeError("unknown kind of field");
    }
    if (tag < 8 || at > content.length) throw new RangeError("no field");
    yield { number: Math.floor(tag / 8), bytes };
  }
}

function checked(card) {
  const wrong = (what) => new Told("model_bad_card", { what });
  if (card === null || typeof card !== "object") throw wrong("JSON");
  if (card.format !== FORMAT) throw new Told("model_other_format", { received: String(card.format) });
  const { classes } = card;
  if (!Array.isArray(classes) || classes.length === 0) throw wrong("classes");
  const areNumbers = (list, count) =>
    Array.isArray(list) && list.length === count && list.every((one) => typeof one === "number" && isFinite(one));
  for (const one of classes) {
    if (typeof one?.name !== "string" || typeof one.title !== "string") throw wrong("classes");
    if (!areNumbers(one.colour_rgb, 3)) throw wrong("colour_rgb");
  }
  for (const name of ["map_scale", "class_bias"]) {
    if (!areNumbers(card[name], classes.length)) throw wrong(name);
  }
  if (card.map_scale.some((one) => !(one > 0))) throw wrong("map_scale");
  if (!["single", "multi"].includes(card.labels)) throw wrong("labels");
  if (!(card.map_stride > 0)) throw wrong("map_stride");
  if (card.long_side_px !== null && !(card.long_side_px > 0)) throw wrong("long_side_px");
  const thresholds = card.label_thresholds ?? [];
  if (thresholds.length > 0 && !areNumbers(thresholds, classes.length)) throw wrong("label_thresholds");
  const familiar = card.familiar ?? null;
  if (familiar !== null) {
    const count = familiar.mean?.length;
    const isSquare = familiar.precision?.length === count && familiar.precision.every((row) => areNumbers(row, count));
    if (count !== 13 || !areNumbers(familiar.mean, 13) || !isSquare || !(familiar.limit > 0)) throw wrong("familiar");
  }
  return {
    ...card,
    label_thresholds: thresholds,
    familiar,
    abstain_below: card.abstain_below ?? 0,
    evidence_below: card.evidence_below ?? null,
    texture: { levels: 16, window_px: 15, low: 0, high: 255, ...card.texture },
  };
}
