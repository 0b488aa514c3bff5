// One method and what it says: its form, its heatmap, its numbers.

import { html, useMemo, useState } from "./vendor/preact.js";
import { Heatmap, Legend, number, signed } from "./heatmap.js";
import { Columns } from "./table.js";
import { Words } from "./text.js";
import { Typed } from "./typed.js";

export function Card(props) {
  const { card, index, methods, model, state, onChange, onRemove } = props;
  const method = methods.find((one) => one.name === card.method);
  const { answer, busy, error, progress } = state ?? {};
  const choose = (event) =>
    onChange({ ...card, method: event.target.value, parameters: {}, rules: {} });
  return html`<article class="card" aria-busy=${Boolean(busy)} aria-label=${`Card ${index + 1}`}>
    <header class="row">
      <span class=${`key line${index}`} aria-hidden="true"></span>
      <select class="method" aria-label="Method" value=${card.method} onChange=${choose}>
        ${methods
          .filter((one) => model.methods.includes(one.name))
          .map(
            (one) => html`<option value=${one.name} selected=${one.name === card.method}>
              ${one.name}
            </option>`,
          )}
      </select>
      ${onRemove &&
      html`<button type="button" class="plain" aria-label=${`Remove card ${index + 1}`}
        onClick=${onRemove}>×</button>`}
    </header>
    <p class="quiet summary">${method?.summary}</p>
    <${Progress} busy=${busy} progress=${progress} />
    <div class=${busy && answer ? "stale" : ""}>
      ${answer ? html`<${Relevance} ...${props} answer=${answer} />` : waiting(error)}
    </div>
    ${error && html`<p role="alert" class="problem">${error}</p>`}
    ${answer && html`<${Numbers} answer=${answer} />`}
    <${Parameters} method=${method} card=${card} onChange=${onChange} />
  </article>`;
}

function waiting(error) {
  return error ? null : html`<div class="empty" aria-hidden="true"></div>`;
}

// Shown only for what takes longer than a moment: style.css lets it appear late.
function Progress({ busy, progress }) {
  if (!busy) return html`<div class="progress"></div>`;
  return html`<div class="progress">
    <progress value=${progress ?? undefined} max="1" aria-label="Computing"></progress>
  </div>`;
}

function Relevance({ answer, map, limit, look }) {
  const { relevance } = answer;
  const onPaper = useMemo(() => lookOf(answer, look), [Boolean(relevance.box), look]);
  if (relevance.kind === "words") {
    return html`<${Words} ...${relevance} limit=${limit} look=${look} />
      <${Legend} limit=${limit} look=${look} />`;
  }
  if (relevance.kind === "columns") {
    return html`<${Columns} ...${relevance} limit=${limit} look=${look} />`;
  }
  return (
    map &&
    html`<${Heatmap} map=${map} limit=${limit} look=${onPaper} view=${answer.view}
      label=${`Heatmap of ${answer.method} for ${decision(answer)}`} />`
  );
}

// Drawings have a box; on a light page they are ink on paper.
export function lookOf({ relevance }, look) {
  return { ...look, paper: Boolean(relevance.box) && !look.dark };
}

export function decision({ target, contrast }) {
  return contrast ? `${target.name} rather than ${contrast.name}` : target.name;
}

function Numbers({ answer }) {
  const { forward, backward } = answer.passes ?? {};
  const passes = answer.passes ? `${forward} forward, ${backward} backward passes` : "";
  return html`<dl class="numbers" aria-live="polite">
      <div><dt>Score</dt><dd class="score">${signed(answer.score)}</dd></div>
      <div><dt>Sum</dt><dd class="sum">${signed(answer.relevance_sum)}</dd></div>
      <div>
        <dt title="What relevance leaves of the score unexplained">Gap</dt>
        <dd class="gap">${answer.gap === null ? "–" : signed(answer.gap)}</dd>
      </div>
      <div title=${passes}><dt>Time</dt><dd class="time">${duration(answer.seconds)}</dd></div>
    </dl>
    ${answer.notes.length > 0 &&
    html`<details class="notes">
      <summary>${answer.notes.length === 1 ? "1 note" : `${answer.notes.length} notes`}</summary>
      <ul>${answer.notes.map((note) => html`<li>${note}</li>`)}</ul>
    </details>`}`;
}

function duration(seconds) {
  return seconds < 1 ? `${Math.max(1, Math.round(1000 * seconds))} ms` : `${number(seconds)} s`;
}

function Parameters({ method, card, onChange }) {
  if (!method?.parameters.length) return null;
  const set = (name, value) => {
    const { [name]: _, ...rest } = card.parameters;
    onChange({ ...card, parameters: value === undefined ? rest : { ...rest, [name]: value } });
  };
  const edited = Object.keys(card.rules);
  const [first, ...others] = method.parameters;
  const field = (one) =>
    html`<${Field} key=${`${method.name} ${one.name}`} field=${one}
      value=${card.parameters[one.name] ?? one.default}
      onChange=${(value) => set(one.name, value)} />`;
  return html`<form class="parameters" onSubmit=${(event) => event.preventDefault()}>
    ${field(first)}
    ${others.length > 0 &&
    html`<details>
      <summary>More parameters</summary>
      ${others.map(field)}
    </details>`}
    ${edited.length > 0 &&
    html`<p class="quiet row">
      ${edited.length} edited rule${edited.length > 1 ? "s" : ""}
      <button type="button" class="push" onClick=${() => onChange({ ...card, rules: {} })}>
        Reset
      </button>
    </p>`}
  </form>`;
}

function Field({ field, value, onChange }) {
  const title = field.name.replaceAll("_", " ");
  const numeric = field.type === "integer" || field.type === "number";
  if (field.type === "boolean") {
    return html`<label class="field check" title=${field.help}>
      <input type="checkbox" name=${field.name} checked=${value}
        onChange=${(event) => onChange(event.target.checked)} />
      <span>${title}</span>
    </label>`;
  }
  if (numeric && field.low !== null && field.high !== null && value !== null) {
    return html`<${Slider} field=${field} title=${title} value=${value} onChange=${onChange} />`;
  }
  const Control = field.choices ? Choice : Entry;
  return html`<label class="field" title=${field.help}>
    <span>${title}</span>
    <${Control} field=${field} value=${value} onChange=${onChange} />
  </label>`;
}

function Choice({ field, value, onChange }) {
  return html`<select name=${field.name} value=${value}
    onChange=${(event) => onChange(event.target.value)}>
    ${field.choices.map(
      (choice) => html`<option value=${choice} selected=${choice === value}>${choice}</option>`,
    )}
  </select>`;
}

function Entry({ field, value, onChange }) {
  const numeric = field.type === "integer" || field.type === "number";
  const change = (text) => {
    if (text === "") onChange(undefined);
    else onChange(numeric ? Number(text) : text);
  };
  return html`<${Typed} type=${numeric ? "number" : "text"} name=${field.name} min=${field.low}
    max=${field.high} step=${field.type === "integer" ? 1 : "any"} value=${value ?? ""}
    placeholder="automatic" onChange=${change} />`;
}

// A wide range of positive numbers is stepped through by powers.
function Slider({ field, title, value, onChange }) {
  const [moved, setMoved] = useState(null);
  const powers = field.low > 0 && field.high / field.low > 50;
  const to = (v) => (powers ? Math.log10(v) : v);
  const from = (text) => {
    const v = powers ? 10 ** Number(text) : Number(text);
    const exact = field.type === "integer" ? Math.round(v) : Number(v.toPrecision(3));
    return Math.max(field.low, Math.min(field.high, exact));
  };
  const span = to(field.high) - to(field.low);
  const step = field.type === "integer" && !powers ? 1 : span / 200;
  return html`<label class="field slider" title=${field.help}>
    <span>${title} <output>${moved ?? value}</output></span>
    <input type="range" name=${field.name} min=${to(field.low)} max=${to(field.high)} step=${step}
      value=${to(moved ?? value)} aria-valuetext=${moved ?? value}
      onInput=${(event) => setMoved(from(event.target.value))}
      onChange=${(event) => (setMoved(null), onChange(from(event.target.value)))} />
  </label>`;
}
