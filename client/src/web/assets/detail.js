// The detail: one attempt of a delivery, in four tabs.

import { clock, countdown, duration, short, size, time } from "./text.js";
import { appDisagrees, badge, eventOf, isPending, isSuccess, latest, ran, says, statusCell, statusMood, trigger } from "./words.js";
import { $, el, set, svg, text } from "./dom.js";
import { TABS, changed, current, model, setFollow } from "./model.js";
import { isLive } from "./client.js";
import { bodyOf } from "./body.js";

/** What the panel shows. The same again keeps its place. */
let drawn = null;
/** How far the panel is scrolled; asking the browser for it would cost a layout a frame. */
let scrolled = 0;

export function watchPanel() {
  $("panel").addEventListener("scroll", ({ target }) => {
    scrolled = target.scrollTop;
  });
}

export function drawDetail() {
  const now = current();
  document.body.classList.toggle("zoom", model.zoom && now !== null);
  $("replay").disabled = !now || !isLive() || model.replaying.has(now.d.id);
  $("copy").disabled = !now;
  $("switch").hidden = !now || now.d.attempts.length < 2;
  if (!now) {
    set($("what"), "");
    set($("when"), "nothing is selected");
    $("tabs").replaceChildren();
    $("panel").replaceChildren();
    return;
  }
  const { d, a } = now;
  set($("what"), eventOf(d));
  const about = [d.event ? `${d.method} ${d.path}` : null, d.provider ?? "unknown sender", clock(time(d.at)), short(d.id)];
  set($("when"), about.filter(Boolean).join(" · "));
  const at = d.attempts.indexOf(a);
  set($("which"), `attempt ${a.n} of ${d.attempts.length}`);
  $("before").disabled = at === 0;
  $("after").disabled = at === d.attempts.length - 1;
  $("replay").replaceChildren(el("kbd", {}, "r"), text(model.replaying.has(d.id) ? " Replaying" : " Replay"));
  drawTabs(d, a);

  const panel = $("panel");
  const key = `${d.id}/${a.n}/${model.tab}/${model.exact}`;
  if (key !== drawn && scrolled > 0) panel.scrollTop = 0;
  drawn = key;
  panel.setAttribute("aria-labelledby", `tab-${model.tab}`);
  const page = { request: requestPage, response: responsePage, signature: signaturePage, attempts: attemptsPage }[model.tab];
  const focused = panel.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  panel.replaceChildren(...page(d, a).filter(Boolean));
  if (focused) panel.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function drawTabs(d, a) {
  const labels = {
    request: "Request",
    response: `Response ${statusCell(a)}`,
    signature: `Signature ${badge(a)[0]}`,
    attempts: `Attempts ${d.attempts.length}`,
  };
  const tabs = $("tabs");
  if (tabs.childElementCount === 0) {
    TABS.forEach((tab, i) => {
      const node = el("button", { type: "button", role: "tab", id: `tab-${tab}`, "aria-controls": "panel" },
        el("kbd", {}, i + 1), " ", el("span", {}));
      node.addEventListener("click", () => openTab(tab));
      tabs.append(node);
    });
  }
  TABS.forEach((tab, i) => {
    const node = tabs.children[i];
    const isOpen = tab === model.tab;
    node.setAttribute("aria-selected", String(isOpen));
    node.tabIndex = isOpen ? 0 : -1;
    set(node.lastChild, labels[tab]);
  });
}

/** The exact bytes, or a line that says where they are. */
function loaded(d, a, out) {
  const slot = model.details.get(`${d.id}/${a.n}`);
  if (slot?.value) return slot.value;
  if (slot?.error && !slot.loading) {
    out.push(el("p", { class: isPending(a) ? "quiet" : "note bad" }, isPending(a) ? "the request is still coming in …" : slot.error));
  } else out.push(el("p", { class: "quiet" }, "reading …"));
  return null;
}

function noteOf(a) {
  return a.note ? el("p", { class: "note" }, `note: ${a.note}`) : null;
}

function requestPage(d, a) {
  const out = [];
  const detail = loaded(d, a, out);
  if (!detail) return out;
  const request = detail.request;
  out.push(
    el("p", { class: "first" }, el("span", { class: "t-name" }, request.method), " ", el("span", {}, request.path), " ",
      el("span", { class: "quiet" }, request.version)),
    el("p", { class: "quiet" }, `${clock(time(request.at))} · from ${request.remote} · ${request.id}`),
    noteOf(a), ...message(request, d));
  return out;
}

function responsePage(d, a) {
  const out = [];
  if (isPending(a)) {
    const since = duration(Math.max(0, Date.now() - time(a.at)));
    return [el("p", { class: "note" }, `··· no answer yet, ${since}`)];
  }
  if (a.cause !== null) {
    out.push(
      el("p", { class: "note bad" }, el("span", { class: "bad strong mono" }, statusCell(a)), "  ", el("span", { class: "strong" }, a.error)),
      el("p", { class: "quiet" }, a.trigger === "replay"
        ? `cause: ${a.cause}`
        : `the sender got ${a.status ?? "no status"} · Adit-Cause: ${a.cause}`),
      el("p", { class: a.may_have_run ? "warn" : "quiet" }, ran(a.may_have_run)));
    if (a.cause === "app-refused") {
      out.push(el("p", { class: "hint" }, "start your app, then press r to replay this one"));
    }
  }
  const detail = loaded(d, a, out);
  if (!detail) return out;
  const response = detail.response;
  if (!response) {
    if (a.cause === null) out.push(el("p", { class: "quiet" }, "the answer was not recorded"));
    return out;
  }
  const facts = [a.ms === null ? null : duration(a.ms), size(response.body_bytes), a.origin];
  out.push(
    el("p", { class: "first" }, el("span", { class: statusMood({ status: response.status, cause: null }) }, response.status), " ",
      el("span", {}, response.reason), " ", el("span", { class: "quiet" }, ` ${facts.filter(Boolean).join(" · ")}`)),
    noteOf(a), ...message(response));
  return out;
}

/** Headers in their order, body, trailers. `d` when it is the request of that delivery. */
function message(m, d = null) {
  const out = [...fields("headers", m.headers), ...bodyOf(m, d)];
  if (m.trailers.length > 0) out.push(...fields("trailers", m.trailers));
  return out;
}

function fields(title, list) {
  const dl = el("dl", { class: "fields" });
  for (const [name, value] of list) dl.append(el("dt", {}, name), el("dd", {}, value));
  const one = list.length === 1;
  const name = one ? title.slice(0, -1) : title;
  return [el("h2", {}, `${list.length} ${name}, as ${one ? "it" : "they"} came`), dl];
}

function pair(dl, name, value, className) {
  if (value === null || value === undefined) return;
  dl.append(el("dt", {}, name), el("dd", { class: className }, value));
}

function signaturePage(d, a) {
  const [word, mood] = badge(a);
  const dl = el("dl", { class: "pairs" });
  pair(dl, "why", a.why);
  pair(dl, "scheme", d.provider);
  pair(dl, "secret", a.secret === null ? null : `#${a.secret} of the configured ones`);
  pair(dl, "reading", a.reading);
  const app = isPending(a) ? "··· no answer yet" : a.cause !== null ? `${statusCell(a)} ${a.error}` : statusCell(a);
  pair(dl, "app", app, statusMood(a));
  const out = [
    el("p", { class: "verdict" }, el("span", { class: `badge ${mood}` }, word), el("span", { class: "strong" }, says(a))),
    dl,
  ];
  if (a.hint) out.push(el("p", { class: "note" }, el("span", { class: "hint strong" }, a.hint), " ", el("span", { class: "quiet" }, a.hint_code ?? "")));
  out.push(...advice(d, a), ...retryPage(d));
  return out;
}

/** What the verdict and the app's answer together tell. */
function advice(d, a) {
  const provider = d.provider ?? "the provider";
  const p = (s) => el("p", {}, s);
  if (appDisagrees(a)) {
    const points = [
      "it may hash parsed and re-encoded data instead of the raw body",
      `it may build the signed URL from http:// or localhost instead of ${model.status?.url ?? "the public URL"}`,
      "its secret may differ from the one that matched here",
    ];
    return [p(`${provider} signed exactly these bytes, so look at your app's own check:`),
      el("ul", { class: "advice" }, ...points.map((point) => el("li", {}, point)))];
  }
  switch (a.signature) {
    case "valid": return [p(`${provider} signed exactly these bytes, and nothing changed on the way.`)];
    case "invalid":
    case "missing":
    case "stale":
      return isSuccess(a) ? [p("Your app accepted it all the same: it does not check, or it checks something else.")] : [];
    case "no-secret": {
      const name = `ADIT_SECRET_${provider.toUpperCase().replace(/[^A-Z0-9]/g, "_")}`;
      return [p(`Set ${name}, or give --secret, and start again to have it checked.`)];
    }
    default: return [p("No scheme is configured or recognised for this request.")];
  }
}

function attemptsPage(d, a) {
  const list = el("ul", { class: "attempts" });
  for (const one of d.attempts) {
    const [word, mood] = badge(one);
    const node = el("button", { type: "button", "aria-current": one.n === a.n ? "true" : null, "data-focus": `attempt-${one.n}` },
      el("span", { class: "strong" }, `#${one.n}`),
      el("span", {}, clock(time(one.at))),
      el("span", { class: statusMood(one) }, statusCell(one)),
      el("span", { class: mood }, word),
      el("span", {}, one.ms === null ? "" : duration(one.ms)),
      el("span", { class: "size quiet" }, one.bytes === null ? "" : size(one.bytes)),
      el("span", { class: "trigger quiet" }, trigger(one, d)));
    if (one.cause !== null) {
      const run = one.may_have_run ? ` · ${ran(true)}` : "";
      node.append(el("span", { class: "cause" }, `${one.error} (${one.cause})${run}`));
    }
    node.addEventListener("click", () => showAttempt(one.n));
    list.append(el("li", {}, node));
  }
  return [list, ...retryPage(d), ...timingPage(a), noteOf(a)];
}

/** What the sender does next. */
function retryPage(d) {
  const provider = d.provider ?? "the sender";
  const out = [el("h2", {}, "what comes next")];
  const line = (s, mood) => out.push(el("p", { class: mood }, s));
  switch (d.retry.state) {
    case "expected": {
      const at = time(d.retry.at);
      const left = at - Date.now();
      const which = `retry ${d.retry.number} of ${d.retry.of}`;
      line(left <= 0 ? `${provider} is due to send it again: ${which}` : `${provider} sends it again in ${countdown(left)}: ${which}`);
      const begin = time(latest(d).at);
      out.push(el("progress", {
        class: "progress", max: Math.max(1, at - begin), value: Math.min(at - begin, Math.max(0, Date.now() - begin)),
        "aria-label": "time until the next retry",
      }));
      break;
    }
    case "never": line(`${provider} does not send it again by itself; r replays it`); break;
    case "not-due":
      line(isPending(latest(d)) ? "the answer is still on its way" : "nothing: it was accepted, so no retry is due");
      break;
    case "exhausted": line(`${provider} has given up; r replays it`, "bad"); break;
    default: line("not known: no retry schedule is published", "quiet");
  }
  return out;
}

/** Where the time of one attempt went, step by step. */
function timingPage(a) {
  const t = a.timing;
  const steps = [];
  if (t.received_ms !== null) steps.push(["request comes in", 0, t.received_ms]);
  let from = 0;
  for (const [name, to] of [["connect", t.connected_ms], ["send head", t.sent_ms], ["app works", t.head_ms], ["answer", t.done_ms]]) {
    if (to === null) continue;
    steps.push([name, Math.min(from, to), to]);
    from = Math.max(from, to);
  }
  if (steps.length === 0) return [];
  const end = Math.max(1e-6, ...steps.map(([, , to]) => to));
  const grid = el("div", { class: "timing" });
  for (const [name, from, to] of steps) {
    const width = Math.max(0.6, ((to - from) / end) * 100);
    const x = Math.min((from / end) * 100, 100 - width);
    grid.append(el("span", {}, name),
      svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("rect", { x, y: 0, width, height: 10 })),
      el("span", { class: "took" }, duration(to - from)));
  }
  return [el("h2", {}, `timing of #${a.n} → ${a.origin}`), grid];
}

export function stepAttempt(n) {
  const now = current();
  if (!now) return;
  const a = now.d.attempts[now.d.attempts.indexOf(now.a) + n];
  if (a) showAttempt(a.n);
}

function showAttempt(n) {
  const now = current();
  if (!now) return;
  model.attempt = n === latest(now.d).n ? null : n;
  if (model.attempt !== null) setFollow(false);
  changed("detail");
}

export function openTab(tab) {
  if (model.tab === tab) return;
  model.tab = tab;
  changed("detail");
}

export function stepTab(n) {
  openTab(TABS[(TABS.indexOf(model.tab) + n + TABS.length) % TABS.length]);
}

export function flipExact() {
  model.exact = !model.exact;
  changed("detail");
}
