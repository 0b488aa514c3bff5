// One card's questions, of which only the newest matters.

import { post, postForLines } from "./client.js";

// Asks one thing at a time. A patient question waits for the answer under way and then only the
// newest is sent, as while drawing; any other one ends what is under way.
export class Asking {
  constructor(onChange) {
    this.onChange = onChange;
    this.waiting = null;
    this.controller = null;
  }

  ask(request, { patient, stream }) {
    if (this.controller && patient) {
      this.waiting = [request, { patient, stream }];
      return;
    }
    this.stop();
    this.run(request, stream);
  }

  stop() {
    this.waiting = null;
    this.controller?.abort();
    this.controller = null;
  }

  async run(request, stream) {
    const controller = new AbortController();
    this.controller = controller;
    this.onChange({ busy: true, error: null, progress: null });
    try {
      const answer = await this.answer(request, stream, controller);
      if (this.controller === controller) this.onChange({ answer, request, error: null });
    } catch (error) {
      if (this.controller === controller) this.onChange({ error: error.message });
    } finally {
      if (this.controller === controller) this.next();
    }
  }

  async answer(request, stream, controller) {
    if (!stream) return post("/api/explain", request, controller.signal);
    for await (const line of postForLines("/api/explain/stream", request, controller.signal)) {
      if (line.event === "answer") return line.answer;
      if (line.event === "progress" && this.controller === controller) {
        this.onChange({ progress: line.total ? line.done / line.total : null });
      }
    }
    throw new Error("the answer broke off: ask again");
  }

  next() {
    this.controller = null;
    const [request, options] = this.waiting ?? [];
    this.waiting = null;
    if (request) this.run(request, options.stream);
    else this.onChange({ busy: false, progress: null });
  }
}
