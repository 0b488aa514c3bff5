// Bytes and base64, and the float16 numbers in them.

export function toBase64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// The numbers that base64 of little-endian float16 stands for, times `scale`.
export function fromFloat16(text, scale = 1) {
  const bytes = fromBase64(text);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) {
    values[i] = scale * float16(bytes[2 * i] | (bytes[2 * i + 1] << 8));
  }
  return values;
}

function float16(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// A mask of bytes as the lengths of its runs, clear and set in turn: short enough for a link.
export function toRuns(bytes) {
  const runs = [];
  let at = 0;
  for (let set = 0; at < bytes.length; set = 255 - set) {
    const from = at;
    while (at < bytes.length && bytes[at] === set) at++;
    runs.push(at - from);
  }
  return runs;
}

export function fromRuns(runs) {
  const bytes = new Uint8Array(runs.reduce((sum, run) => sum + run, 0));
  let at = 0;
  runs.forEach((run, i) => bytes.fill(i % 2 ? 255 : 0, at, (at += run)));
  return bytes;
}
