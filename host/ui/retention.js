// What holds the survivors of a leak report (`retention.dot`): a list in a list for each step from a root. The file names
// functions and statics of a plugin, so its texts are foreign: they become text nodes.

import { el } from '/console/dom.js';

// Steps of all chains together. A report has fewer.
const MOST = 400;

const ESCAPES = { n: '\n', r: '\r', t: '\t', 0: '\0' };

// The texts have the escapes of Rust.
const unescaped = (text) => text.replace(/\\(?:u\{([0-9a-f]{1,6})\}|(.))/g, (all, code, letter) => {
  if (code === undefined) return ESCAPES[letter] ?? letter;
  const point = parseInt(code, 16);
  return point <= 0x10ffff ? String.fromCodePoint(point) : all;
});

export function retention(text) {
  const labels = new Map();
  const next = new Map();
  const held = new Set();
  for (const line of text.split('\n')) {
    const [, node, label] = /^\s*n(\d+) \[label="((?:[^"\\]|\\.)*)"/.exec(line) ?? [];
    const [, from, to] = /^\s*n(\d+) -> n(\d+);/.exec(line) ?? [];
    if (node !== undefined) labels.set(node, unescaped(label));
    if (from === undefined) continue;
    next.set(from, [...(next.get(from) ?? []), to]);
    held.add(to);
  }
  let left = MOST;
  const step = (node, passed) => {
    left -= 1;
    const lines = labels.get(node).split('\n');
    const holds = (next.get(node) ?? []).filter((other) => labels.has(other) && !passed.includes(other));
    const deeper = holds.flatMap((other) => (left > 0 ? [step(other, [...passed, node])] : []));
    return el('li', {}, el('strong', {}, lines[0]), lines.slice(1).map((more) => el('div', { class: 'small' }, more)),
      deeper.length > 0 && el('ul', {}, deeper));
  };
  const roots = [...labels.keys()].filter((node) => !held.has(node)).flatMap((node) => (left > 0 ? [step(node, [])] : []));
  if (roots.length === 0) return el('p', {}, 'Nothing survived.');
  return [el('ul', { class: 'chain' }, roots), left <= 0 && el('p', { class: 'small' }, 'There are more steps: see the file retention.dot.')];
}
