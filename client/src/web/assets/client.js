// The client that served this page: its events, and what is asked of it. Nobody else is.

import { ROWS, changed, current, forget, model, put, takeSnapshot } from "./model.js";
import { SHOWN } from "./body.js";

const API = "/api/v1";

/** Without a word from the client for this long, it does not answer. It speaks every four seconds. */
export const SILENCE_MS = 13_000;
/** Between two tries to reach a client that went away. */
const AGAIN_MS = 2_000;
/** Loaded attempts that are kept. */
const DETAILS = 12;

let source = null;

export function listen() {
  source?.close();
  source = new EventSource(`${API}/events?snapshot=${ROWS}`);
  const on = (name, take) => source.addEventListener(name, ({ data }) => {
    model.heard = Date.now();
    if (model.link !== "live") {
      model.link = "live";
      changed("top", "detail");
    }
    take(data);
  });
  on("status", (data) => {
    model.status = JSON.parse(data);
    model.statusAt = Date.now();
    changed("top");
  });
  on("snapshot", (data) => takeSnapshot(JSON.parse(data)));
  on("delivery", (data) => put(JSON.parse(data)));
  on("removed", (id) => {
    if (!model.deliveries.has(id)) model.older = Math.max(0, model.older - 1);
    forget(id);
  });
  // We fell behind; a fresh snapshot follows.
  on("reset", () => {});
  source.onerror = () => {
    source.close();
    lost();
  };
}

/** Finds out why the events ended, and listens again as soon as somebody answers. */
async function lost() {
  let answer = null;
  try {
    answer = await fetch(`${API}/status`);
  } catch {
    // Nobody is there.
  }
  if (answer?.ok) return listen();
  model.link = answer === null ? "stopped" : "locked";
  changed("top", "detail");
  setTimeout(lost, AGAIN_MS);
}

export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(API + path, options);
  } catch {
    throw new Error("the client does not answer");
  }
  const value = await answer.json().catch(() => null);
  if (answer.ok && value !== null) return value;
  if (answer.status === 401) throw new Error("this page has no token for the client that runs now");
  throw new Error(value?.error ?? `the client answered ${answer.status}`);
}

let loading = null;

/** Asks for what the open tab needs. Waits a moment, so that a key held down asks once. */
export function load() {
  const now = current();
  if (!now) return;
  const key = `${now.d.id}/${now.a.n}`;
  const slot = model.details.get(key);
  if (slot && (slot.loading || !slot.stale)) return;
  clearTimeout(loading);
  loading = setTimeout(async () => {
    const slot = model.details.get(key) ?? { value: null, error: null };
    // The newest key stands last, so that the oldest leaves first.
    model.details.delete(key);
    model.details.set(key, Object.assign(slot, { loading: true, stale: false }));
    for (const other of model.details.keys()) {
      if (model.details.size <= DETAILS) break;
      if (other !== key) model.details.delete(other);
    }
    try {
      slot.value = await ask(`/deliveries/${now.d.id}/attempts/${now.a.n}?body=${SHOWN}`);
      slot.error = null;
    } catch (error) {
      slot.error = error.message;
    }
    slot.loading = false;
    changed("detail");
  }, slot ? 0 : 40);
}

export function isLive() {
  return model.link === "live";
}
