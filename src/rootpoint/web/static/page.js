// The page: what is explained on the left, the cards on the right, and what lies deeper below.

import {
  html,
  render,
  useEffect,
  useMemo,
  useState,
} from "./vendor/preact.js";
import { Best } from "./best.js";
import { fromBase64, fromRuns, toBase64, toRuns } from "./bytes.js";
import { Card } from "./card.js";
import { Challenge } from "./challenge.js";
import { get, onConnection } from "./client.js";
import { Drawing, inkOf, SAMPLES } from "./drawing.js";
import { requestsOf, useAnswers, useMaps } from "./explaining.js";
import { Inside } from "./inside.js";
import { link, read, write } from "./link.js";
import { FIRST_LOOK, Look, Select } from "./look.js";
import { PhotoInput } from "./photo.js";
import { TableInput } from "./table.js";
import { Take } from "./take.js";
import { Tabs } from "./tabs.js";
import { FIRST_TEXT, TextInput } from "./text.js";
import { useTheme } from "./theme.js";

const TABS = { digits: "Draw", image: "Photo", text: "Text", table: "Table" };
const MOST_CARDS = 6;
const FIRST_METHODS = { digits: ["lrp", "gradient-times-input"], image: ["lrp"] };
const DEEPER = { inside: "Look inside", challenge: "Challenge", take: "Take away" };

let cardsMade = 0;

function newCard(method, id = ++cardsMade) {
  return { id, method, parameters: {}, rules: {} };
}

function Page({ models, methods }) {
  const restored = useMemo(read, []);
  const { theme, dark, toggle } = useTheme();
  const kinds = Object.keys(TABS).filter((kind) => models.some((one) => one.kind === kind));
  const [kind, setKind] = useState(kinds.includes(restored?.kind) ? restored.kind : kinds[0]);
  const [chosen, setChosen] = useState(restored?.chosen ?? {});
  const ofKind = models.filter((one) => one.kind === kind);
  const model = ofKind.find((one) => one.name === chosen[kind]) ?? ofKind[0];
  const [inputs, setInputs] = useState(() => firstInputs(models, restored));
  const [target, setTarget] = useState(restored?.target ?? "predicted");
  const [erased, setErased] = useState(restored?.erased ? toBase64(fromRuns(restored.erased)) : null);
  const [allCards, setCards] = useState(() => firstCards(restored));
  const [kept, setLook] = useState({ ...FIRST_LOOK, ...restored?.look });
  const [patient, setPatient] = useState(false);
  const [deeper, setDeeper] = useState("inside");
  const [selected, setSelected] = useState(0);
  const look = useMemo(() => ({ ...kept, dark }), [kept, dark]);

  const given = inputs[kind];
  const input = useMemo(() => inputOf(kind, given), [kind, given]);
  const cards = useMemo(() => fitting(allCards[kind], kind, model), [allCards[kind], kind, model]);
  const requests = requestsOf(model, input, target, erased, cards);
  const states = useAnswers(cards, requests, { patient, stream: kind !== "digits" });
  const answers = cards.map((card) => states[card.id]?.answer);
  const { maps, limits } = useMaps(answers, look);
  const first = answers.find(Boolean);
  const at = Math.min(selected, cards.length - 1);
  const pictures = kind === "digits" || kind === "image";

  const take = (value, gently = false) => {
    setPatient(gently);
    setInputs({ ...inputs, [kind]: value });
    setTarget("predicted");
    if (!gently) setErased(null);
  };
  const explain = (value) => (setPatient(false), setTarget(value));
  const erase = (mask) => (setPatient(true), setErased(mask));
  const putCards = (changed) => (setPatient(false), setCards({ ...allCards, [kind]: changed }));
  const change = (i) => (card) => putCards(cards.map((old, k) => (k === i ? card : old)));
  const go = (to) => {
    setPatient(false);
    setKind(to);
    setTarget("predicted");
    setErased(null);
  };

  const shared = { kind, chosen, target, look: kept, ...sharedInput(kind, given) };
  if (erased && given?.kind === "sample") shared.erased = toRuns(fromBase64(erased));
  shared.cards = cards.map(({ method, parameters, rules }) => ({ method, parameters, rules }));
  const text = JSON.stringify(shared);
  useEffect(() => {
    const timer = setTimeout(() => write(shared), 400);
    return () => clearTimeout(timer);
  }, [text]);

  const heat = useMemo(
    () => first?.relevance.box && maps[0] && { map: maps[0], limit: limits[0], box: first.relevance.box },
    [maps[0], limits[0], first],
  );
  return html`<${Header} theme=${theme} onToggle=${toggle} />
    <${Connection} />
    <main>
      <div class="left">
        <${Tabs} label="Input" choices=${pick(TABS, kinds)} value=${kind} onChange=${go} id="input">
          ${ofKind.length > 1 &&
          html`<${Select} name="model" title="Model" value=${model.name}
            choices=${Object.fromEntries(ofKind.map((one) => [one.name, one.title]))}
            onChange=${(name) => (setChosen({ ...chosen, [kind]: name }), go(kind))} />`}
          ${kind === "digits" &&
          html`<${Drawing} strokes=${given} heat=${heat} look=${look}
            onChange=${(strokes) => take(strokes, true)} />`}
          ${kind === "image" &&
          html`<${PhotoInput} model=${model} input=${given} view=${first?.view} erased=${erased}
            onInput=${(value) => take(value)} onErase=${erase} />`}
          ${kind === "text" && html`<${TextInput} text=${given} onChange=${(v) => take(v, true)} />`}
          ${kind === "table" &&
          html`<${TableInput} model=${model} values=${given} onChange=${(row) => take(row)} />`}
        <//>
        <${Best} answer=${first} target=${target} onTarget=${explain} />
        <p class="quiet about">${model.title}: ${model.about}</p>
      </div>
      <div class="right">
        <${Look} look=${kept} onChange=${setLook} pictures=${pictures} />
        <div class="cards">
          ${cards.map(
            (card, i) => html`<${Card} key=${card.id} card=${card} index=${i} methods=${methods}
              model=${model} state=${states[card.id]} map=${maps[i]} limit=${limits[i]} look=${look}
              onChange=${change(i)}
              onRemove=${cards.length > 1 && (() => putCards(cards.filter((_, k) => k !== i)))} />`,
          )}
          ${cards.length < MOST_CARDS &&
          html`<button type="button" class="add" onClick=${() =>
            putCards([...cards, newCard(unused(model, cards))])}>
            <span aria-hidden="true">+</span> Compare another method
          </button>`}
        </div>
        <section class="deeper">
          <${Tabs} label="Deeper" id="deeper" value=${deeper} onChange=${setDeeper}
            choices=${DEEPER}>
            ${cards.length > 1 &&
            deeper !== "challenge" &&
            html`<${Select} name="card" title="Card" value=${String(at)}
              choices=${Object.fromEntries(cards.map((card, i) => [i, `${i + 1}: ${card.method}`]))}
              onChange=${(i) => setSelected(Number(i))} />`}
            ${deeper === "inside" &&
            html`<${Inside} request=${requests[at]} card=${cards[at]} look=${look}
              onRules=${(rules) => change(at)({ ...cards[at], rules })} />`}
            ${deeper === "challenge" &&
            html`<${Challenge} kind=${kind} requests=${requests.filter(Boolean)}
              names=${cards.map((card) => card.method)} />`}
            ${deeper === "take" &&
            html`<${Take} answer=${answers[at]} request=${states[cards[at].id]?.request}
              map=${maps[at]} limit=${limits[at]} look=${look} share=${link(shared)}
              own=${given?.kind === "photo"} />`}
          <//>
        </section>
      </div>
    </main>`;
}

function Header({ theme, onToggle }) {
  return html`<header class="top">
    <h1>Rootpoint</h1>
    <p class="quiet">Why did the model say that?</p>
    <nav class="push row" aria-label="Page">
      <a href="/api">API</a>
      <button type="button" id="theme" onClick=${onToggle}>
        ${theme === "dark" ? "Light" : "Dark"}
      </button>
    </nav>
  </header>`;
}

const SAID = {
  busy: "The model is busy or starting again. The page asks again by itself …",
  lost: "The server does not answer. The page goes on as soon as it is back …",
};

function Connection() {
  const [state, setState] = useState("connected");
  useEffect(() => onConnection(setState), []);
  return html`<div role="status" id="connection">
    ${SAID[state] && html`<p class="notice">${SAID[state]}</p>`}
  </div>`;
}

function firstInputs(models, restored) {
  const of = (kind) => models.find((one) => one.kind === kind);
  const sample = of("image")?.samples[0];
  return {
    digits: restored?.strokes ?? SAMPLES[3],
    image: restored?.input ?? (sample ? { kind: "sample", name: sample.name } : null),
    text: restored?.text ?? FIRST_TEXT,
    table: restored?.row ?? of("table")?.rows[0] ?? [],
  };
}

function firstCards(restored) {
  if (!restored?.cards) return {};
  const cards = restored.cards.slice(0, MOST_CARDS);
  return { [restored.kind]: cards.map((card) => ({ ...newCard(), ...card })) };
}

// Those of the cards whose methods the model has; without any, the usual ones.
function fitting(cards = [], kind, model) {
  const known = ({ method }) => model.methods.includes(method);
  const usual = (FIRST_METHODS[kind] ?? ["lrp"]).map((name, i) => newCard(name, `${kind} ${i}`));
  const [own, first] = [cards.filter(known), usual.filter(known)];
  if (own.length) return own;
  return first.length ? first : [newCard(model.methods[0], kind)];
}

function inputOf(kind, given) {
  if (kind === "digits") return given.length ? inkOf(given) : null;
  if (kind === "text") return given.trim() ? { kind: "text", text: given } : null;
  if (kind === "table") return { kind: "row", values: given };
  return given;
}

// What of the input a link carries: all but a visitor's own photo.
function sharedInput(kind, given) {
  if (kind === "digits") return { strokes: given };
  if (kind === "text") return { text: given };
  if (kind === "table") return { row: given };
  return given?.kind === "sample" ? { input: given } : {};
}

function unused(model, cards) {
  const likely = ["integrated-gradients", "gradient", "grad-cam", "smoothgrad", "deeplift", "occlusion"];
  const free = (name) => !cards.some((card) => card.method === name);
  return (
    likely.find((name) => model.methods.includes(name) && free(name)) ??
    model.methods.find(free) ??
    model.methods[0]
  );
}

function pick(choices, keys) {
  return Object.fromEntries(keys.map((key) => [key, choices[key]]));
}

async function start() {
  const root = document.getElementById("page");
  root.replaceChildren();
  render(html`<${Connection} /><main class="quiet boot">Loading …</main>`, root);
  try {
    const [models, methods] = await Promise.all([get("/api/models"), get("/api/methods")]);
    render(html`<${Page} models=${models} methods=${methods} />`, root);
  } catch (error) {
    render(html`<main role="alert" class="problem boot">${error.message}</main>`, root);
  }
}

start();
