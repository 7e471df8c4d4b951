// What a delivery says, in the words of the terminal UI.

import { countdown, durationCell, time } from "./text.js";

export function latest(d) {
  return d.attempts[d.attempts.length - 1];
}

export function isPending(a) {
  return a.status === null && a.cause === null;
}

export function isAnswered(a) {
  return a.cause === null && a.status !== null;
}

export function isFailure(a) {
  return a.cause !== null || (a.status !== null && a.status >= 400);
}

export function isSuccess(a) {
  return isAnswered(a) && a.status >= 200 && a.status < 300;
}

/**
 * The newest attempt that is over failed. A replay under way changes nothing yet, and what was
 * refused for its signature has not failed.
 */
export function isFailed(d) {
  const over = d.attempts.findLast((a) => !isPending(a));
  return over !== undefined && isFailure(over) && over.cause !== "bad-signature";
}

export function statusCell(a) {
  if (isPending(a)) return "···";
  if (a.cause === null) return String(a.status);
  if (a.cause.includes("timeout")) return "T/O";
  return a.may_have_run ? "???" : "ERR";
}

export function statusMood(a) {
  if (isPending(a)) return "warn";
  if (a.cause !== null) return "bad";
  if (a.status < 200) return "";
  if (a.status < 300) return "good";
  if (a.status < 400) return "info";
  return a.status < 500 ? "warn" : "bad";
}

/** Valid here, and the app refused it the way apps refuse signatures. */
export function appDisagrees(a) {
  return a.signature === "valid" && a.cause === null && [400, 401, 403].includes(a.status);
}

export function badge(a) {
  if (appDisagrees(a)) return ["≠ APP", "warn"];
  switch (a.signature) {
    case "valid": return ["✓ ok", "good"];
    case "invalid": return ["✗ BAD", "bad"];
    case "stale": return ["◷ OLD", "warn"];
    case "missing": return ["? MISS", "warn"];
    case "no-secret": return ["? KEY", "warn"];
    default: return ["· none", "quiet"];
  }
}

export function says(a) {
  if (appDisagrees(a)) return "valid here, and your app rejected it";
  switch (a.signature) {
    case "valid": return "the signature is valid";
    case "invalid": return "the signature is invalid";
    case "stale": return "the signature is right, its timestamp is not";
    case "missing": return "the signature is missing";
    case "no-secret": return "not checked: no secret is configured";
    default: return "nothing to check";
  }
}

export function trigger(a, d) {
  switch (a.trigger) {
    case "retry": return `retry by ${d.provider ?? "the sender"}`;
    case "replay": return "↺ replay";
    case "held": return "held, then sent";
    default: return "first try";
  }
}

export function ran(mayHaveRun) {
  return mayHaveRun ? "your app may have acted on it all the same" : "your app has not seen it";
}

export function eventOf(d) {
  return d.event ?? `${d.method} ${d.path}`;
}

/** Tries by the sender so far, of how many where that is known. Replays are ours. */
export function tries(d) {
  const sent = d.attempts.filter((a) => a.trigger !== "replay").length;
  if (d.retry.state === "expected") return `${sent}/${d.retry.of + 1}`;
  return d.retry.state === "never" ? `${sent}/1` : String(sent);
}

/** When the sender comes again. */
export function next(d, now) {
  if (d.retry.state === "expected") {
    const left = time(d.retry.at) - now;
    return left <= 0 ? ["due", "warn"] : [countdown(left), "warn"];
  }
  if (d.retry.state === "exhausted") return ["dead", "bad"];
  if (d.attempts.some(isSuccess)) return ["done", "quiet"];
  if (d.retry.state === "never") return ["none", "quiet"];
  return [d.retry.state === "not-due" ? "-" : "?", "quiet"];
}

export function took(a, now) {
  if (isPending(a)) return durationCell(Math.max(0, now - time(a.at)));
  return a.ms === null ? "-" : durationCell(a.ms);
}

export function matches(d, words) {
  const a = latest(d);
  const text = [d.id, d.method, d.path, d.provider ?? "", d.event ?? "", statusCell(a), badge(a)[0]];
  const row = text.join("\n").toLowerCase();
  return words.every((word) => row.includes(word));
}
