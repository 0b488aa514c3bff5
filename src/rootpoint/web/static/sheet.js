// An explanation as one drawing to take away: what is explained, its relevance as the card shows
// it, and the colour scale.

import { decision, lookOf } from "./card.js";
import { css } from "./colours.js";
import { number, painted, pixelsOf, shown, signed } from "./heatmap.js";
import { barsOf } from "./table.js";
import { shadeOf } from "./text.js";

const WIDTH = 480;
const MARGIN = 24;
const GAP = 16; // between the parts
const SHARPNESS = 2; // pixels of a PNG for each unit of the drawing
const MOST_RECTANGLES = 4096; // beyond which the map is a picture within the drawing
const FONT = "system-ui, sans-serif";
const INK = { light: ["#ffffff", "#1d1c1a", "#66625c"], dark: ["#15161a", "#eceae6", "#a3a09a"] };

// The drawing as SVG.
export async function svg(answer, map, limit, look) {
  const [paper, ink, quiet] = INK[look.dark ? "dark" : "light"];
  const parts = [titled(answer, ink, quiet), await relevant(answer, map, limit, look, ink)];
  if (answer.relevance.kind !== "columns") parts.push(scaled(limit, look, quiet));
  let y = MARGIN;
  const placed = parts.map(([drawn, height]) => {
    const group = `<g transform="translate(${MARGIN} ${y})">${drawn}</g>`;
    y += height + GAP;
    return group;
  });
  const [width, height] = [WIDTH + 2 * MARGIN, Math.ceil(y - GAP + MARGIN)];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"
  viewBox="0 0 ${width} ${height}" font-family="${FONT}">
<title>${escaped(`${answer.method}: ${decision(answer)}`)}</title>
<rect width="${width}" height="${height}" fill="${paper}"/>
${placed.join("\n")}
</svg>
`;
}

// The pixels of an SVG as PNG.
export async function png(drawing) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([drawing], { type: "image/svg+xml" }));
  await image.decode();
  const canvas = new OffscreenCanvas(SHARPNESS * image.width, SHARPNESS * image.height);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return canvas.convertToBlob();
}

// Each part of the drawing is [its SVG, its height], from 0 to WIDTH.

function titled(answer, ink, quiet) {
  const said = `${answer.method.split("(")[0]} · score ${signed(answer.score)} · ${answer.model}`;
  const [first, second] = [fitted(`Why ${decision(answer)}?`, 18), fitted(said, 13)];
  const drawn = `<text y="16" font-size="18" font-weight="600" fill="${ink}"${first}</text>
<text y="38" font-size="13" fill="${quiet}"${second}</text>`;
  return [drawn, 42];
}

async function relevant(answer, map, limit, look, ink) {
  const { relevance } = answer;
  if (relevance.kind === "words") return wordsOf(relevance, limit, look, ink);
  if (relevance.kind === "columns") return columnsOf(relevance, limit, look, ink);
  const { width, height } = map;
  const picture = answer.view && (await pixelsOf(answer.view, width, height));
  const pixels = painted(shown(map, look), limit, lookOf(answer, look), picture);
  const tall = (WIDTH * height) / width;
  const inner =
    width * height <= MOST_RECTANGLES ? rectangles(pixels) : embedded(await pictured(pixels), pixels);
  const box = `width="${WIDTH}" height="${tall}" viewBox="0 0 ${width} ${height}"`;
  return [`<svg ${box} shape-rendering="crispEdges">${inner}</svg>`, tall];
}

function wordsOf({ words, values }, limit, look, ink) {
  const [size, line, pad] = [17, 30, 3];
  let [x, y] = [0, 0];
  const drawn = words.map((word, i) => {
    const wide = Math.min(WIDTH - 2 * pad, widthOf(word, size));
    if (x > 0 && x + wide + 2 * pad > WIDTH) [x, y] = [0, y + line];
    const shade = shadeOf(values[i], limit, look);
    const under = `<rect x="${x}" y="${y}" width="${wide + 2 * pad}" height="24" rx="4"
  fill="${shade?.backgroundColor ?? "none"}"/>`;
    const over = `<text x="${x + pad}" y="${y + 18}" font-size="${size}"
  fill="${shade?.color ?? ink}"${fitted(word, size)}</text>`;
    x += wide + 2 * pad + 3;
    return under + over;
  });
  return [drawn.join("\n"), y + line];
}

function columnsOf(relevance, limit, look, ink) {
  const [line, left, right] = [26, 170, 70];
  const track = WIDTH - left - right;
  const bars = barsOf(relevance, limit, look);
  const drawn = bars.map(({ name, value, share, colour }, i) => {
    const wide = (track / 2) * Math.abs(share);
    const x = left + track / 2 - (share < 0 ? wide : 0);
    const text = `y="${i * line + 17}" font-size="13" fill="${ink}"`;
    return `<text ${text}${fitted(name, 13, left - 12)}</text>
<rect x="${x}" y="${i * line + 4}" width="${wide}" height="18" rx="3" fill="${colour}"/>
<text x="${WIDTH}" text-anchor="end" ${text}>${signed(value)}</text>`;
  });
  return [drawn.join("\n"), bars.length * line];
}

function scaled(limit, look, quiet) {
  const stops = Array.from({ length: 65 }, (_, i) => {
    const colour = css(i / 32 - 1, look.map, look.dark);
    return `<stop offset="${i / 64}" stop-color="${colour}"/>`;
  }).join("");
  const drawn = `<defs><linearGradient id="scale">${stops}</linearGradient></defs>
<rect x="70" y="2" width="${WIDTH - 140}" height="10" rx="5" fill="url(#scale)"/>
<text y="12" font-size="13" fill="${quiet}">−${number(limit)}</text>
<text x="${WIDTH}" y="12" font-size="13" text-anchor="end" fill="${quiet}">+${number(limit)}</text>`;
  return [drawn, 14];
}

// The end of a <text>: set as wide as it is here, and never wider than there is room.
function fitted(text, size, room = WIDTH) {
  const wide = Math.min(room, widthOf(text, size)).toFixed(1);
  return ` textLength="${wide}" lengthAdjust="spacingAndGlyphs">${escaped(text)}`;
}

const pen = new OffscreenCanvas(1, 1).getContext("2d");

function widthOf(text, size) {
  pen.font = `${size === 18 ? 600 : 400} ${size}px ${FONT}`;
  return pen.measureText(text).width;
}

function rectangles({ data, width, height }) {
  return Array.from({ length: width * height }, (_, i) => {
    const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
    const place = `x="${i % width}" y="${Math.floor(i / width)}"`;
    return `<rect ${place} width="1" height="1" fill="rgb(${r},${g},${b})"/>`;
  }).join("");
}

function embedded(url, { width, height }) {
  return `<image width="${width}" height="${height}" href="${url}"/>`;
}

async function pictured(pixels) {
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  const blob = await canvas.convertToBlob();
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  });
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
