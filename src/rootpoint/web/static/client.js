// What the page asks of the server: answers, streams of lines, and what to do when it is busy or
// gone.

const TRIES = 30; // while the server says that it is busy
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
  constructor(kind, message) {
    super(message);
    this.name = kind;
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

// Each line of the answer as an object.
export async function* postForLines(path, body, signal) {
  const answer = await reach(path, posted(body, signal));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean)) yield event(JSON.parse(line));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
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
    if (answer.status !== 503 || tries >= TRIES) throw await refusal(answer);
    become("busy");
    await pause(1000 * (Number(answer.headers.get("Retry-After")) || 1), options.signal);
  }
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
  become("connected");
  const said = await answer.json().catch(() => ({}));
  const { kind, message } = said.error ?? {};
  return new AnswerError(kind ?? "Refused", message ?? `the server answered ${answer.status}`);
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
