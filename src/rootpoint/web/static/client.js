// What the page asks of the server: answers, streams of lines, and what to do when it is busy or
// gone.

const AGAIN = { Busy: 30, QueueFullError: 30, WorkerLostError: 3, BrokenOff: 3 };
// How often what passes is asked again: where the worker was lost, the request may be what broke it.
const PAUSE = 1500; // milliseconds between looks whether a lost server is back

const token = new URLSearchParams(location.hash.slice(1)).get("token");
const listeners = new Set();
let connection = "connected";

// Call `listener` with "connected", "busy" or "lost" whenever that changes.
export function onConnection(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export class AnswerError extends Error {
  constructor(kind, message, seconds = 1) {
    super(message);
    this.name = kind;
    this.seconds = seconds; // until it is worth asking again
  }
}

// The address of a file for an <img>, which cannot send a token.
export async function address(path) {
  return token ? URL.createObjectURL(await (await reach(path, {})).blob()) : path;
}

// What the page's own address carries so that a reload is still let in.
export function tokenPart() {
  return token ? `token=${encodeURIComponent(token)}&` : "";
}

export async function get(path) {
  return (await reach(path, {})).json();
}

export async function post(path, body, signal) {
  return (await reach(path, posted(body, signal))).json();
}

export async function postForBytes(path, body) {
  return (await reach(path, posted(body))).blob();
}

// Each line of the answer as an object; from the first again if the answer breaks off.
export async function* postForLines(path, body, signal) {
  for (let tries = 0; ; tries++) {
    try {
      return yield* linesOf(await reach(path, posted(body, signal)));
    } catch (error) {
      await beforeNext(error, tries, signal);
    }
  }
}

async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch(brokenOff);
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean)) yield event(JSON.parse(line));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function brokenOff(error) {
  if (error.name === "AbortError") throw error;
  throw new AnswerError("BrokenOff", "the answer broke off: ask again");
}

function event(line) {
  if (line.event === "error") throw new AnswerError(line.error.kind, line.error.message);
  return line;
}

function posted(body, signal) {
  const headers = { "Content-Type": "application/json" };
  return { method: "POST", headers, body: JSON.stringify(body), signal };
}

async function reach(path, options) {
  if (token) options.headers = { ...options.headers, Authorization: `Bearer ${token}` };
  for (let tries = 0; ; tries++) {
    const answer = await fetched(path, options);
    if (answer.ok) {
      become("connected");
      return answer;
    }
    await beforeNext(await refusal(answer), tries, options.signal);
  }
}

// Waits until it is worth asking again; throws what does not pass.
async function beforeNext(error, tries, signal) {
  if (tries >= (AGAIN[error.name] ?? 0)) {
    if (error.name !== "AbortError") become("connected");
    throw error;
  }
  become(error.name === "BrokenOff" ? "lost" : "busy");
  await pause(1000 * error.seconds, signal);
}

// The answer, however long the server is gone.
async function fetched(path, options) {
  for (;;) {
    try {
      return await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      become("lost");
      await pause(PAUSE, options.signal);
    }
  }
}

async function refusal(answer) {
  const said = await answer.json().catch(() => ({}));
  const kind = said.error?.kind ?? (answer.status === 503 ? "Busy" : "Refused");
  const message = said.error?.message ?? `the server answered ${answer.status}`;
  return new AnswerError(kind, message, Number(answer.headers.get("Retry-After")) || 1);
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function become(state) {
  if (state === connection) return;
  connection = state;
  listeners.forEach((listener) => listener(state));
}
