// The classes that the model finds most likely: one is explained, or one against another.

import { html } from "./vendor/preact.js";
import { number, signed } from "./heatmap.js";

const SHOWN = 6;

export function Best({ answer, target, onTarget }) {
  if (!answer?.best.length) return null;
  const best = answer.best.slice(0, SHOWN);
  const first = answer.target.index;
  const second = answer.contrast?.index ?? null;
  const choose = (event, index) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) contrast(index);
    else onTarget(index);
  };
  const contrast = (index) => {
    if (index === second) onTarget(first);
    else if (index !== first) onTarget([first, index]);
  };
  return html`<section class="best" aria-labelledby="best-title">
    <header class="row">
      <h2 id="best-title">The model says</h2>
      ${target !== "predicted" &&
      html`<button type="button" class="push" onClick=${() => onTarget("predicted")}>
        Explain its choice
      </button>`}
    </header>
    <ol>
      ${best.map(
        (one) => html`<li key=${one.index}>
          <button type="button" class="class" aria-pressed=${one.index === first}
            onClick=${(event) => choose(event, one.index)}>
            <span class="bar" style=${{ width: `${100 * share(one, best)}%` }}></span>
            <span class="name">${one.name}</span>
            <span class="value">${shownValue(one)}</span>
          </button>
          <button type="button" class="versus" aria-pressed=${one.index === second}
            disabled=${one.index === first} onClick=${() => contrast(one.index)}
            aria-label=${`Why ${answer.target.name} rather than ${one.name}`}
            title=${`Why ${answer.target.name} rather than ${one.name}`}>vs</button>
        </li>`,
      )}
    </ol>
    <p class="quiet" role="status" id="explained">
      Explained: <strong>${answer.target.name}</strong>
      ${answer.contrast && html`<span> rather than <strong>${answer.contrast.name}</strong></span>`}
    </p>
  </section>`;
}

function share({ probability, score }, best) {
  if (probability !== null) return probability;
  return Math.max(0, score) / Math.max(1e-30, ...best.map((one) => one.score));
}

function shownValue({ probability, score }) {
  if (probability === null) return signed(score);
  if (probability > 0 && probability < 0.001) return "< 0.1 %";
  return `${number(100 * probability)} %`;
}
