// Text: strangers' characters made visible, figures for people, bytes.

/** Combining marks that may sit on one letter, as in the terminal UI. */
const MARKS = 2;

export const HIDDEN = /[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}\ud800-\udfff]/u;
const MARK = /[\p{Mn}\p{Me}]/u;

/** `s` with every character that is not plainly visible spelled out: controls, bidi controls,
 *  invisible characters, and combining marks that run on. */
export function visible(s) {
  if (/^[\x20-\x7e]*$/.test(s)) return s;
  let out = "";
  let marks = 0;
  let before = " ";
  for (const c of s) {
    const code = c.codePointAt(0);
    const mark = MARK.test(c);
    if (c === "\n") out += "\\n";
    else if (c === "\r") out += "\\r";
    else if (c === "\t") out += "\\t";
    else if (code < 0x20 || code === 0x7f) out += "\\x" + code.toString(16).padStart(2, "0");
    // Emoji and text presentation belong to the symbol before them.
    else if ((code === 0xfe0e || code === 0xfe0f) && before > "\x7f" && marks > 0) out += c;
    else if ((code > 0x7f && code < 0xa0) || HIDDEN.test(c) || (mark && marks === 0)) {
      out += "\\u{" + code.toString(16) + "}";
    } else {
      out += c;
      marks = mark ? marks - 1 : c === " " ? 0 : MARKS;
      before = c;
      continue;
    }
    marks = 0;
    before = " ";
  }
  return out;
}

function two(n) {
  return String(n).padStart(2, "0");
}

/** `HH:MM:SS` here; `MM-DD HH:MM` for another day. */
export function clock(at) {
  const date = new Date(at);
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (date.toDateString() === new Date().toDateString()) return `${time}:${two(date.getSeconds())}`;
  return `${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}

/** Whole seconds left, rounded up: `58s`, `4m58s`, `2h04m`, `3d02h`. */
export function countdown(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  if (s < 86_400) return `${Math.floor(s / 3600)}h${two(Math.floor(s / 60) % 60)}m`;
  return `${Math.floor(s / 86_400)}d${two(Math.floor(s / 3600) % 24)}h`;
}

/** A duration in a cell: `41`, `1.3s`, `2m05s`. */
export function durationCell(ms) {
  if (ms < 1) return "<1";
  if (ms < 1000) return String(Math.floor(ms));
  return ms < 100_000 ? `${(ms / 1000).toFixed(1)}s` : countdown(ms);
}

/** A duration in a sentence: `0.4 ms`, `41 ms`, `1.3 s`. */
export function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  return ms < 100_000 ? `${(ms / 1000).toFixed(1)} s` : countdown(ms);
}

/** `412 B`, `1.9 kB`, `2.1 MB`. */
export function size(n) {
  if (n < 1e3) return `${n} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(1)} kB`;
  return n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(1)} GB`;
}

export function count(n, one, many) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

export function short(id) {
  return id.slice(10);
}

/** Times have microseconds; not every browser parses them. */
export function time(rfc3339) {
  return Date.parse(rfc3339.replace(/(\.\d{3})\d+/, "$1"));
}

export function bytesOf(base64) {
  const binary = atob(base64);
  const out = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) out[i] = binary.charCodeAt(i);
  return out;
}

/** `null` when it is not UTF-8. A piece may end in the middle of a character. */
export function utf8(bytes, isPiece = false) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes, { stream: isPiece });
  } catch {
    return null;
  }
}
