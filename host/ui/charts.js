// Water lines and small charts.

import { el, svg } from '/console/dom.js';
import { bytes, count, kindOf } from '/console/format.js';

const PAGE = 65536;

// Where a number of bytes is on the logarithmic scale from one page to `most`, in percent.
const place = (value, most) =>
  Math.max(0, Math.min(100, (100 * Math.log2(Math.max(value, PAGE) / PAGE)) / Math.log2(Math.max(most, 2 * PAGE) / PAGE)));

// A water line: the water up to p99, marks for the median and the maximum, the cap, and the recommended cap. It is a picture:
// the numbers are next to it as text. The cap may be unknown.
export function waterLine({ p50, p99, max, cap, recommended, most, isAlarm, isEmpty }) {
  const at = (value) => ({ left: `${place(value, most)}%` });
  const text = isEmpty ? 'no runs' : `median ${bytes(p50)}, p99 ${bytes(p99)}, maximum ${bytes(max)}`;
  const hint = recommended ? `, recommended cap ${bytes(recommended)}` : '';
  const isKnown = cap !== undefined;
  return el('div', { class: `water${isAlarm ? ' alarm' : ''}`, role: 'img', 'aria-label': `${text}, cap ${isKnown ? bytes(cap) : 'unknown'}${hint}` },
    isKnown && el('div', { class: 'hull', style: { width: `${place(cap, most)}%` } }),
    grid(most).map((value) => el('i', { class: 'grid', style: at(value) })),
    !isEmpty && [
      el('div', { class: 'level', style: { width: `${place(p99, most)}%` } }),
      el('i', { class: 'median', style: at(p50) }),
      el('i', { class: 'max', style: at(max) }),
    ],
    recommended && el('i', { class: 'recommended', style: at(recommended) }),
    isKnown && el('i', { class: 'cap', style: at(cap) }));
}

const grid = (most) => [...Array(6).keys()].map((step) => PAGE * 16 ** step).filter((value) => value < most);

// The scale above water lines.
export const scale = (most) => [el('span', { class: 'unseen' }, 'Water line'), el('div', { class: 'water scale', 'aria-hidden': 'true' },
  grid(most).map((value) => el('span', { style: { left: `${place(value, most)}%` } }, bytes(value))))];

export const legend = () => el('p', { class: 'legend' }, [
  ['level', 'p99'], ['median', 'median'], ['max', 'maximum'], ['recommended', 'recommended cap'], ['cap', 'cap'],
].map(([kind, label]) => el('span', {}, el('i', { class: `key ${kind}` }), label)));

// The maximum of each interval as a line. `ago` is in seconds, the right edge is now.
export function sparkline(points, step, span, cap) {
  const [width, height] = [140, 28];
  const slots = Math.round(span / step);
  const most = Math.max(cap, 2 * PAGE);
  const bars = points.ago.map((ago, at) => ({ slot: slots - 1 - Math.round(ago / step), max: points.max[at] }))
    .filter(({ slot }) => slot >= 0);
  const size = width / slots;
  const label = bars.length === 0 ? 'no runs' : `highest ${bytes(Math.max(...bars.map(({ max }) => max)))}`;
  return svg('svg', { class: 'spark', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `history: ${label}` },
    svg('line', { x1: 0, x2: width, y1: 0.5, y2: 0.5, class: 'cap' }),
    bars.map(({ slot, max }) => {
      const tall = Math.max(1, (height * place(max, most)) / 100);
      return svg('rect', { x: slot * size, y: height - tall, width: Math.max(0.8, size - 0.4), height: tall });
    }));
}

// Requests of each interval by outcome: what ended well below, faults above.
export function stripes(points, step, span) {
  const [width, height] = [280, 40];
  const slots = Math.round(span / step);
  const size = width / slots;
  const totals = points.ago.map((_, at) => Object.values(points.outcomes).reduce((sum, column) => sum + column[at], 0));
  const most = Math.max(1, ...totals);
  const order = ['ok', 'caller', 'fault'];
  const bars = points.ago.flatMap((ago, at) => {
    const slot = slots - 1 - Math.round(ago / step);
    if (slot < 0) return [];
    let below = 0;
    return order.map((kind) => {
      const number = Object.entries(points.outcomes).filter(([outcome]) => kindOf(outcome) === kind)
        .reduce((sum, [, column]) => sum + column[at], 0);
      const tall = number === 0 ? 0 : Math.max(1.5, (height * number) / most);
      below += tall;
      return number > 0 && svg('rect', { class: kind, x: slot * size, y: height - below, width: Math.max(0.8, size - 0.5), height: tall });
    });
  });
  const sums = outcomeSums(points);
  const label = sums.length === 0 ? 'no requests' : sums.map(([outcome, number]) => `${count(number)} ${outcome}`).join(', ');
  return svg('svg', { class: 'stripes', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label }, bars);
}

// The number of requests by outcome, over all points.
export const outcomeSums = (points) => Object.entries(points.outcomes)
  .map(([outcome, column]) => [outcome, column.reduce((sum, number) => sum + number, 0)])
  .filter(([, number]) => number > 0).sort((a, b) => b[1] - a[1]);

export const badge = (outcome, kind = kindOf(outcome)) => el('span', { class: `badge ${kind}` }, outcome);
