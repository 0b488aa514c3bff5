// Does the heatmap tell the truth? The score while what is relevant goes, for all cards.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { postForLines } from "./client.js";
import { number } from "./heatmap.js";

const STEPS = 20;
const HEIGHT = 300;
const MARGIN = { left: 56, right: 24, top: 14, bottom: 40 };
const EMPTY = [0, 0.25, 0.5, 0.75, 1]; // ticks before there is a score
const PARTS = {
  digits: ["Squares of the drawing become paper", "drawing"],
  image: ["Squares of the photo take its mean colour", "photo"],
  text: ["Words are deleted", "words"],
  table: ["Columns take their usual value", "columns"],
};
const ORDERS = {
  morf: "Most relevant first",
  lerf: "Least relevant first",
};

export function Challenge({ kind, requests, names }) {
  const [order, setOrder] = useState("morf");
  const [curves, setCurves] = useState([]);
  const [phase, setPhase] = useState("idle");
  const [error, setError] = useState(null);
  const running = useRef(null);
  const asked = JSON.stringify(requests);
  useEffect(() => {
    setCurves([]);
    setPhase("idle");
    return () => running.current?.abort();
  }, [asked, order]);

  const run = async () => {
    running.current?.abort();
    const controller = new AbortController();
    running.current = controller;
    const points = requests.map(() => []);
    setPhase("running");
    setError(null);
    const body = { requests, steps: STEPS, order };
    try {
      for await (const line of postForLines("/api/curve", body, controller.signal)) {
        if (line.event === "point") points[line.card][line.step] = [line.gone, line.score];
        setCurves(points.map((one) => [...one]));
      }
      setPhase("done");
    } catch (problem) {
      if (problem.name === "AbortError") return;
      setError(problem.message);
      setPhase("idle");
    }
  };
  return html`<div class="challenge">
    <p>
      ${PARTS[kind][0]}, in the order of their relevance. Where the explanation is right, the score
      falls at once when the most relevant go first, and holds when they go last.
    </p>
    <div class="row">
      <label class="field inline">
        <span>Order</span>
        <select id="order" value=${order} onChange=${(event) => setOrder(event.target.value)}>
          ${Object.entries(ORDERS).map(([k, text]) => html`<option value=${k}>${text}</option>`)}
        </select>
      </label>
      <button type="button" id="flip" class="main" disabled=${!requests.length}
        onClick=${phase === "running" ? () => (running.current.abort(), setPhase("idle")) : run}>
        ${phase === "running" ? "Stop" : "Draw the curves"}
      </button>
      <span class="quiet" role="status" id="flip-state">
        ${phase === "running" ? "Computing …" : phase === "done" ? "Complete." : ""}
      </span>
    </div>
    ${error && html`<p role="alert" class="problem">${error}</p>`}
    <${Chart} curves=${curves} names=${names} of=${PARTS[kind][1]} />
    <ul class="names">
      ${names.map((name, i) => html`<li><span class=${`key line${i}`}></span> ${name}</li>`)}
    </ul>
  </div>`;
}

function Chart({ curves, names, of }) {
  const scores = curves.flat().map(([, score]) => score);
  const ticks = scores.length ? ticksOf(Math.min(0, ...scores), Math.max(0, ...scores)) : EMPTY;
  const [low, high] = [ticks[0], ticks.at(-1)];
  const width = innerWidth > 700 ? 640 : 360; // so that its text can be read on a phone
  const x = (share) => MARGIN.left + share * (width - MARGIN.left - MARGIN.right);
  const y = (score) =>
    MARGIN.top + ((high - score) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  return html`<svg class="chart" viewBox=${`0 0 ${width} ${HEIGHT}`} role="img"
    aria-label=${described(curves, names)}>
    ${ticks.map(
      (tick) => html`<line class="grid" x1=${x(0)} x2=${x(1)} y1=${y(tick)} y2=${y(tick)} />
        <text x=${MARGIN.left - 8} y=${y(tick) + 4} text-anchor="end">
          ${scores.length > 0 && String(tick).replace("-", "−")}
        </text>`,
    )}
    ${[0, 0.25, 0.5, 0.75, 1].map(
      (share) => html`<text x=${x(share)} y=${HEIGHT - 20} text-anchor="middle">
        ${100 * share} %
      </text>`,
    )}
    <text x=${x(0.5)} y=${HEIGHT - 4} text-anchor="middle">of the ${of} gone</text>
    ${curves.map(
      (points, i) => html`<polyline class=${`curve line${i}`}
        points=${points.map(([share, score]) => `${x(share)},${y(score)}`).join(" ")} />`,
    )}
  </svg>`;
}

// Round numbers, about five, the outermost beyond what is shown.
function ticksOf(low, high) {
  const least = (high - low || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = power * [1, 2, 2.5, 5, 10].find((k) => k * power >= least);
  const first = Math.floor(low / step);
  const count = Math.max(2, Math.ceil(high / step) - first + 1);
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(3)));
}

function described(curves, names) {
  const ends = curves
    .map((points, i) => points.length && [names[i], points[0][1], points.at(-1)[1]])
    .filter(Boolean)
    .map(([name, first, last]) => `${name}: from ${number(first)} to ${number(last)}`);
  return ends.length ? `Curves of the score. ${ends.join("; ")}` : "No curve drawn yet";
}
