// A row of a table to choose and change, and its columns' relevance as bars.

import { html, useState } from "./vendor/preact.js";
import { css } from "./colours.js";
import { signed } from "./heatmap.js";
import { filtered } from "./text.js";

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
          <input type="text" value=${values[i] ?? ""}
            onChange=${(event) => change(i, event.target.value)} />
        </label>`,
      )}
    </div>
    <p role="alert" class="problem">${said}</p>
  </section>`;
}

// A bar for each column, the most relevant first.
export function Columns({ names, values, limit, look }) {
  const order = values
    .map((value, i) => [i, filtered(value, look)])
    .filter(([, value]) => Math.abs(value) / limit >= look.threshold)
    .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))
    .slice(0, MOST_BARS);
  return html`<ul class="columns">
    ${order.map(([i, value]) => {
      const share = Math.max(-1, Math.min(1, value / limit));
      const style = {
        width: `${50 * Math.abs(share)}%`,
        left: `${50 + Math.min(0, 50 * share)}%`,
        backgroundColor: css(0.2 + 0.6 * Math.abs(share), look.map, look.dark),
      };
      if (share < 0) style.backgroundColor = css(share * 0.6 - 0.2, look.map, look.dark);
      return html`<li key=${i}>
        <span class="name">${names[i]}</span>
        <span class="track"><span style=${style}></span></span>
        <span class="value">${signed(value)}</span>
      </li>`;
    })}
  </ul>`;
}
