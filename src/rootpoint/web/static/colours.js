// The colour scale of rootpoint.visualize.colors: blue against, red in favour, the same lightness
// at the same magnitude. In dark mode zero is dark and lightness rises from there.

const STEPS = 256; // shades on each side of zero
const MAGNITUDE = [0, 0.25, 0.5, 0.75, 1];
const LIGHTNESS = { light: [0.98, 0.83, 0.68, 0.53, 0.38], dark: [0.2, 0.36, 0.5, 0.65, 0.8] };
const CHROMA = {
  negative: [0, 0.085, 0.15, 0.165, 0.13],
  positive: [0, 0.095, 0.175, 0.19, 0.145],
};

export const MAPS = {
  "red-blue": { title: "Red and blue", negative: 255, positive: 27, chroma: 1 },
  "orange-purple": { title: "Orange and purple", negative: 300, positive: 62, chroma: 0.8 },
  "green-pink": { title: "Green and pink", negative: 155, positive: 355, chroma: 0.75 },
};

const made = new Map();

// The shades from -1 to 1 as RGB bytes, 3 × 513.
export function shades(map, dark) {
  const key = `${map} ${dark}`;
  if (!made.has(key)) made.set(key, derived(MAPS[map], dark ? "dark" : "light"));
  return made.get(key);
}

export function shadeAt(value) {
  return 3 * (STEPS + Math.round(Math.max(-1, Math.min(1, value)) * STEPS));
}

// The colour of a value in [-1, 1] as CSS names it.
export function css(value, map, dark) {
  const scale = shades(map, dark);
  const at = shadeAt(value);
  return `rgb(${scale[at]} ${scale[at + 1]} ${scale[at + 2]})`;
}

// Black or white, whichever has the higher contrast with the colour of a value (WCAG 2).
export function inkOn(value, map, dark) {
  const at = shadeAt(value);
  const [r, g, b] = [...shades(map, dark).subarray(at, at + 3)].map((byte) => linear(byte / 255));
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return luminance > 0.1791 ? "#000" : "#fff"; // where both have the ratio 4.58
}

function linear(share) {
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
}

function derived(map, theme) {
  const scale = new Uint8ClampedArray(3 * (2 * STEPS + 1));
  for (let i = -STEPS; i <= STEPS; i++) {
    const side = i < 0 ? "negative" : "positive";
    const magnitude = Math.abs(i) / STEPS;
    const hue = (map[side] * Math.PI) / 180;
    const chroma = map.chroma * between(CHROMA[side], magnitude);
    const lab = [
      between(LIGHTNESS[theme], magnitude),
      chroma * Math.cos(hue),
      chroma * Math.sin(hue),
    ];
    scale.set(rgb(lab).map(evenly), 3 * (STEPS + i));
  }
  return scale;
}

function between(values, magnitude) {
  const k = Math.min(MAGNITUDE.length - 2, Math.floor(magnitude * 4));
  const share = (magnitude - MAGNITUDE[k]) * 4;
  return values[k] + share * (values[k + 1] - values[k]);
}

function rgb([l, a, b]) {
  const [x, y, z] = [
    l + 0.3963377774 * a + 0.2158037573 * b,
    l - 0.1055613458 * a - 0.0638541728 * b,
    l - 0.0894841775 * a - 1.291485548 * b,
  ].map((v) => v ** 3);
  return [
    4.0767416621 * x - 3.3077115913 * y + 0.2309699292 * z,
    -1.2684380046 * x + 2.6097574011 * y - 0.3413193965 * z,
    -0.0041960863 * x - 0.7034186147 * y + 1.707614701 * z,
  ].map(gamma);
}

function gamma(linear) {
  const v = Math.max(0, Math.min(1, linear));
  return v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055;
}

// Rounds halves to even, as numpy does.
function evenly(share) {
  const value = share * 255;
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}
