// The cards' answers, asked for whenever what they depend on changes.

import { useLayoutEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { Asking } from "./asking.js";
import { colourLimit, decoded, shown } from "./heatmap.js";

// The request of each card; null without an input.
export function requestsOf(model, input, target, erased, cards) {
  if (!input) return cards.map(() => null);
  return cards.map((card) => {
    const { method, parameters } = card;
    const request = { model: model.name, input, target, method, parameters };
    if (method === "lrp" && Object.keys(card.rules).length) request.rules = card.rules;
    if (erased) request.erased = erased;
    return request;
  });
}

// What each card knows: { answer, request, busy, error, progress }, by the card's id.
export function useAnswers(cards, requests, { patient, stream }) {
  const [states, setStates] = useState({});
  const askings = useRef(new Map());
  const sent = useRef(new Map());
  const update = (id, change) =>
    setStates((before) => ({ ...before, [id]: { ...before[id], ...change } }));

  useLayoutEffect(() => {
    cards.forEach(({ id }, i) => {
      const key = JSON.stringify(requests[i]);
      if (sent.current.get(id) === key) return;
      sent.current.set(id, key);
      if (!askings.current.has(id)) {
        askings.current.set(id, new Asking((change) => update(id, change)));
      }
      const asking = askings.current.get(id);
      if (requests[i]) asking.ask(requests[i], { patient, stream });
      else asking.stop(), setStates((before) => ({ ...before, [id]: {} }));
    });
    for (const id of askings.current.keys()) {
      if (cards.some((card) => card.id === id)) continue;
      askings.current.get(id).stop();
      askings.current.delete(id);
      sent.current.delete(id);
    }
  });
  return states;
}

// The map and the limit of the colours of each card's answer.
export function useMaps(answers, look) {
  const known = useRef(new WeakMap());
  return useMemo(() => {
    const maps = answers.map((answer) => answer && mapOf(answer, known.current));
    const limits = answers.map((answer, i) => answer && limitOf(answer, maps[i], look));
    const most = Math.max(...limits.filter(Boolean), 0);
    return { maps, limits: look.shared ? limits.map((limit) => limit && most) : limits };
  }, [...answers, answers.length, look.shared, look.smoothing, look.sign]);
}

function mapOf(answer, known) {
  if (answer.relevance.kind !== "map") return null;
  if (!known.has(answer)) known.set(answer, decoded(answer.relevance));
  return known.get(answer);
}

function limitOf(answer, map, look) {
  if (map) return colourLimit(shown(map, look).values);
  return Math.max(...answer.relevance.values.map(Math.abs)) || 1;
}
