// A row of a table to choose and change, and its columns' relevance as bars.

import { html, useState } from "./vendor/preact.js";
import { css } from "./colours.js";
import { signed } from "./heatmap.js";
import { filtered } from "./text.js";
import { Typed } from "./typed.js";

const MOST_BARS = 30;

export function TableInput({ model, values, onChange }) {
  const [said, setSaid] = useState("");
  const change = (column, text) => {
    const before = model.rows[0]?.[column];
    const value = text === "" ? null : typeof before === "string" ? text : Number(text);
    const wrong = Number.isNaN(value);
    setSaid(wrong ? `${model.columns[column]} is a number, and “${text}” is none.` : "");
    if (!wrong) onChange(values.map((old, i) => (i === column ? value : old)));
  };
  return html`<section aria-labelledby="table-title">
    <h2 id="table-title">Choose a row</h2>
    <label class="field">
      <span>Row</span>
      <select id="row" onChange=${(event) => onChange(model.rows[Number(event.target.value)])}>
        ${model.rows.map(
          (row, i) => html`<option value=${i}>${i + 1}: ${row.slice(0, 4).join(", ")}</option>`,
        )}
      </select>
    </label>
    <div class="values">
      ${model.columns.map(
        (column, i) => html`<label class="field" key=${column}>
          <span>${column}</span>
          <${Typed} type="text" value=${values[i] ?? ""} onChange=${(text) => change(i, text)} />
        </label>`,
      )}
    </div>
    <p role="alert" class="problem">${said}</p>
  </section>`;
}

// A bar for each column, the most relevant first.
export function Columns({ names, values, limit, look }) {
  return html`<ul class="columns">
    ${barsOf({ names, values }, limit, look).map(({ name, value, share, colour }) => {
      const [width, left] = [50 * Math.abs(share), 50 + Math.min(0, 50 * share)];
      const style = { width: `${width}%`, left: `${left}%`, backgroundColor: colour };
      return html`<li key=${name}>
        <span class="name">${name}</span>
        <span class="track"><span style=${style}></span></span>
        <span class="value">${signed(value)}</span>
      </li>`;
    })}
  </ul>`;
}

// The bars that are shown: { name, value, share of the limit, colour }, the longest first.
export function barsOf({ names, values }, limit, look) {
  return values
    .map((value, i) => ({ name: names[i], value: filtered(value, look) }))
    .filter(({ value }) => Math.abs(value) / limit >= look.threshold)
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value))
    .slice(0, MOST_BARS)
    .map((bar) => {
      const share = Math.max(-1, Math.min(1, bar.value / limit));
      const visible = 0.6 * share + (share < 0 ? -0.2 : 0.2); // pale bars would be lost
      return { ...bar, share, colour: css(visible, look.map, look.dark) };
    });
}
