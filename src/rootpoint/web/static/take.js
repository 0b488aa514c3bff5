// What a visitor takes away: pictures, numbers, code and a link.

import { html, useState } from "./vendor/preact.js";
import { decision, lookOf } from "./card.js";
import { postForBytes } from "./client.js";
import { painted, pixelsOf, shown } from "./heatmap.js";

const MOST_RECTANGLES = 4096; // of an SVG, beyond which the map is a picture in it
const PNG_SIDE = 448; // pixels that a small map is enlarged to at least

export function Take({ answer, request, map, limit, look, share, own }) {
  const [error, setError] = useState(null);
  if (!answer) return html`<p class="quiet">Nothing is explained yet.</p>`;
  const model = answer.model.split(/[\\/]/).pop().replaceAll(/[^\w.-]+/g, "-");
  const name = `${model}-${answer.method.split("(")[0]}`;
  const offer = (make, type) => async () => {
    try {
      save(await make(), `${name}.${type}`);
      setError(null);
    } catch (problem) {
      setError(problem.message);
    }
  };
  const json = () =>
    new Blob([JSON.stringify({ request, answer }, null, 1)], { type: "application/json" });
  return html`<div class="take">
    <div class="row">
      ${map &&
      html`<button type="button" onClick=${offer(() => png(answer, map, limit, look), "png")}>
          PNG
        </button>
        <button type="button" onClick=${offer(() => svg(answer, map, limit, look), "svg")}>
          SVG
        </button>`}
      <button type="button" onClick=${offer(() => postForBytes("/api/export", request), "npz")}>
        NPZ
      </button>
      <button type="button" onClick=${offer(json, "json")}>JSON</button>
    </div>
    ${error && html`<p role="alert" class="problem">${error}</p>`}
    <${Snippet} title="Python" text=${answer.python} />
    ${answer.command && html`<${Snippet} title="Command line" text=${answer.command} />`}
    <${Snippet} title="Link to this view" text=${share} />
    ${own &&
    html`<p class="quiet">
      Your own photo never becomes part of a link: whoever opens it sees the settings with a sample
      photo.
    </p>`}
  </div>`;
}

function Snippet({ title, text }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return html`<section class="snippet">
    <header class="row">
      <h3>${title}</h3>
      <button type="button" class="push" aria-label=${`Copy: ${title}`} onClick=${copy}>
        ${copied ? "Copied" : "Copy"}
      </button>
      <span role="status" class="unseen">${copied ? `${title} copied` : ""}</span>
    </header>
    <pre tabindex="0"><code>${text}</code></pre>
  </section>`;
}

function save(blob, name) {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(blob);
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
}

async function pixels(answer, map, limit, look) {
  const picture = answer.view && (await pixelsOf(answer.view, map.width, map.height));
  return painted(shown(map, look), limit, lookOf(answer, look), picture);
}

async function png(answer, map, limit, look) {
  const small = new OffscreenCanvas(map.width, map.height);
  small.getContext("2d").putImageData(await pixels(answer, map, limit, look), 0, 0);
  const times = Math.max(1, Math.ceil(PNG_SIDE / map.width));
  if (times === 1) return small.convertToBlob();
  const large = new OffscreenCanvas(times * map.width, times * map.height);
  const pen = large.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, large.width, large.height);
  return large.convertToBlob();
}

async function svg(answer, map, limit, look) {
  const { width, height } = map;
  const few = width * height <= MOST_RECTANGLES;
  const inner = few
    ? rectangles(await pixels(answer, map, limit, look))
    : embedded(await dataUrl(await png(answer, map, limit, look)), width, height);
  const title = escaped(`${answer.method}: ${decision(answer)}`);
  const size = `viewBox="0 0 ${width} ${height}" shape-rendering="crispEdges"`;
  const head = `<svg xmlns="http://www.w3.org/2000/svg" ${size}><title>${title}</title>`;
  return new Blob([head, inner, "</svg>\n"], { type: "image/svg+xml" });
}

function rectangles({ data, width, height }) {
  return Array.from({ length: width * height }, (_, i) => {
    const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
    const place = `x="${i % width}" y="${Math.floor(i / width)}"`;
    return `<rect ${place} width="1" height="1" fill="rgb(${r},${g},${b})"/>`;
  }).join("");
}

function embedded(url, width, height) {
  return `<image width="${width}" height="${height}" href="${url}"/>`;
}

function dataUrl(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  });
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
