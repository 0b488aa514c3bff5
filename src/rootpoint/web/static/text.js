// A text to type, and its words coloured.

import { html } from "./vendor/preact.js";
import { css, inkOn } from "./colours.js";
import { signed } from "./heatmap.js";

export const FIRST_TEXT = "A warm and funny film, though the ending is a little slow.";

export function TextInput({ text, onChange }) {
  return html`<section aria-labelledby="text-title">
    <h2 id="text-title"><label for="text">Type a sentence</label></h2>
    <textarea id="text" rows="6" maxlength="5000" value=${text}
      onInput=${(event) => onChange(event.target.value)}></textarea>
    <p class="quiet">The answer follows as you type.</p>
  </section>`;
}

// Words on the colour of their relevance; `limit` has the full colour.
export function Words({ words, values, limit, look }) {
  return html`<p class="words">
    ${words.map(
      (word, i) => html`<span key=${i} style=${shadeOf(values[i], limit, look) ?? {}}
          title=${signed(values[i])}>
          ${word}<span class="unseen"> (${signed(values[i])})</span></span>${" "}`,
    )}
  </p>`;
}

// The colours of a word and of what is under it; null where none is shown.
export function shadeOf(value, limit, look) {
  const share = filtered(value, look) / limit;
  if (share === 0 || Math.abs(share) < look.threshold) return null;
  return {
    backgroundColor: css(share, look.map, look.dark),
    color: inkOn(share, look.map, look.dark),
  };
}

export function filtered(value, { sign }) {
  if (sign === "for") return Math.max(0, value);
  if (sign === "against") return Math.min(0, value);
  return value;
}
