// A field to type in, which keeps what is being typed while the page around it is drawn anew.

import { html, useState } from "./vendor/preact.js";

// `onChange` gets the text at Enter, or when the field is left.
export function Typed({ value, onChange, ...others }) {
  const [typed, setTyped] = useState(null);
  return html`<input ...${others} value=${typed ?? value}
    onInput=${(event) => setTyped(event.target.value)}
    onChange=${(event) => (setTyped(null), onChange(event.target.value))}
    onBlur=${() => setTyped(null)} />`;
}
