// The reference of the API, drawn from /openapi.json.

import { html, render } from "./vendor/preact.js";
import { get } from "./client.js";
import { useTheme } from "./theme.js";

function Reference({ document }) {
  useTheme();
  const operations = Object.entries(document.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => ({ path, verb, operation })),
  );
  const schemas = Object.entries(document.components?.schemas ?? {});
  return html`<header class="top">
      <h1>Rootpoint</h1>
      <p class="quiet">The API, version ${document.info.version}</p>
      <nav class="push row" aria-label="Page">
        <a href="/openapi.json">openapi.json</a><a href="/">The page</a>
      </nav>
    </header>
    <main class="reference">
      ${operations.map((one) => html`<${Operation} ...${one} />`)}
      ${schemas.map(([name, schema]) => html`<${Schema} name=${name} schema=${schema} />`)}
    </main>`;
}

function Operation({ path, verb, operation }) {
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  return html`<section>
    <h2><span class="verb">${verb.toUpperCase()}</span><code>${path}</code></h2>
    <p>${operation.description ?? operation.summary}</p>
    ${body && html`<p>Takes ${typeOf(body)}.</p>`}
    <dl>
      ${Object.entries(operation.responses).map(([status, response]) => {
        const schema = response.content?.["application/json"]?.schema;
        return html`<dt>${status}</dt>
          <dd>${response.description} ${schema && typeOf(schema)}</dd>`;
      })}
    </dl>
  </section>`;
}

function Schema({ name, schema }) {
  const required = new Set(schema.required);
  return html`<section id=${name}>
    <h2>${name}</h2>
    ${schema.description && html`<p class="described">${schema.description}</p>`}
    <dl>
      ${Object.entries(schema.properties ?? {}).map(
        ([key, field]) => html`<dt><code>${key}</code></dt>
          <dd>${typeOf(field)}${bounds(field)}${required.has(key) ? "" : ", optional"}</dd>`,
      )}
    </dl>
  </section>`;
}

function typeOf(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return html`<a href=${`#${name}`}>${name}</a>`;
  }
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return several.map((one, i) => [i ? " or " : "", typeOf(one)]);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.type === "array" && schema.items) return ["list of ", typeOf(schema.items)];
  return schema.type ?? "anything";
}

function bounds({ minimum, maximum, maxLength, maxItems }) {
  const said = [];
  if (minimum !== undefined) said.push(`at least ${minimum}`);
  if (maximum !== undefined) said.push(`at most ${maximum}`);
  if (maxLength !== undefined) said.push(`at most ${maxLength} characters`);
  if (maxItems !== undefined) said.push(`at most ${maxItems} items`);
  return said.length ? `, ${said.join(", ")}` : "";
}

const root = document.getElementById("page");
get("/openapi.json").then(
  (found) => (root.replaceChildren(), render(html`<${Reference} document=${found} />`, root)),
  (error) => render(html`<p role="alert" class="problem boot">${error.message}</p>`, root),
);
