// Within the network: relevance layer by layer, the balance, and the rules.

import { html, useEffect, useMemo, useState } from "./vendor/preact.js";
import { post } from "./client.js";
import { colourLimit, decoded, Heatmap, number, signed } from "./heatmap.js";
import { Typed } from "./typed.js";

export function Inside({ request, card, onRules, look }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const asked = JSON.stringify(request);
  useEffect(() => {
    if (!request) return;
    const controller = new AbortController();
    const timer = setTimeout(async () => {
      try {
        setFound(await post("/api/layers", request, controller.signal));
        setError(null);
      } catch (problem) {
        if (problem.name !== "AbortError") setError(problem.message);
      }
    }, 150);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [asked]);
  if (error) return html`<p role="alert" class="problem">${error}</p>`;
  if (!found) return html`<p class="quiet">Looking inside …</p>`;
  if (!found.layers.length && !found.balance.length) {
    return html`<p class="quiet">This method sends no relevance through the network.</p>`;
  }
  return html`<div class="inside">
    ${found.layers.length > 0 && html`<${Layers} layers=${found.layers} look=${look} />`}
    ${found.balance.length > 0 && html`<${Balance} rows=${found.balance} />`}
    ${found.rules.length > 0 &&
    html`<${Rules} rules=${found.rules} edited=${card.rules} onRules=${onRules} />`}
  </div>`;
}

function Layers({ layers, look }) {
  const [at, setAt] = useState(layers.length - 1);
  const layer = layers[Math.min(at, layers.length - 1)];
  const map = useMemo(() => decoded(layer), [layer]);
  const limit = useMemo(() => colourLimit(map.values), [map]);
  return html`<section aria-labelledby="layers-title">
    <h3 id="layers-title">Layer by layer</h3>
    <label class="field slider">
      <span>${layer.name} <output>${layer.shape.join(" × ")}</output></span>
      <input type="range" id="layer" min="0" max=${layers.length - 1} step="1" value=${at}
        aria-valuetext=${layer.name} onInput=${(event) => setAt(Number(event.target.value))} />
    </label>
    <${Heatmap} map=${map} limit=${limit} look=${{ ...look, grey: false, smoothing: 0 }}
      label=${`Relevance at ${layer.name}`} />
    <p class="quiet">Sum ${signed(layer.sum)}</p>
  </section>`;
}

function Balance({ rows }) {
  const most = Math.max(...rows.map((row) => Math.abs(row.arrived)), 1e-30);
  const width = (value) => ({ width: `${Math.min(100, (100 * Math.abs(value)) / most)}%` });
  return html`<section aria-labelledby="balance-title">
    <h3 id="balance-title">Where relevance goes</h3>
    <ul class="balance">
      ${rows.map(
        (row, i) => html`<li key=${i} title=${absorbers(row)}>
          <span class="name">${row.module || row.operation}</span>
          <span class="stack">
            <span class="passed" style=${width(row.passed)}></span>
            <span class="absorbed" style=${width(row.absorbed)}></span>
          </span>
          <span class="value">${number(row.passed)}</span>
        </li>`,
      )}
    </ul>
    <p class="quiet row key-row">
      <span class="swatch passed"></span> went on <span class="swatch absorbed"></span> absorbed
    </p>
  </section>`;
}

function absorbers(row) {
  const parts = Object.entries(row.by).map(([name, value]) => `${name} ${number(value)}`);
  const by = parts.length ? ` (${parts.join(", ")})` : "";
  const [arrived, passed, absorbed] = [row.arrived, row.passed, row.absorbed].map(number);
  return `${row.operation}: ${arrived} arrived, ${passed} went on, ${absorbed} was absorbed${by}`;
}

function Rules({ rules, edited, onRules }) {
  const set = (module, rule) => {
    const { [module]: _, ...rest } = edited;
    onRules(rule.trim() ? { ...rest, [module]: rule.trim() } : rest);
  };
  return html`<section class="wide" aria-labelledby="rules-title">
    <h3 id="rules-title">Rules</h3>
    <p class="quiet">
      Write another rule, such as <code>gamma(gamma=0.25)</code> or <code>zplus</code>, and press
      Enter. An empty field is the composite's rule again.
    </p>
    <div class="scroll">
      <table>
        <thead><tr><th>Module</th><th>Operation</th><th>Output</th><th>Rule</th></tr></thead>
        <tbody>
          ${rules.map(
            (row) => html`<tr key=${row.index} class=${edited[row.module] ? "edited" : ""}>
              <td><code>${row.module}</code></td>
              <td>${row.operation}</td>
              <td>${row.shape.join(" × ")}</td>
              <td>
                <${Typed} type="text" aria-label=${`Rule of ${row.module || row.operation}`}
                  value=${edited[row.module] ?? ""} placeholder=${row.rule}
                  disabled=${!row.module} onChange=${(rule) => set(row.module, rule)} />
              </td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}
