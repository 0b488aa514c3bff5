// A photo to drop, paste, upload or pick; and the brush that erases parts of it.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { fromBase64, toBase64 } from "./bytes.js";
import { address } from "./client.js";
import { ARROWS } from "./heatmap.js";

const MOST = 12e6; // bytes of a file that the server reads
const READ = ["image/png", "image/jpeg", "image/webp"];
const BRUSH = 0.06; // radius, as a share of the picture's side

// The file as the server reads it; raises an Error that says what to choose instead.
export async function inputOf(file) {
  if (!READ.includes(file.type)) throw new Error("Choose a PNG, JPEG or WebP photo.");
  if (file.size > MOST) throw new Error("The photo is larger than 12 MB: save it smaller.");
  return { kind: "photo", data: toBase64(new Uint8Array(await file.arrayBuffer())) };
}

export function PhotoInput({ model, input, view, erased, onInput, onErase }) {
  const [said, setSaid] = useState("");
  const [over, setOver] = useState(false);
  const take = async (file) => {
    if (!file) return;
    try {
      onInput(await inputOf(file));
      setSaid("");
    } catch (error) {
      setSaid(error.message);
    }
  };
  useEffect(() => {
    const paste = (event) => {
      const [file] = event.clipboardData?.files ?? [];
      if (file) take(file);
    };
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  });
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files[0]);
  };
  return html`<section aria-labelledby="photo-title" class=${over ? "over" : ""} onDrop=${drop}
    onDragOver=${(event) => (event.preventDefault(), setOver(true))}
    onDragLeave=${() => setOver(false)} id="photo">
    <h2 id="photo-title">Choose a photo</h2>
    <${Eraser} view=${view} size=${model.size} erased=${erased} onErase=${onErase} />
    <label class="upload">
      <input type="file" id="file" accept=${READ.join()}
        onChange=${(event) => take(event.target.files[0])} />
      <span>Drop, paste or <u>upload</u> a photo</span>
    </label>
    <p role="alert" class="problem">${said}</p>
    <div class="thumbs" role="group" aria-label="Sample photos">
      ${model.samples.map(
        (sample) => html`<button type="button" key=${sample.name}
          aria-pressed=${input?.name === sample.name}
          onClick=${() => onInput({ kind: "sample", name: sample.name })}>
          <${Thumb} sample=${sample} />
        </button>`,
      )}
    </div>
  </section>`;
}

function Thumb({ sample }) {
  const [source, setSource] = useState(null);
  useEffect(() => {
    address(sample.url).then(setSource, () => {});
  }, [sample.url]);
  return html`<img src=${source} alt=${sample.title ?? sample.name} />`;
}

// What the network sees, and a brush on it: `erased` is a mask of size × size bytes in base64.
export function Eraser({ view, size, erased, onErase }) {
  const veil = useRef();
  const mask = useRef(null); // bytes, while something is erased
  const brushing = useRef(null); // where the brush was last, while it is down
  const [cursor, setCursor] = useState(null);

  useEffect(() => {
    if (brushing.current) return;
    mask.current = erased ? fromBase64(erased) : null;
    draw();
  }, [erased]);

  function draw() {
    const image = new ImageData(size, size);
    mask.current?.forEach((byte, i) => byte && image.data.set([128, 128, 128, 200], 4 * i));
    veil.current.getContext("2d").putImageData(image, 0, 0);
  }
  const dab = (bytes, x, y) => {
    const radius = BRUSH * size;
    for (let row = Math.max(0, Math.ceil(y - radius)); row < Math.min(size, y + radius); row++) {
      const half = Math.sqrt(Math.max(0, radius ** 2 - (row - y) ** 2));
      const from = Math.max(0, Math.round(x - half));
      bytes.fill(255, row * size + from, row * size + Math.min(size, Math.round(x + half) + 1));
    }
  };
  const rub = (x, y, from = { x, y }) => {
    mask.current ??= new Uint8Array(size * size);
    const dabs = Math.ceil(Math.hypot(x - from.x, y - from.y) / (0.5 * BRUSH * size)) || 1;
    for (let i = 1; i <= dabs; i++) {
      dab(mask.current, from.x + ((x - from.x) * i) / dabs, from.y + ((y - from.y) * i) / dabs);
    }
    draw();
    onErase(toBase64(mask.current));
  };
  const point = (event) => {
    const box = veil.current.getBoundingClientRect();
    const scale = size / box.width;
    const to = { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
    rub(to.x, to.y, brushing.current ?? to);
    brushing.current = to;
  };
  const begin = (event) => {
    if (!view || event.button > 0) return;
    veil.current.setPointerCapture(event.pointerId);
    point(event);
  };
  const press = (event) => {
    const at = cursor ?? { x: size / 2, y: size / 2 };
    if (event.key === " ") rub(at.x, at.y);
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    if (event.key !== " " && !dx && !dy) return;
    event.preventDefault();
    const step = size * BRUSH * 0.75;
    const kept = (v) => Math.max(0, Math.min(size, v));
    setCursor({ x: kept(at.x + step * dx), y: kept(at.y + step * dy) });
  };
  return html`<div class="eraser">
    <div class="seen">
      ${view
        ? html`<img src=${`data:image/png;base64,${view}`} alt="What the network sees" />`
        : html`<p class="hint">Drop a photo here</p>`}
      <canvas ref=${veil} width=${size} height=${size} tabindex="0" id="eraser"
        role="application" onPointerDown=${begin}
        aria-label="Eraser. Arrow keys move the brush, space erases."
        onPointerMove=${(event) => brushing.current && point(event)}
        onPointerUp=${() => (brushing.current = null)}
        onPointerCancel=${() => (brushing.current = null)}
        onKeyDown=${press} onBlur=${() => setCursor(null)}></canvas>
      ${cursor &&
      html`<svg class="cursor" viewBox=${`0 0 ${size} ${size}`} aria-hidden="true">
        <circle cx=${cursor.x} cy=${cursor.y} r=${BRUSH * size} />
      </svg>`}
    </div>
    <div class="row">
      <span class="quiet">Brush over it to erase</span>
      <button type="button" class="push" disabled=${!erased}
        onClick=${() => ((brushing.current = null), onErase(null))}>Restore</button>
    </div>
  </div>`;
}
