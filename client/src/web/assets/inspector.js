// The web inspector: what the client recorded, live, and replays.
//
//   events ─► model ─► draw (once a frame) ─► DOM
//   keys, clicks ─┘
//
// Words, badges and keys are those of the terminal UI. Every string that is shown passes `text` in
// `dom.js`, which makes it visible and hands it over as a text node.
//
// `text` characters and figures · `words` what a delivery says · `dom` · `model` · `client` its API ·
// `body`, `detail` the right pane. Here: list, top, replays, dialogs, keys.

import { HIDDEN, bytesOf, clock, count, countdown, duration, short, size, time, utf8, visible } from "./text.js";
import { badge, eventOf, isAnswered, isFailed, isFailure, isPending, latest, next, ran, says, statusCell, statusMood, took, tries } from "./words.js";
import { $, button, el, set, text } from "./dom.js";
import { TABS, accepts, changed, current, dirty, drawWith, entry, model, setFollow, shownIds } from "./model.js";
import { SILENCE_MS, ask, isLive, listen, load } from "./client.js";
import { drawDetail, flipExact, openTab, stepAttempt, stepTab, watchPanel } from "./detail.js";

/** What just happened stands this long. */
const SAID_MS = 8_000;
/** What the client suggests as the path of a webhook. */
const PATH = "/webhook";

// ---------------------------------------------------------------------------------------------
// Drawing, once a frame.

function draw() {
  dirty.asked = false;
  drawRows();
  if (dirty.top) drawTop();
  if (dirty.detail) drawDetail();
  Object.assign(dirty, { all: false, top: false, detail: false });
  load();
}

function drawRows() {
  const rows = $("rows");
  const ids = dirty.all ? [...model.deliveries.keys()] : [...dirty.rows];
  dirty.rows.clear();
  if (dirty.all && [...rows.children].some((row) => !model.deliveries.has(row.dataset.id) || model.deliveries.get(row.dataset.id).row !== row)) {
    rows.replaceChildren();
  }
  const now = Date.now();
  const fresh = document.createDocumentFragment();
  for (const id of ids) {
    const known = model.deliveries.get(id);
    if (!known) continue;
    const isNew = known.row === null;
    if (isNew) known.row = makeRow(id, known.fresh);
    drawRow(known, now);
    known.shown = accepts(known.d);
    known.row.hidden = !known.shown;
    if (isNew || known.moved) fresh.append(known.row);
    known.moved = false;
  }
  if (fresh.childNodes.length > 0) rows.append(fresh);
  if (ids.length > 0 || dirty.all || dirty.top) select();
}

function makeRow(id, fresh) {
  const cell = (name) => el("span", { class: name });
  const row = el("div", { class: fresh ? "row fresh" : "row", role: "option", id: `d-${id}`, "aria-selected": "false" },
    cell("mark"), cell("time"), cell("from"), cell("event"), cell("st"), cell("sig"), cell("ms"), cell("try"), cell("next"));
  row.dataset.id = id;
  // Once: a row that a filter hid and shows again has not arrived anew.
  setTimeout(() => row.classList.remove("fresh"), 1500);
  return row;
}

function drawRow({ d, row }, now) {
  const a = latest(d);
  const [, at, from, event, st, sig, ms, sent, comes] = row.children;
  const [word, mood] = badge(a);
  const [soon, soonMood] = next(d, now);
  set(at, clock(time(d.at)));
  set(from, d.provider ?? "-");
  const what = d.event === null ? eventOf(d) : `${d.event}\0${d.path}`;
  if (event.dataset.what !== what) {
    event.dataset.what = what;
    event.replaceChildren(text(eventOf(d)));
    if (d.event !== null) event.append(el("span", { class: "path" }, d.path));
    event.title = visible(`${d.method} ${d.path}`);
  }
  set(st, statusCell(a), `st ${statusMood(a)}`);
  set(sig, word, `sig ${mood}`);
  set(ms, took(a, now));
  set(sent, tries(d));
  set(comes, soon, `next ${soonMood}`);
  const told = [
    clock(time(d.at)), d.provider ?? "unknown sender", eventOf(d),
    isPending(a) ? "no answer yet" : isAnswered(a) ? `status ${a.status}` : `failed: ${a.error}`,
    says(a), count(d.attempts.length, "attempt", "attempts"),
  ];
  const label = visible(told.join(", "));
  if (row.getAttribute("aria-label") !== label) row.setAttribute("aria-label", label);
}

/** Keeps the selection on a row that is shown, and on the newest while following. */
function select() {
  const ids = shownIds();
  if (model.follow && ids.length > 0) choose(ids[ids.length - 1]);
  else if (!entry(model.selected)?.shown) {
    const all = [...model.deliveries.keys()];
    const at = all.indexOf(model.selected);
    choose(ids.find((id) => all.indexOf(id) > at) ?? ids[ids.length - 1] ?? null);
  }
  markSelected();
  if (model.follow) {
    const scroll = $("scroll");
    scroll.scrollTop = scroll.scrollHeight;
  }
  drawNothing(ids.length);
}

function choose(id) {
  if (model.selected === id) return;
  model.selected = id;
  model.attempt = null;
  dirty.detail = true;
  // A browser refuses more than a few of these a second.
  clearTimeout(linking);
  linking = setTimeout(() => history.replaceState(null, "", id === null ? "#" : `#/d/${id}`), 400);
}

let linking = null;
let marked = null;

function markSelected() {
  const row = entry(model.selected)?.row ?? null;
  if (marked !== row) {
    marked?.setAttribute("aria-selected", "false");
    if (marked) set(marked.firstChild, "");
    marked = row;
  }
  if (row && row.getAttribute("aria-selected") !== "true") {
    row.setAttribute("aria-selected", "true");
    set(row.firstChild, "▌");
  }
  if (row) $("rows").setAttribute("aria-activedescendant", row.id);
  else $("rows").removeAttribute("aria-activedescendant");
}

function drawNothing(shown) {
  const nothing = $("nothing");
  nothing.hidden = shown > 0;
  set(nothing, model.onlyFailed && model.filter === "" ? "nothing has failed · Esc shows all" : "nothing matches · Esc shows all");
}

/** The state's glyph and word: what is true, and nothing better. */
function stateWord() {
  switch (model.link) {
    case "connecting": return ["◌ CONNECTING", "warn"];
    case "silent": return ["◌ NO ANSWER", "warn"];
    case "stopped": return ["○ CLIENT STOPPED", "bad"];
    case "locked": return ["○ NO TOKEN", "bad"];
  }
  const status = model.status;
  switch (status?.state) {
    case "online": return ["● ONLINE", "good"];
    case "draining": return ["◍ DRAINING", "warn"];
    case "offline": return ["○ OFFLINE", "bad"];
    case "reconnecting": {
      const left = (status.next_try_ms ?? 0) - (Date.now() - model.statusAt);
      return [left > 0 ? `◐ RECONNECT ${countdown(left)}` : "◐ RECONNECT now", "warn"];
    }
    default: return ["◌ CONNECTING", "warn"];
  }
}

function bannerText() {
  const status = model.status;
  switch (model.link) {
    case "stopped":
      return ["bad", "The client has stopped. Its URL does not work now, and nothing new appears here; what stands below is what it showed last. Start it again, then open the link that it prints."];
    case "locked":
      return ["bad", "The client that runs now does not know this page: it was started anew, or the cookie is gone. Open the link that it prints; it carries the token."];
    case "silent":
      return ["warn", "The client does not answer. It may be suspended; what stands below may be old."];
  }
  if (status && status.state !== "online" && status.state !== "connecting") {
    const reason = status.reason ? `: ${status.reason}` : ".";
    return status.state === "offline"
      ? ["bad", `The tunnel is down${reason}`]
      : ["warn", `Requests to the URL do not come through right now${reason}`];
  }
  if (status?.recording === false) {
    return ["warn", `Not recording: ${status.not_recording_why ?? "the store refuses"}. Requests still reach your app.`];
  }
  return null;
}

function drawTop() {
  const status = model.status;
  const [word, mood] = stateWord();
  set($("state"), word, `state ${mood}`);
  $("public").hidden = !status?.url;
  set($("url"), status?.url ?? "", isLive() ? "url" : "url quiet");
  set($("origin"), status ? `→ ${status.origin}` : "");
  const facts = [];
  if (status?.embedded) facts.push("this machine only");
  else if (isLive() && status?.state === "online") {
    if (status.transport) facts.push(status.transport);
    if (status.rtt_ms !== null) facts.push(`rtt ${duration(status.rtt_ms)}`);
  }
  if (status?.reconnects > 0) facts.push(count(status.reconnects, "reconnect", "reconnects"));
  set($("facts"), facts.join(" · "), status?.embedded ? "facts warn" : "facts");

  const banner = bannerText();
  $("banner").hidden = banner === null;
  if (banner) set($("banner"), banner[1], `banner ${banner[0]}`);

  const failed = drawCounts();
  set($("spark"), sparkline());
  const name = status?.name ?? "inspector";
  document.title = visible(`${failed > 0 ? `(${failed} failed) ` : ""}${name} · Adit`);

  const isEmpty = model.deliveries.size === 0;
  const appears = $("main").hidden && !isEmpty && model.known;
  $("main").hidden = isEmpty || !model.known;
  if (appears) {
    if (document.activeElement === document.body) $("rows").focus();
    changed("all");
  }
  $("empty").hidden = !isEmpty || !model.known;
  if (isEmpty && model.known) drawEmpty();
  $("older").hidden = model.older === 0;
  set($("older"), `${count(model.older, "older delivery is", "older deliveries are")} not on this page; client list and client show have them`);

  const onlyFailed = $("only-failed");
  onlyFailed.setAttribute("aria-pressed", String(model.onlyFailed));
  onlyFailed.replaceChildren(el("kbd", {}, "!"), text(` Failed ${failed}`));
  $("follow").setAttribute("aria-pressed", String(model.follow));

  const n = shownFailed().length;
  const all = $("replay-failed");
  all.replaceChildren(el("kbd", {}, "&"), text(n > 0 ? ` Replay ${n} failed` : " Replay failed"));
  all.disabled = n === 0 || !isLive() || model.batch !== null;
  all.hidden = isEmpty;

  const batch = model.batch;
  $("batch").hidden = batch === null;
  if (batch) {
    $("batch-bar").max = Math.max(1, batch.total);
    $("batch-bar").value = batch.done;
    set($("batch-text"), batch.stopped ? "stopping after this one …" : `replayed ${batch.done} of ${batch.total} …`);
    $("batch-stop").disabled = batch.stopped;
  }
}

/** Deliveries by what their status cell shows. Returns how many failed. */
function drawCounts() {
  const classes = [0, 0, 0, 0, 0];
  const times = [];
  let open = 0;
  let errors = 0;
  let failed = 0;
  for (const { d } of model.deliveries.values()) {
    const a = latest(d);
    if (isPending(a)) open += 1;
    else if (a.cause !== null) errors += 1;
    else {
      classes[Math.min(5, Math.max(1, Math.floor(a.status / 100))) - 1] += 1;
      if (a.ms !== null) times.push(a.ms);
    }
    if (isFailed(d)) failed += 1;
  }
  const shown = shownIds().length;
  const all = model.deliveries.size;
  const parts = [[`${all} req`, "strong"]];
  if (shown < all) parts.push([`${shown} of ${all} shown`, "strong"]);
  classes.forEach((n, i) => {
    // 2xx, 4xx and 5xx always stand there, so that the line does not jump.
    if (n > 0 || ![0, 2].includes(i)) parts.push([`${i + 1}xx ${n}`, n > 0 ? ["", "good", "info", "warn", "bad"][i] : ""]);
  });
  if (errors > 0) parts.push([`err ${errors}`, "bad"]);
  if (open > 0) parts.push([`open ${open}`, "warn"]);
  parts.push([`failed ${failed}`, failed > 0 ? "bad" : ""]);
  const recent = times.slice(-200).sort((x, y) => x - y);
  if (recent.length > 0) {
    const at = (part) => duration(recent[Math.floor(((recent.length - 1) * part) / 100)]);
    parts.push([`p50 ${at(50)} · p95 ${at(95)}`, ""]);
  }
  $("counts").replaceChildren(...parts.map(([s, mood]) => el("span", { class: mood || null }, s)));
  return failed;
}

/** Arrivals of the last minute. */
function sparkline() {
  const buckets = new Array(30).fill(0);
  const now = Date.now();
  for (const { d } of model.deliveries.values()) {
    for (const a of d.attempts) {
      const ago = now - time(a.at);
      if (a.trigger !== "replay" && ago >= 0 && ago < 60_000) buckets[29 - Math.floor(ago / 2000)] += 1;
    }
  }
  const most = Math.max(1, ...buckets);
  const bars = buckets.map((n) => (n === 0 ? "▁" : "▂▃▄▅▆▇█"[Math.floor((n * 6) / most)]));
  return `${bars.join("")} 60s`;
}

// ---------------------------------------------------------------------------------------------
// Before the first request.

let emptyFor = null;

function drawEmpty() {
  const status = model.status;
  if (!status) return;
  const key = JSON.stringify([status.url, status.state, status.ca, status.reason, status.embedded, model.link]);
  if (emptyFor === key) return;
  emptyFor = key;
  const box = el("div", {});
  const section = (title, ...children) => box.append(el("div", {}, el("h2", {}, title), ...children));
  const paste = (what, value, isUrl) => {
    const node = el("button", { type: "button", "aria-label": `Copy ${what}` }, "Copy");
    node.addEventListener("click", () => copy(what, value));
    return el("div", { class: "paste" }, el("code", { class: isUrl ? "url-text" : null }, value), node);
  };
  if (!status.url) {
    const what = status.state === "offline" ? "There is no public URL." : "The public URL appears here as soon as the relay has answered.";
    box.append(el("h1", {}, what));
    if (status.reason) box.append(el("p", { class: "warn" }, status.reason));
  } else {
    const target = status.url + PATH;
    const online = isLive() && status.state === "online";
    const gone = status.state === "offline" || model.link === "stopped";
    box.append(el("h1", {}, online
      ? "Ready. Waiting for the first request."
      : gone ? "The URL below does not work any more." : "The URL below works again as soon as the tunnel is back."));
    section("Paste this at the provider", paste("the URL", target, true),
      el("p", { class: "quiet" }, "any path works; Y copies the URL without one"));
    const ca = status.ca ? `--cacert ${/^[\w./-]+$/.test(status.ca) ? status.ca : `'${status.ca.replaceAll("'", "'\\''")}'`} ` : "";
    section("Try it without a provider",
      paste("the send command", `client send cloudvno message.received --to ${target}`),
      paste("the curl command", `curl ${ca}-d hello=world ${target}`));
    section("Signatures", el("p", { class: "quiet" },
      "A delivery shows ✓ ok or ✗ BAD where a secret is known, and ? KEY until then: set ADIT_SECRET_CLOUDVNO, or give --secret cloudvno=env:NAME, and start again."));
    if (status.embedded) {
      section("This URL works on this machine only", el("p", { class: "quiet" },
        "No relay is configured; for a public one: --relay HOST --token …"));
    }
  }
  $("empty").replaceChildren(box);
}

// ---------------------------------------------------------------------------------------------
// Replays.

/** Replays one delivery and waits for its end. Returns the new attempt, or the reason for none. */
async function replayOne(id) {
  model.replaying.add(id);
  changed("detail", "top");
  try {
    return { attempt: await ask(`/deliveries/${id}/replay`, { method: "POST" }) };
  } catch (error) {
    const gone = isLive() ? "" : "; it may have run";
    return { error: error.message + gone };
  } finally {
    model.replaying.delete(id);
    changed("detail", "top");
  }
}

async function replay() {
  const now = current();
  if (!now) return;
  if (!isLive()) return say("bad", "the client does not run, so nothing can be replayed");
  const id = now.d.id;
  if (model.replaying.has(id)) return say("", "it is being replayed already");
  say("", `replaying ${short(id)} to ${model.status.origin} …`);
  const { attempt: a, error } = await replayOne(id);
  if (error) return say("bad", `replay of ${short(id)}: ${error}`);
  if (model.selected === id) {
    model.attempt = null;
    changed("detail");
  }
  const cell = statusCell(a);
  const how = a.cause !== null ? ` ${a.error}` : a.ms !== null ? ` in ${duration(a.ms)}` : "";
  say(isFailure(a) ? "bad" : "good", `${isFailure(a) ? "✗" : "✓"} replayed ${short(id)}: ${cell}${how}`);
}

/** Failed deliveries that are shown, oldest first, those being replayed left out. */
function shownFailed() {
  return shownIds().filter((id) => !model.replaying.has(id) && isFailed(entry(id).d));
}

function planReplays() {
  if (model.batch) return say("", "replays are running; Stop ends them");
  if (!isLive()) return say("bad", "the client does not run, so nothing can be replayed");
  const ids = shownFailed();
  if (ids.length === 0) return say("", "nothing that is shown has failed");
  const plan = el("ol", { class: "plan" });
  let mayHaveRun = 0;
  for (const id of ids) {
    const d = entry(id).d;
    const a = latest(d);
    if (a.may_have_run) mayHaveRun += 1;
    plan.append(el("li", {},
      el("span", { class: "quiet" }, short(id)),
      el("span", { class: "quiet" }, clock(time(d.at))),
      el("span", { class: statusMood(a) }, statusCell(a)),
      el("span", {}, eventOf(d))));
  }
  const what = count(ids.length, "failed delivery", "failed deliveries");
  const body = [el("p", { class: "quiet" }, "Oldest first, one after the other; each becomes one more attempt.")];
  if (mayHaveRun > 0) {
    body.push(el("p", { class: "note" }, `${mayHaveRun} of them: ${ran(true)}.`));
  }
  if (model.older > 0) {
    body.push(el("p", { class: "quiet" }, "Only deliveries on this page; for all there are: client replay --failed"));
  }
  open({
    title: `Replay ${what} to ${model.status.origin}?`,
    body: [...body, plan],
    buttons: [
      { key: "y", name: `Replay ${ids.length}`, primary: true, run: () => replayAll(ids) },
      { key: "n", name: "Cancel" },
    ],
    keys: { y: () => replayAll(ids), n: () => {} },
  });
}

async function replayAll(ids) {
  const batch = { total: ids.length, done: 0, good: 0, stopped: false };
  model.batch = batch;
  changed("top");
  let why = null;
  for (const id of ids) {
    if (batch.stopped) break;
    if (!isLive()) {
      why = "the client went away";
      break;
    }
    // A retry may have been accepted, or the delivery removed, since the plan was made.
    const known = entry(id);
    if (known && isFailed(known.d) && !model.replaying.has(id)) {
      const { attempt } = await replayOne(id);
      if (attempt && !isFailure(attempt)) batch.good += 1;
      batch.done += 1;
    } else {
      batch.total -= 1;
    }
    changed("top");
  }
  model.batch = null;
  changed("top");
  const { total, done, good, stopped } = batch;
  const left = total - done;
  const result = done > 0 && good === done ? "all accepted" : `${good} accepted, ${done - good} failed`;
  if (left > 0) {
    const end = why ?? (stopped ? "stopped" : "ended");
    return say("warn", `${end}: replayed ${done} of ${total} (${result}); ${left} not sent`);
  }
  if (total === 0) return say("", "nothing was left to replay");
  say(good === done ? "good" : "bad", `${good === done ? "✓" : "✗"} replayed ${total}: ${result}`);
}

// ---------------------------------------------------------------------------------------------
// The clipboard.

async function copy(what, value) {
  try {
    await navigator.clipboard.writeText(value);
    say("good", `copied ${what} (${size(new TextEncoder().encode(value).length)})`);
  } catch {
    say("bad", `the browser does not let this page copy ${what}`);
  }
}

function copyPublicUrl() {
  const url = model.status?.url;
  return url ? copy("the public URL", url) : say("", "there is no public URL yet");
}

function copyMenu() {
  const now = current();
  if (!now) return;
  // Nothing is cut on the clipboard: the whole attempt is asked for.
  const whole = async (take) => {
    try {
      await take((await ask(`/deliveries/${now.d.id}/attempts/${now.a.n}`)).request);
    } catch (error) {
      say("bad", error.message);
    }
  };
  const choices = [
    ["u", "URL of the request", () => whole((r) => copy("the URL", r.url))],
    ["b", "body", () => whole((r) => {
      const body = utf8(bytesOf(r.body_base64));
      if (body === null) return say("", "the body is not text; client show ID --body writes its bytes");
      const exact = r.body_whole && r.body_kept === r.body_bytes;
      return copy(exact ? "the body" : "the part of the body that was kept", body);
    })],
    ["c", "as a curl command", () => whole((r) => copy("the curl command", curl(r)))],
    ["i", "id of the delivery", () => copy("the id", now.d.id)],
  ];
  open({
    title: "Copy",
    body: [el("div", { class: "choices" }, ...choices.map(([key, name, run]) => button(key, name, () => {
      closeDialog();
      run();
    })))],
    buttons: [{ key: "Esc", name: "Nothing" }],
    keys: Object.fromEntries([...choices.map(([key, , run]) => [key, run]), ["y", () => {}]]),
  });
}

/** A command that sends the same request to the public URL. Framing fields are curl's business. */
function curl(request) {
  const raw = bytesOf(request.raw_base64);
  const line = (from) => {
    let to = from;
    while (to < raw.length && !(raw[to] === 13 && raw[to + 1] === 10)) to += 1;
    return to;
  };
  let out = `curl -X ${quote(latin(request.method))} ${quote(new TextEncoder().encode(request.url))}`;
  let at = line(0) + 2;
  for (let end = line(at); end > at && end < raw.length; at = end + 2, end = line(at)) {
    const field = raw.subarray(at, end);
    const colon = field.indexOf(58);
    const name = String.fromCharCode(...field.subarray(0, colon)).toLowerCase();
    if (["host", "content-length", "transfer-encoding", "connection", "expect"].includes(name)) continue;
    // `Name;` is how curl sends a field without a value.
    const empty = field.subarray(colon + 1).every((b) => b === 32);
    const shown = empty ? Uint8Array.of(...field.subarray(0, colon), 59) : field;
    out += ` \\\n  -H ${quote(shown)}`;
  }
  const body = bytesOf(request.body_base64);
  // Unlike `--data-binary`, it does not read a file when the body begins with @.
  if (body.length > 0) out += ` \\\n  --data-raw ${quote(body)}`;
  return out;
}

function latin(s) {
  return Uint8Array.from(s, (c) => c.charCodeAt(0));
}

/** One word for a POSIX shell: `'…'`, or `$'…'` when there is something that a line cannot show. */
function quote(bytes) {
  const text = utf8(bytes);
  if (text !== null && !/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(text) && !HIDDEN.test(text)) {
    return `'${text.replaceAll("'", "'\\''")}'`;
  }
  let out = "$'";
  for (const byte of bytes) {
    if (byte === 39 || byte === 92) out += "\\" + String.fromCharCode(byte);
    else if (byte >= 32 && byte < 127) out += String.fromCharCode(byte);
    else out += "\\x" + byte.toString(16).padStart(2, "0");
  }
  return out + "'";
}

// ---------------------------------------------------------------------------------------------
// What just happened.

let saying = null;

function say(mood, sentence) {
  set($("said"), sentence, mood);
  clearTimeout(saying);
  saying = setTimeout(() => set($("said"), "", ""), SAID_MS);
}

// ---------------------------------------------------------------------------------------------
// Dialogs.

let dialogKeys = {};

function open({ title, body, buttons, keys = {} }) {
  set($("dialog-title"), title);
  $("dialog-body").replaceChildren(...body);
  $("dialog-buttons").replaceChildren(...buttons.map(({ key, name, primary, run }) => button(key, name, () => {
    closeDialog();
    run?.();
  }, { class: primary ? "primary" : null })));
  dialogKeys = keys;
  $("dialog").showModal();
  $("dialog-body").scrollTop = 0;
  ($("dialog-body").querySelector("button") ?? $("dialog-buttons").firstChild).focus();
}

function closeDialog() {
  $("dialog").close();
}

function help() {
  const dl = el("dl", { class: "keys" });
  for (const { shown, help } of KEYS) dl.append(el("dt", {}, el("kbd", {}, shown)), el("dd", {}, help));
  open({
    title: "Keys",
    body: [dl, el("p", { class: "quiet" }, `Adit ${model.status?.version ?? ""}. Nothing on this page leaves this machine.`)],
    buttons: [{ key: "Esc", name: "Close" }],
    keys: { "?": () => {} },
  });
}

// ---------------------------------------------------------------------------------------------
// Keys: those of the terminal UI, as far as a browser leaves them to a page.

const KEYS = [
  { keys: ["j", "ArrowDown"], shown: "j ↓", run: () => step(1), help: "next row; scrolls when the detail has the focus" },
  { keys: ["k", "ArrowUp"], shown: "k ↑", run: () => step(-1), help: "previous row, or scroll up; leaves Follow" },
  { keys: ["l", "ArrowRight"], shown: "l →", run: () => stepAttempt(1), help: "newer attempt of the delivery" },
  { keys: ["h", "ArrowLeft"], shown: "h ←", run: () => stepAttempt(-1), help: "older attempt" },
  { keys: ["g", "Home"], shown: "g Home", run: () => step(-Infinity), help: "first row, or top of the detail" },
  { keys: ["G", "End"], shown: "G End", run: () => step(Infinity), help: "newest row, or end of the detail" },
  { keys: ["PageDown"], shown: "PgDn", run: () => step(page()), help: "one page down" },
  { keys: ["PageUp"], shown: "PgUp", run: () => step(-page()), help: "one page up" },
  { keys: ["Enter"], shown: "Enter", run: enter, help: "open: focus the detail, then zoom it" },
  { keys: ["Escape", "q"], shown: "Esc q", run: back, help: "back: zoom, detail, filter, failed only" },
  ...TABS.map((tab, i) => ({
    keys: [String(i + 1)], shown: String(i + 1), run: () => openTab(tab),
    help: ["the request as it arrived", "what your app answered", "what verification concluded, and why", "every attempt, its time, and the next retry"][i],
  })),
  { keys: ["]"], shown: "]", run: () => stepTab(1), help: "next tab" },
  { keys: ["["], shown: "[", run: () => stepTab(-1), help: "previous tab" },
  { keys: ["J"], shown: "J", run: () => scrollDetail(60), help: "scroll the detail down, wherever the focus is" },
  { keys: ["K"], shown: "K", run: () => scrollDetail(-60), help: "scroll the detail up, wherever the focus is" },
  { keys: ["+"], shown: "+", run: () => zoom(true), help: "give the detail the whole window" },
  { keys: ["_", "-"], shown: "_ -", run: () => zoom(false), help: "both panes again" },
  { keys: ["b"], shown: "b", run: flipExact, help: "the body exactly as it came, or laid out to read" },
  { keys: ["/", "f"], shown: "/", run: focusFilter, help: "filter as you type: every word must be in the row (also f)" },
  { keys: ["F"], shown: "F", run: () => setFollow(!model.follow), help: "Follow: keep the newest delivery selected" },
  { keys: ["!"], shown: "!", run: flipFailed, help: "only the failed deliveries, or all again" },
  { keys: ["r"], shown: "r", run: replay, help: "replay: the same bytes to your app, as one more attempt" },
  { keys: ["&"], shown: "&", run: planReplays, help: "replay every failed delivery that is shown; shows the plan first" },
  { keys: ["y"], shown: "y", run: copyMenu, help: "copy something of the selected request" },
  { keys: ["Y"], shown: "Y", run: copyPublicUrl, help: "copy the public URL" },
  { keys: ["?"], shown: "?", run: help, help: "this page" },
];

const ACTIONS = new Map(KEYS.flatMap(({ keys, run }) => keys.map((key) => [key, run])));

function inDetail() {
  return $("detail").contains(document.activeElement) || model.zoom;
}

function page() {
  return Math.max(1, Math.floor($("scroll").clientHeight / (entry(model.selected)?.row?.offsetHeight || 28)) - 2);
}

function step(n) {
  if (inDetail()) {
    const panel = $("panel");
    if (Number.isFinite(n)) panel.scrollBy({ top: Math.abs(n) === 1 ? n * 40 : Math.sign(n) * panel.clientHeight * 0.9 });
    else panel.scrollTop = n > 0 ? panel.scrollHeight : 0;
    return;
  }
  stepRows(n);
}

function stepRows(n) {
  // Keys typed ahead of the frame act on the rows as they will be.
  if (dirty.asked) draw();
  const ids = shownIds();
  if (ids.length === 0) return;
  const at = ids.indexOf(model.selected);
  pick(ids[Math.min(ids.length - 1, Math.max(0, at + n))]);
}

/** Selects by hand; anything but the newest delivery ends Follow. */
function pick(id) {
  const ids = shownIds();
  choose(id);
  // Its countdown and the detail's tell the same second.
  dirty.rows.add(id);
  if (id !== ids[ids.length - 1]) setFollow(false);
  markSelected();
  entry(id)?.row?.scrollIntoView({ block: "nearest" });
  changed("detail");
}

function enter() {
  if ($("detail").contains(document.activeElement)) return zoom(true);
  if (!current()) return;
  $("panel").focus();
  // There is no room for both.
  if ($("detail").offsetParent === null) zoom(true);
}

function back() {
  if (model.zoom) {
    zoom(false);
    $("rows").focus();
  } else if ($("detail").contains(document.activeElement)) $("rows").focus();
  else if (model.filter !== "") setFilter("");
  else if (model.onlyFailed) flipFailed();
}

function zoom(on) {
  model.zoom = on && current() !== null;
  document.body.classList.toggle("zoom", model.zoom);
  if (model.zoom) $("panel").focus();
  changed("detail");
}

function scrollDetail(top) {
  $("panel").scrollBy({ top });
}

function flipFailed() {
  model.onlyFailed = !model.onlyFailed;
  changed("all", "top");
}

function setFilter(value) {
  model.filter = value;
  if ($("filter").value !== value) $("filter").value = value;
  changed("all", "top");
}

function focusFilter() {
  if (model.zoom) zoom(false);
  $("filter").focus();
  $("filter").select();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const take = (run) => {
    event.preventDefault();
    run();
  };
  if ($("dialog").open) {
    const run = dialogKeys[event.key];
    if (event.key === "q") take(closeDialog);
    else if (run) take(() => {
      closeDialog();
      run();
    });
    else if (event.key === "j" || event.key === "k") take(() => $("dialog-body").scrollBy({ top: event.key === "j" ? 40 : -40 }));
    return;
  }
  if (event.target === $("filter")) {
    if (event.key === "Enter") take(() => $("rows").focus());
    else if (event.key === "Escape") take(() => {
      setFilter("");
      $("rows").focus();
    });
    else if (event.key === "ArrowDown") take(() => stepRows(1));
    else if (event.key === "ArrowUp") take(() => stepRows(-1));
    return;
  }
  const isButton = event.target instanceof HTMLButtonElement;
  if (isButton && (event.key === "Enter" || event.key === " ")) return;
  if (event.target.role === "tab" && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    return take(() => {
      stepTab(event.key === "ArrowRight" ? 1 : -1);
      $(`tab-${model.tab}`).focus();
    });
  }
  const run = ACTIONS.get(event.key);
  if (run && !$("main").hidden) take(run);
  else if (event.key === "Y" || event.key === "?") take(run);
}

function begin() {
  drawWith(draw);
  document.addEventListener("keydown", onKey);
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row) return;
    pick(row.dataset.id);
    if ($("detail").offsetParent === null) zoom(true);
  });
  $("rows").addEventListener("dblclick", () => zoom(true));
  $("scroll").addEventListener("scroll", ({ target }) => {
    // Scrolling away from the newest by hand ends Follow.
    if (model.follow && target.scrollHeight - target.scrollTop - target.clientHeight > 60) setFollow(false);
  });
  watchPanel();
  new ResizeObserver(() => {
    if (model.follow) changed("top");
    else marked?.scrollIntoView({ block: "nearest" });
  }).observe($("list"));
  $("filter").addEventListener("input", ({ target }) => setFilter(target.value));
  const on = (id, run) => $(id).addEventListener("click", run);
  on("copy-url", copyPublicUrl);
  on("only-failed", flipFailed);
  on("follow", () => setFollow(!model.follow));
  on("back", back);
  on("before", () => stepAttempt(-1));
  on("after", () => stepAttempt(1));
  on("copy", copyMenu);
  on("replay", replay);
  on("replay-failed", planReplays);
  on("help", help);
  on("batch-stop", () => {
    if (model.batch) model.batch.stopped = true;
    changed("top");
  });
  $("dialog").addEventListener("close", () => {
    dialogKeys = {};
    $("rows").focus();
  });

  const linked = /^#\/d\/([a-z0-9]{16})$/i.exec(location.hash);
  if (linked) {
    model.selected = linked[1];
    model.follow = false;
  }

  // Countdowns, ages, and whether the client still speaks.
  setInterval(() => {
    if (model.link === "live" && Date.now() - model.heard > SILENCE_MS) {
      model.link = "silent";
      changed("top", "detail");
    }
    if (document.hidden) return;
    const now = Date.now();
    for (const [id, { d }] of model.deliveries) {
      if (d.retry.state === "expected" || isPending(latest(d))) dirty.rows.add(id);
    }
    const shown = current();
    const ticks = shown && (isPending(shown.a) || (shown.d.retry.state === "expected" && model.tab !== "request"));
    if (ticks && (model.tab !== "response" || isPending(shown.a)) && now) changed("top", "detail");
    else changed("top");
  }, 1000);

  $("rows").focus();
  listen();
}

begin();
