// The canvas to draw a digit on, by pen, finger, mouse or keys.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { toBase64 } from "./bytes.js";
import { ARROWS, painted, shown } from "./heatmap.js";

const SIDE = 280; // pixels of the canvas
const PEN = 22; // the width of its line
const RUBBER = 34; // of its eraser
const STRIDE = 8; // pixels that an arrow key moves the pen

// A stroke is { points: [x, y, x, y, …], rubs }: pixels of the canvas, and whether it takes ink away.
export const SAMPLES = [
  round(140, 140, 52, 80, -1.57, 4.72),
  [100, 84, 146, 56, 146, 226],
  [...round(140, 104, 50, 48, -2.9, 0.6), 96, 222, 192, 222],
  [...round(134, 98, 46, 42, -2.5, 1.4), ...round(134, 178, 54, 46, -1.5, 2.6)],
  [[158, 58, 88, 174, 198, 174], [162, 116, 162, 228]],
  [[188, 62, 108, 62, 100, 132, ...round(136, 172, 54, 52, -1.7, 2.5)]],
  [172, 62, 116, 118, ...round(138, 172, 46, 50, -2.9, 3.4)],
  [86, 64, 194, 64, 124, 224],
  [...round(140, 96, 42, 38, 1.57, 7.85), ...round(140, 180, 50, 46, -1.57, 4.71)],
  [...round(138, 106, 46, 46, 0, -6.28), 182, 108, 164, 224],
].map((lines) => (Array.isArray(lines[0]) ? lines : [lines]).map((points) => ({ points })));

function round(x, y, rx, ry, from, to) {
  return Array.from({ length: 25 }, (_, i) => {
    const angle = from + ((to - from) * i) / 24;
    return [Math.round(x + rx * Math.cos(angle)), Math.round(y + ry * Math.sin(angle))];
  }).flat();
}

// The drawing as the server reads it: grey bytes, ink bright.
export function inkOf(strokes) {
  const pen = new OffscreenCanvas(SIDE, SIDE).getContext("2d", { willReadFrequently: true });
  trace(pen, strokes);
  const { data } = pen.getImageData(0, 0, SIDE, SIDE);
  const grey = new Uint8Array(SIDE * SIDE);
  for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i + 3];
  return { kind: "drawing", width: SIDE, height: SIDE, data: toBase64(grey) };
}

function trace(pen, strokes) {
  pen.lineCap = pen.lineJoin = "round";
  for (const { points, rubs } of strokes) {
    pen.lineWidth = rubs ? RUBBER : PEN;
    pen.globalCompositeOperation = rubs ? "destination-out" : "source-over";
    pen.beginPath();
    pen.moveTo(points[0], points[1]);
    if (points.length === 2) pen.lineTo(points[0] + 0.01, points[1]);
    for (let i = 2; i < points.length; i += 2) pen.lineTo(points[i], points[i + 1]);
    pen.stroke();
  }
}

// `strokes` and what they become; `heat` is the first card's map to lay over them.
export function Drawing({ strokes, onChange, heat, look }) {
  const ink = useRef();
  const stage = useRef();
  const pen = useRef(null); // the stroke under way
  const [rubs, setRubs] = useState(false);
  const [cursor, setCursor] = useState({ x: 140, y: 140, down: false, shown: false });

  useEffect(() => {
    const context = ink.current.getContext("2d");
    context.clearRect(0, 0, SIDE, SIDE);
    trace(context, strokes);
  }, [strokes]);

  const place = (event) => {
    const box = stage.current.getBoundingClientRect();
    const scale = SIDE / box.width;
    return [event.clientX - box.left, event.clientY - box.top].map((v) => Math.round(v * scale));
  };
  const begin = (event) => {
    if (event.button > 0) return;
    stage.current.setPointerCapture(event.pointerId);
    pen.current = { points: place(event), rubs };
    onChange([...strokes, pen.current]);
  };
  const move = (event) => {
    if (!pen.current) return;
    const points = (event.getCoalescedEvents?.() ?? []).concat(event).flatMap(place);
    pen.current = longer(pen.current, points);
    onChange([...strokes.slice(0, -1), pen.current]);
  };
  const press = (event) => {
    if (event.key === " ") {
      event.preventDefault();
      const down = !cursor.down;
      setCursor({ ...cursor, down, shown: true });
      if (down) onChange([...strokes, { points: [cursor.x, cursor.y], rubs }]);
      return;
    }
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    const x = Math.max(0, Math.min(SIDE, cursor.x + STRIDE * dx));
    const y = Math.max(0, Math.min(SIDE, cursor.y + STRIDE * dy));
    setCursor({ ...cursor, x, y, shown: true });
    if (!cursor.down || !strokes.length) return;
    onChange([...strokes.slice(0, -1), longer(strokes.at(-1), [x, y])]);
  };
  return html`<section aria-labelledby="draw-title">
    <h2 id="draw-title">Draw a digit</h2>
    <div class="paper" ref=${stage} tabindex="0" role="application" id="drawing"
      aria-label="Drawing area. Arrow keys move the pen, space lowers and lifts it."
      onPointerDown=${begin} onPointerMove=${move} onPointerUp=${() => (pen.current = null)}
      onPointerCancel=${() => (pen.current = null)} onKeyDown=${press}
      onBlur=${() => setCursor({ ...cursor, down: false, shown: false })}>
      <canvas ref=${ink} class="ink" width=${SIDE} height=${SIDE} aria-hidden="true"></canvas>
      <${Overlay} heat=${strokes.length ? heat : null} look=${look} />
      ${cursor.shown &&
      html`<svg class="cursor" viewBox="0 0 280 280" aria-hidden="true">
        <circle cx=${cursor.x} cy=${cursor.y} r=${(rubs ? RUBBER : PEN) / 2} class=${cursor.down ? "down" : ""} />
      </svg>`}
      ${!strokes.length && html`<p class="hint">Draw here</p>`}
    </div>
    <div class="row">
      <button type="button" onClick=${() => (setRubs(false), onChange([]))}>Clear</button>
      <button type="button" disabled=${!strokes.length}
        onClick=${() => onChange(strokes.slice(0, -1))}>Undo</button>
      <button type="button" aria-pressed=${rubs} onClick=${() => setRubs(!rubs)}>Erase</button>
      <span class="quiet push">Keys: arrows, space</span>
    </div>
    <div class="digits" role="group" aria-label="Digits drawn before">
      ${SAMPLES.map(
        (sample, digit) => html`<button type="button" class="digit" title=${`Draw ${digit}`}
          aria-label=${`Draw ${digit}`} onClick=${() => onChange(sample)}>
          <svg viewBox="40 30 200 220" aria-hidden="true">
            ${sample.map(({ points }) => html`<polyline points=${points.join(" ")} />`)}
          </svg>
        </button>`,
      )}
    </div>
  </section>`;
}

function longer({ points, rubs }, more) {
  return { points: [...points, ...more], rubs };
}

// The heatmap where the network saw the drawing, clear where nothing is relevant.
function Overlay({ heat, look }) {
  const canvas = useRef();
  useEffect(() => {
    const context = canvas.current.getContext("2d");
    context.clearRect(0, 0, SIDE, SIDE);
    if (!heat?.box) return;
    const [left, top, right, bottom] = heat.box;
    const map = shown(heat.map, look);
    const image = painted(map, heat.limit, look, null);
    map.values.forEach((value, i) => {
      const share = Math.abs(value) / heat.limit;
      image.data[4 * i + 3] = share < look.threshold ? 0 : 255 * Math.min(1, share * 2);
    });
    const small = new OffscreenCanvas(map.width, map.height);
    small.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(small, left, top, right - left, bottom - top);
    canvas.current.dataset.painted = String(performance.now());
  }, [heat, look]);
  return html`<canvas ref=${canvas} class="overlay" width=${SIDE} height=${SIDE}
    aria-hidden="true"></canvas>`;
}
