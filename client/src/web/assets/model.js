// What the page knows, and what of it has changed since the last frame.

import { isFailed, latest, matches } from "./words.js";

/** Deliveries on the page. The client keeps more; the page says how many. */
export const ROWS = 2000;

export const TABS = ["request", "response", "signature", "attempts"];

export const model = {
  /** `connecting`, `live`, `silent` (it does not answer), `stopped`, `locked` (not with our token). */
  link: "connecting",
  status: null,
  /** When the client was last heard. */
  heard: 0,
  /** When `status` came, for its countdown. */
  statusAt: 0,
  /** Id to `{ d, row, shown }`, oldest first; one sent again moves to the end while following. */
  deliveries: new Map(),
  /** Deliveries that the client has and the page has not. */
  older: 0,
  known: false,
  selected: null,
  /** The attempt that the detail shows; null for the newest. */
  attempt: null,
  follow: true,
  onlyFailed: false,
  filter: "",
  tab: "request",
  exact: false,
  zoom: false,
  /** `id/n` to `{ value, error, loading, stale }`. */
  details: new Map(),
  replaying: new Set(),
  batch: null,
};

export const dirty = { rows: new Set(), all: true, top: true, detail: true, asked: false };

let draw = () => {};

/** Who draws; asked at most once a frame. */
export function drawWith(run) {
  draw = run;
}

/** Marks parts of the page as old. */
export function changed(...what) {
  for (const part of what) dirty[part] = true;
  if (dirty.asked) return;
  dirty.asked = true;
  requestAnimationFrame(draw);
}

export function entry(id) {
  return id === null ? undefined : model.deliveries.get(id);
}

/** The delivery and the attempt that the detail shows. */
export function current() {
  const found = entry(model.selected);
  if (!found) return null;
  const d = found.d;
  const a = d.attempts.find((a) => a.n === model.attempt) ?? latest(d);
  return { d, a };
}

export function shownIds() {
  const out = [];
  for (const [id, { shown }] of model.deliveries) if (shown) out.push(id);
  return out;
}

export function accepts(d) {
  if (model.onlyFailed && !isFailed(d)) return false;
  const words = model.filter.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length === 0 || matches(d, words);
}

/** Takes over what a delivery has become. */
export function put(raw, isNew = true) {
  // An attempt is called by its number here, as on the screen.
  const d = { ...raw, attempts: (raw.attempts ?? []).map((a) => ({ ...a, n: a.attempt })) };
  if (d.attempts.length === 0) return;
  const old = model.deliveries.get(d.id);
  if (old) {
    for (const a of d.attempts) {
      const before = old.d.attempts.find((b) => b.n === a.n);
      if (before && (before.status !== a.status || before.cause !== a.cause || before.ms !== a.ms)) {
        const slot = model.details.get(`${d.id}/${a.n}`);
        if (slot) slot.stale = true;
      }
    }
    const again = old.d.attempts.length < d.attempts.length && latest(d).trigger !== "replay";
    old.d = d;
    if (again && model.follow) {
      model.deliveries.delete(d.id);
      model.deliveries.set(d.id, old);
      dirty.rows.delete(d.id);
      old.moved = true;
    }
    if (model.selected === d.id) dirty.detail = true;
  } else {
    model.deliveries.set(d.id, { d, row: null, shown: false, moved: false, fresh: isNew });
    if (model.deliveries.size > ROWS) {
      forget(model.deliveries.keys().next().value);
      model.older += 1;
    }
  }
  dirty.rows.add(d.id);
  changed("top");
}

export function forget(id) {
  model.deliveries.get(id)?.row?.remove();
  model.deliveries.delete(id);
  dirty.rows.delete(id);
  changed("top", "detail");
}

export function takeSnapshot({ total, deliveries }) {
  model.deliveries.clear();
  dirty.rows.clear();
  for (const slot of model.details.values()) slot.stale = true;
  for (const d of deliveries) put(d, false);
  model.older = Math.max(0, total - model.deliveries.size);
  model.known = true;
  changed("all", "top", "detail");
}

export function setFollow(on) {
  if (model.follow === on) return;
  model.follow = on;
  changed("top");
}
