// Bodies: JSON indented, forms as a table, text as it is, the rest as bytes. Only the layout changes:
// a signature covers the spelling.

import { bytesOf, short, size, utf8 } from "./text.js";
import { $, button, el, newline, text } from "./dom.js";
import { model } from "./model.js";
import { flipExact } from "./detail.js";

/** Bytes of a body that are laid out: more than anybody reads, and quick to lay out. */
export const SHOWN = 256 * 1024;
/** Lines of a body that are laid out. */
const LINES = 5000;

function kindOf(s, headers, isPiece) {
  if (s === null) return "bytes";
  const odd = s.match(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g)?.length ?? 0;
  if (odd * 20 > s.length) return "bytes";
  const declared = (headers.find(([name]) => name.toLowerCase() === "content-type")?.[1] ?? "").toLowerCase();
  if (/^\s*[{[]/.test(s)) {
    if (isPiece && declared.includes("json")) return "JSON";
    try {
      JSON.parse(s);
      return "JSON";
    } catch {
      // It only looks like it.
    }
  }
  return declared.startsWith("application/x-www-form-urlencoded") ? "form" : "text";
}

export function bodyOf(m, d) {
  const cut = "cut: the sender or the app went away before the end";
  if (m.body_bytes === 0 && m.body_kept === 0) {
    return [el("h2", {}, "no body"), m.body_whole ? null : el("p", { class: "note" }, cut)];
  }
  const bytes = bytesOf(m.body_base64).subarray(0, SHOWN);
  const isPiece = bytes.length < m.body_kept;
  const s = utf8(bytes, isPiece);
  const kind = kindOf(s, m.headers, isPiece);
  const pre = el("pre", { class: kind === "bytes" ? "body hex" : "body" });
  const lines = kind === "bytes" ? hex(pre, bytes)
    : kind === "JSON" && !model.exact ? json(pre, s)
    : kind === "form" && !model.exact ? form(pre, s)
    : plain(pre, s);

  const title = el("h2", {}, `${kind} · ${size(m.body_bytes)}`);
  if (kind === "JSON" || kind === "form") {
    const other = model.exact ? "laid out" : "exact";
    title.append(button("b", other, flipExact, {
      "data-focus": "exact",
      title: model.exact ? "shown exactly as it came" : kind === "form" ? "shown decoded" : "shown indented, every token as it came",
    }));
  }
  const out = [title, pre];
  const note = (line) => out.push(el("p", { class: "note" }, line));
  const encoding = m.headers.find(([name]) => name.toLowerCase() === "content-encoding")?.[1];
  if (encoding && kind === "bytes") note(`the body is compressed (${encoding}); these are its bytes as they came`);
  if (isPiece || lines >= LINES) {
    const what = lines >= LINES ? `${LINES.toLocaleString("en")} lines` : size(bytes.length);
    const rest = d === null ? "" : `; client show ${short(d.id)} --body prints them`;
    note(`… the first ${what} of it; ${size(m.body_kept)} were kept${rest}`);
  }
  if (m.body_kept < m.body_bytes) {
    note(`only the first ${size(m.body_kept)} of ${size(m.body_bytes)} were kept; your app got all of it`);
  }
  if (!m.body_whole) note(cut);
  return out;
}

function token(className, s) {
  return el("span", { class: className }, s);
}

function plain(pre, s) {
  const lines = s.split("\n", LINES);
  lines.forEach((line, i) => {
    if (i > 0) pre.append(newline());
    pre.append(text(model.exact ? line : line.replace(/\r$/, "").replaceAll("\t", "    ")));
  });
  return lines.length;
}

/** Indents JSON without touching a token. Returns the number of lines. */
function json(pre, s) {
  const tokens = /"(?:[^"\\]|\\[^])*"?|[{}[\],:]|[^\s{}[\],:"]+/g;
  const out = document.createDocumentFragment();
  let depth = 0;
  let lines = 1;
  let last = null;
  const fresh = () => {
    lines += 1;
    // Deep nesting stays readable: past 16 levels the indent no longer grows.
    out.append(newline(), text("  ".repeat(Math.min(16, depth))));
  };
  for (let match = tokens.exec(s); match && lines < LINES; match = tokens.exec(s)) {
    const t = match[0];
    const isClose = t === "}" || t === "]";
    if ((last === "{" || last === "[") && !isClose) {
      depth += 1;
      fresh();
    }
    if (isClose && last !== "{" && last !== "[") {
      depth = Math.max(0, depth - 1);
      fresh();
    }
    if (t === "{" || t === "[" || isClose) out.append(token("t-quiet", t));
    else if (t === ",") {
      out.append(token("t-quiet", t));
      fresh();
    } else if (t === ":") out.append(token("t-quiet", ": "));
    else if (t[0] === '"') {
      const isName = /^\s*:/.test(s.slice(tokens.lastIndex, tokens.lastIndex + 64));
      out.append(token(isName ? "t-name" : "t-string", t));
    } else out.append(token(/^[-0-9]/.test(t) ? "t-number" : "t-word", t));
    // An empty pair closes on its line, and is a value like any other.
    last = t;
  }
  pre.append(out);
  return lines;
}

/** `name = value`, decoded, the names in one column. */
function form(pre, s) {
  const pairs = s.split("&").filter(Boolean).slice(0, LINES).map((part) => {
    const at = part.indexOf("=");
    return (at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)]).map(percentDecode);
  });
  const widest = Math.min(28, Math.max(0, ...pairs.map(([name]) => name.length)));
  pairs.forEach(([name, value], i) => {
    if (i > 0) pre.append(newline());
    pre.append(token("t-name", name), token("t-quiet", `${" ".repeat(Math.max(0, widest - name.length))} = `), token("t-string", value));
  });
  return pairs.length;
}

/** As forms have it: `+` is a space, `%XX` a byte; anything else stays. */
function percentDecode(part) {
  const raw = new TextEncoder().encode(part);
  const out = [];
  for (let at = 0; at < raw.length; at += 1) {
    const digits = String.fromCharCode(raw[at + 1] ?? 0, raw[at + 2] ?? 0);
    if (raw[at] === 37 && /^[0-9a-f]{2}$/i.test(digits)) {
      out.push(parseInt(digits, 16));
      at += 2;
    } else out.push(raw[at] === 43 ? 32 : raw[at]);
  }
  const bytes = Uint8Array.from(out);
  return utf8(bytes) ?? Array.from(bytes, (b) => (b < 0x80 ? String.fromCharCode(b) : `\\x${b.toString(16)}`)).join("");
}

/** Offset, bytes, and what of them is ASCII; 8 a row where 16 would not fit. */
function hex(pre, bytes) {
  const perRow = $("panel").clientWidth >= 660 ? 16 : 8;
  let lines = 0;
  for (let at = 0; at < bytes.length && lines < LINES; at += perRow, lines += 1) {
    const row = Array.from(bytes.subarray(at, at + perRow));
    if (at > 0) pre.append(newline());
    pre.append(token("t-quiet", `${at.toString(16).padStart(8, "0")}  `),
      text(`${row.map((b) => b.toString(16).padStart(2, "0")).join(" ").padEnd(perRow * 3)} `),
      token("t-string", row.map((b) => (b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : "·")).join("")));
  }
  return lines;
}
