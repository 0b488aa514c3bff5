// Tabs, moved through by the arrow keys.

import { html } from "./vendor/preact.js";

export function Tabs({ id, label, choices, value, onChange, children }) {
  const keys = Object.keys(choices);
  const current = keys.includes(value) ? value : keys[0];
  const press = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const next = keys[(keys.indexOf(current) + by + keys.length) % keys.length];
    onChange(next);
    document.getElementById(`${id}-${next}`).focus();
  };
  return html`<div role="tablist" class="tabs" aria-label=${label} onKeyDown=${press}>
      ${keys.map(
        (key) => html`<button type="button" role="tab" key=${key} id=${`${id}-${key}`}
          aria-selected=${key === current} aria-controls=${`${id}-panel`}
          tabindex=${key === current ? 0 : -1} onClick=${() => onChange(key)}>
          ${choices[key]}
        </button>`,
      )}
    </div>
    <div role="tabpanel" id=${`${id}-panel`} aria-labelledby=${`${id}-${current}`}>${children}</div>`;
}
