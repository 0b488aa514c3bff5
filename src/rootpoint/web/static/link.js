// The view as a link: what is after the # of the address, and nothing on the server.

import { tokenPart } from "./client.js";

export function read() {
  const text = new URLSearchParams(location.hash.slice(1)).get("view");
  if (!text) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) =>
      letter.charCodeAt(0),
    );
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null; // of another version, or cut off
  }
}

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
