// How relevance is shown: changed at once in the browser, without asking the server.

import { html } from "./vendor/preact.js";
import { MAPS } from "./colours.js";

export const FIRST_LOOK = {
  shared: false,
  sign: "both",
  threshold: 0,
  opacity: 0.85,
  smoothing: 0,
  map: "red-blue",
  grey: false,
};

const SIGNS = { both: "for and against", for: "for", against: "against" };

// Whether a value, of a link, is a look or a part of one.
export function isLook(value) {
  const { map = FIRST_LOOK.map, sign = FIRST_LOOK.sign } = value;
  const typed = ([name, one]) => typeof one === typeof FIRST_LOOK[name];
  return Object.hasOwn(MAPS, map) && Object.hasOwn(SIGNS, sign) && Object.entries(value).every(typed);
}

export function Look({ look, onChange, pictures }) {
  const set = (name) => (value) => onChange({ ...look, [name]: value });
  return html`<details class="look" open=${innerWidth > 700}>
    <summary>Display</summary>
    <div class="controls">
      <${Select} name="scale" title="Colour scale" value=${look.shared ? "shared" : "own"}
        choices=${{ own: "each card its own", shared: "the same on all" }}
        onChange=${(value) => set("shared")(value === "shared")} />
      <${Select} name="sign" title="Evidence" value=${look.sign} choices=${SIGNS}
        onChange=${set("sign")} />
      <${Select} name="map" title="Colours" value=${look.map}
        choices=${Object.fromEntries(Object.entries(MAPS).map(([k, v]) => [k, v.title]))}
        onChange=${set("map")} />
      <${Range} name="threshold" title="Threshold" value=${look.threshold} most=${0.9}
        shown=${`${Math.round(100 * look.threshold)} %`} onChange=${set("threshold")} />
      ${pictures &&
      html`<${Range} name="opacity" title="Opacity" value=${look.opacity} most=${1}
          shown=${`${Math.round(100 * look.opacity)} %`} onChange=${set("opacity")} />
        <${Range} name="smoothing" title="Smoothing" value=${look.smoothing} most=${6}
          shown=${`${look.smoothing} px`} step=${0.25} onChange=${set("smoothing")} />
        <label class="field check">
          <input type="checkbox" name="grey" checked=${look.grey}
            onChange=${(event) => set("grey")(event.target.checked)} />
          <span>Grey out the irrelevant</span>
        </label>`}
    </div>
  </details>`;
}

export function Select({ name, title, value, choices, onChange }) {
  return html`<label class="field">
    <span>${title}</span>
    <select name=${name} value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${Object.entries(choices).map(
        ([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`,
      )}
    </select>
  </label>`;
}

function Range({ name, title, value, most, shown, step = 0.01, onChange }) {
  return html`<label class="field slider">
    <span>${title} <output>${shown}</output></span>
    <input type="range" name=${name} min="0" max=${most} step=${step} value=${value}
      aria-valuetext=${shown} onInput=${(event) => onChange(Number(event.target.value))} />
  </label>`;
}
