// The view as a link: what is after the # of the address, and nothing on the server.

import { tokenPart } from "./client.js";
import { isLook } from "./look.js";

const MOST_ERASED = 2 ** 24; // pixels of a mask

// The view that the address names; null where it names none that this page could have written.
export function read() {
  const text = new URLSearchParams(location.hash.slice(1)).get("view");
  if (!text) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) =>
      letter.charCodeAt(0),
    );
    const view = JSON.parse(new TextDecoder().decode(bytes));
    return Object.entries(view).every(([name, value]) => SHAPES[name]?.(value)) ? view : null;
  } catch {
    return null; // of another version, or cut off
  }
}

const isText = (value) => typeof value === "string";
const isCount = (value) => Number.isInteger(value) && value >= 0;
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const listOf = (test) => (value) => Array.isArray(value) && value.every(test);
const isPair = (value) => listOf(isCount)(value) && value.length === 2;
const isPlain = (value) => value === null || typeof value !== "object";

// What each part of a view must be.
const SHAPES = {
  kind: isText,
  chosen: (value) => isObject(value) && Object.values(value).every(isText),
  target: (value) => value === "predicted" || isCount(value) || isPair(value),
  look: isLook,
  strokes: listOf((stroke) => listOf(Number.isFinite)(stroke?.points) && stroke.points.length > 1),
  text: isText,
  row: listOf(isPlain),
  input: (value) => value?.kind === "sample" && isText(value.name),
  erased: (runs) => listOf(isCount)(runs) && runs.reduce((a, b) => a + b, 0) <= MOST_ERASED,
  cards: listOf((card) => isText(card?.method) && isObject(card.parameters) && isObject(card.rules)),
};

export function write(state) {
  history.replaceState(null, "", `#${tokenPart()}view=${packed(state)}`);
}

// The link to give away: without the token.
export function link(state) {
  return `${location.origin}${location.pathname}#view=${packed(state)}`;
}

function packed(state) {
  const bytes = new TextEncoder().encode(JSON.stringify(state));
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
