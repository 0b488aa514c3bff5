// Relevance on a canvas: smoothing, sign, threshold, colours over the picture, and what is where.

import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { fromFloat16 } from "./bytes.js";
import { css, shadeAt, shades } from "./colours.js";

const FULL_COLOUR = 0.995; // share of the places that are not clipped, as colour_limit() has it

// A map as sent, with its numbers read.
export function decoded({ data, relevance, scale, height, width }) {
  return { height, width, values: fromFloat16(data ?? relevance, scale ?? 1) };
}

// The map as it is shown: smoothed, without what is of the other sign.
export function shown(map, { smoothing, sign }) {
  let values = smoothing > 0 ? smoothed(map, smoothing) : map.values;
  if (sign === "for") values = values.map((v) => Math.max(0, v));
  if (sign === "against") values = values.map((v) => Math.min(0, v));
  return { ...map, values };
}

// The value that has the full colour.
export function colourLimit(values) {
  const sorted = Float32Array.from(values, Math.abs).sort();
  const last = sorted[sorted.length - 1];
  return sorted[Math.floor(FULL_COLOUR * (sorted.length - 1))] || last || 1;
}

// A Gaussian of `sigma` pixels, one side after the other; beyond the edge is as at the edge.
function smoothed({ values, height, width }, sigma) {
  const reach = Math.ceil(3 * sigma);
  const weights = Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)),
  );
  const total = weights.reduce((a, b) => a + b);
  const along = (from, count, step, start) => (at, line) => {
    let sum = 0;
    for (let i = -reach; i <= reach; i++) {
      const k = Math.max(0, Math.min(count - 1, at + i));
      sum += weights[i + reach] * from[start(line) + k * step];
    }
    return sum / total;
  };
  const rows = along(values, width, 1, (y) => y * width);
  const once = values.map((_, i) => rows(i % width, Math.floor(i / width)));
  const columns = along(once, height, width, (x) => x);
  return once.map((_, i) => columns(Math.floor(i / width), i % width));
}

// The map's pixels as RGBA, over the picture's where there is one of the same size.
export function painted(map, limit, look, picture) {
  const { values, width, height } = map;
  const scale = shades(look.map, look.dark);
  const image = new ImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const share = values[i] / limit;
    const kept = Math.abs(share) < look.threshold ? 0 : share;
    const under = picture && picture.data.subarray(4 * i, 4 * i + 3);
    const pixel = look.grey && under ? focused(kept, under) : mixed(kept, under, scale, look);
    image.data.set([...pixel, 255], 4 * i);
  }
  return image;
}

// Drawings are shown as ink on paper: `look.paper` turns their greys around.
function mixed(share, under, scale, { opacity, paper }) {
  const at = shadeAt(share);
  const colour = scale.subarray(at, at + 3);
  if (!under) return colour;
  const grey = paper ? 255 - luma(under) : luma(under);
  return [0, 1, 2].map((c) => opacity * colour[c] + (1 - opacity) * grey);
}

// The picture's own colours where it is relevant, pale grey elsewhere.
function focused(share, under) {
  const weight = Math.min(1, Math.abs(share) * 1.5);
  const grey = 0.35 * luma(under) + 0.65 * 190;
  return [0, 1, 2].map((c) => weight * under[c] + (1 - weight) * grey);
}

function luma([r, g, b]) {
  return 0.299 * r + 0.587 * g + 0.114 * b;
}

// The pixels of a PNG in base64, at the map's size.
export async function pixelsOf(view, width, height) {
  const image = new Image();
  image.src = `data:image/png;base64,${view}`;
  await image.decode();
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height);
}

// A map with a legend; the pointer or the arrow keys read a value.
export function Heatmap({ map, limit, look, view, label }) {
  const canvas = useRef();
  const [picture, setPicture] = useState(null);
  const [place, setPlace] = useState(null);
  const processed = useMemo(() => shown(map, look), [map, look.smoothing, look.sign]);

  useEffect(() => {
    let current = true;
    if (!view) setPicture(null);
    else pixelsOf(view, map.width, map.height).then((p) => current && setPicture(p));
    return () => (current = false);
  }, [view, map.width, map.height]);

  useEffect(() => {
    const fits = picture?.width === map.width && picture?.height === map.height;
    const image = painted(processed, limit, look, fits ? picture : null);
    canvas.current.getContext("2d").putImageData(image, 0, 0);
    canvas.current.dataset.painted = String(performance.now());
  }, [processed, limit, look, picture]);

  const read = (x, y) =>
    setPlace({
      x: Math.max(0, Math.min(map.width - 1, x)),
      y: Math.max(0, Math.min(map.height - 1, y)),
    });
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const share = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    read(Math.floor(share[0] * map.width), Math.floor(share[1] * map.height));
  };
  const press = (event) => {
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    const from = place ?? { x: map.width >> 1, y: map.height >> 1 };
    read(from.x + dx, from.y + dy);
  };
  const value = place && processed.values[place.y * map.width + place.x];
  return html`<figure class="heatmap">
    <canvas ref=${canvas} class=${map.width <= 64 ? "pixels" : ""} width=${map.width}
      height=${map.height} tabindex="0" role="img"
      aria-label=${`${label}. Arrow keys read single values.`} onPointerMove=${point}
      onPointerLeave=${() => setPlace(null)} onKeyDown=${press}></canvas>
    <figcaption>
      <${Legend} limit=${limit} look=${look} />
      <p class="place" aria-live="polite">
        ${place ? `row ${place.y}, column ${place.x}: ${signed(value)}` : "\u00a0"}
      </p>
    </figcaption>
  </figure>`;
}

export const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

// The colour scale, with what its ends stand for.
export function Legend({ limit, look }) {
  const canvas = useRef();
  useEffect(() => {
    const pen = canvas.current.getContext("2d");
    for (let x = 0; x < 128; x++) {
      pen.fillStyle = css((2 * x) / 127 - 1, look.map, look.dark);
      pen.fillRect(x, 0, 1, 1);
    }
  }, [look.map, look.dark]);
  return html`<div class="legend">
    <span>−${number(limit)}</span>
    <canvas ref=${canvas} width="128" height="1" aria-hidden="true"></canvas>
    <span>+${number(limit)}</span>
  </div>`;
}

export function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e4 || size < 1e-3 ? value.toExponential(1) : value.toPrecision(3);
  return text.replace("-", "−");
}

export function signed(value) {
  return value > 0 ? `+${number(value)}` : number(value);
}
