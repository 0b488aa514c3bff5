// What a visitor takes away: pictures, numbers, code and a link.

import { html, useState } from "./vendor/preact.js";
import { postForBytes } from "./client.js";
import { png, svg } from "./sheet.js";

const TYPES = {
  png: "image/png",
  svg: "image/svg+xml",
  npz: "application/octet-stream",
  json: "application/json",
};

// Browsers keep the clipboard from pages of other machines that come without TLS.
const CAN_COPY = Boolean(navigator.clipboard);

export function Take({ answer, request, map, limit, look, share, own }) {
  const [error, setError] = useState(null);
  if (!answer) return html`<p class="quiet">Nothing is explained yet.</p>`;
  const model = answer.model.split(/[\\/]/).pop().replaceAll(/[^\w.-]+/g, "-");
  const name = `${model}-${answer.method.split("(")[0]}`;
  const offer = (make, type) => async () => {
    try {
      save(new Blob([await make()], { type: TYPES[type] }), `${name}.${type}`);
      setError(null);
    } catch (problem) {
      setError(problem.message);
    }
  };
  const drawing = () => svg(answer, map, limit, look);
  const json = () => JSON.stringify({ request, answer }, null, 1);
  return html`<div class="take">
    <div class="row">
      <button type="button" onClick=${offer(async () => png(await drawing()), "png")}>PNG</button>
      <button type="button" onClick=${offer(drawing, "svg")}>SVG</button>
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
      ${CAN_COPY &&
      html`<button type="button" class="push" aria-label=${`Copy: ${title}`} onClick=${copy}>
        ${copied ? "Copied" : "Copy"}
      </button>`}
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
