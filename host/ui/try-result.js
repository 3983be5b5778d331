// The reply of one chip: a picture with boxes, bars of classes, masks, text or JSON; times and marks.

import { scale, waterLine } from '/console/charts.js';
import { el, problem, svg, table } from '/console/dom.js';
import { bytes, percent } from '/console/format.js';
import { mask } from '/console/masks.js';

// Those of the style sheet.
const COLOURS = [[255, 176, 0], [76, 201, 240], [255, 93, 143], [158, 240, 26], [199, 125, 255], [255, 123, 0], [45, 212, 191],
  [248, 243, 43]];

// The most results that are drawn: a plugin may reply with any number, and the browser must not stop.
const MOST = 1000;

// A reply of an unknown form is shown as it is.
export function shownReply(reply, pipeline, picture) {
  try {
    return drawn(reply, pipeline, picture);
  } catch {
    return [el('div', { class: 'canvas' }, image(picture)), el('p', {}, 'The page cannot draw a reply of this form, so it is shown as it is.'),
      el('pre', { tabindex: 0 }, (reply.json === undefined ? reply.text ?? '' : JSON.stringify(reply.json, null, 2)).slice(0, 20000)),
      facts(reply, pipeline)];
  }
}

function drawn(reply, pipeline, picture) {
  const { json } = reply;
  if (reply.status >= 400) {
    const plain = el('div', { class: 'canvas' }, image(picture));
    return [problem({ status: reply.status, message: reply.text ?? 'The request failed.', problem: json }), plain, facts(reply, pipeline)];
  }
  const found = json?.detections ?? json?.poses ?? json?.segments ?? items(json);
  // Items may have no place, for example the whole picture on one of several branches.
  const isPlaced = found && (found !== json.items || (json.width > 0 && found.every(({ box }) => box !== undefined)));
  const parts = isPlaced ? boxes(found, json, picture) : [el('div', { class: 'canvas' }, image(picture),
    reply.picture && el('img', { class: 'mask', src: reply.picture, alt: 'The mask of the classes' }))];
  return [
    ...parts,
    found && !isPlaced && (found.length === 0 ? el('p', {}, 'There are no items.') : el('ol', { class: 'found' },
      found.slice(0, MOST).map((item) => el('li', {}, described(answer(item) === undefined ? { label: 'item', ...item } : item))))),
    json?.predictions && bars(json.predictions),
    typeof json?.text === 'string' && el('p', { class: 'text' }, json.text, ' ', el('small', {}, `confidence ${percent(json.confidence ?? 0)}`)),
    Array.isArray(json?.embedding) && el('p', {}, `${json.embedding.length} dimensions: ${json.embedding.slice(0, 8).map((x) => x.toFixed(4)).join(', ')} …`),
    reply.text && el('pre', { tabindex: 0 }, reply.text.slice(0, 20000)),
    reply.size !== undefined && el('p', {}, `${bytes(reply.size)} of ${reply.type}`),
    Math.max(found?.length ?? 0, json?.predictions?.length ?? 0) > MOST && el('p', { class: 'small' }, `Only the first ${MOST} results are shown.`),
    facts(reply, pipeline),
  ];
}

// The items of a pipeline of steps. Other replies may have a member of this name, too.
const items = (json) => (Array.isArray(json?.items) && json.items.every((item) => item !== null && typeof item === 'object') ? json.items : undefined);

function image(picture) {
  const shown = el('img', { src: picture, alt: 'The image that was sent' });
  // A small image is enlarged without blurring it.
  shown.addEventListener('load', () => shown.classList.toggle('tiny', shown.naturalWidth < 200));
  shown.addEventListener('error', () => shown.replaceWith(el('p', { class: 'small' }, 'The browser cannot show this format.')));
  return shown;
}

// Boxes, outlines and points in the pixels of the image, over the image.
function boxes(found, { width, height }, picture) {
  if (!(width > 0 && height > 0)) throw new Error('the reply has no size of the image');
  const overlay = svg('svg', { class: 'boxes', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img' });
  const list = el('ol', { class: 'found' });
  const line = Math.max(width, height) / 200;
  const isMask = found.some(({ rle }) => rle !== undefined);
  let layer;
  const draw = (threshold) => {
    // Each keeps its colour in the list, the outlines and the mask.
    const kept = found.map((item, at) => [item, at % COLOURS.length]).filter(([{ score }]) => score === undefined || score >= threshold).slice(0, MOST);
    overlay.setAttribute('aria-label', `${kept.length} of ${found.length} shown`);
    overlay.replaceChildren(...kept.flatMap(([item, colour]) => shapes(item, colour, line)));
    list.replaceChildren(...kept.map(([item, colour]) => el('li', { class: `colour${colour}` }, described(item))));
    shown.textContent = `${kept.length} of ${found.length}`;
    if (!isMask) return;
    const drawn = mask(kept, width, height, COLOURS);
    layer?.replaceWith(drawn);
    layer = drawn;
  };
  const shown = el('output', { for: 'threshold' });
  const slider = el('input', { type: 'range', min: 0, max: 1, step: 0.01, value: 0, oninput: () => {
    value.textContent = slider.value;
    draw(Number(slider.value));
  } });
  const value = el('span', {}, '0');
  const hasScores = found.some(({ score }) => score !== undefined);
  draw(0);
  return [
    el('div', { class: 'canvas' }, image(picture), layer, overlay),
    hasScores && el('label', { class: 'slider' }, 'Score at least ', value, slider, shown),
    found.length === 0 ? el('p', {}, 'Nothing was found.') : list,
  ];
}

// What the steps of a pipeline say of an item: its best class or its text. Others have none.
const answer = ({ predictions, text }) => predictions?.[0]?.label ?? (typeof text === 'string' ? text : undefined);

// A line of the list: what was found, where, and what further steps say of it.
function described(item) {
  const { label, score, box, area, predictions, embedding, error } = item;
  const said = answer(item);
  const sure = predictions?.[0]?.probability ?? item.confidence;
  return [
    el('strong', {}, label ?? said), score !== undefined && ` ${percent(score)}`,
    said !== undefined && [label === undefined ? '' : `: ${said}`, sure !== undefined && ` ${percent(sure)}`],
    Array.isArray(embedding) && ` ${embedding.length} dimensions`,
    error && el('div', { class: 'problem' }, `step ${error.step} ended in ${error.outcome}: ${error.message}`),
    el('small', {}, box ? ` ${box.map((corner) => Math.round(corner)).join(', ')}` : '', area === undefined ? '' : ` ${area} pixels`),
  ];
}

function shapes(item, colour, line) {
  const { score, box, points, error } = item;
  // The corners of a text, or the points of a face.
  const { polygons = points?.length === 4 ? [points.flat()] : undefined } = item;
  const { keypoints = points?.map(([x, y], at) => ({ x, y, label: `${at}` })) } = item;
  const label = error ? `${item.label ?? ''} error` : answer(item) ?? item.label;
  const name = score === undefined || error ? label : `${label} ${percent(item.predictions?.[0]?.probability ?? item.confidence ?? score, 0)}`;
  const [left, top, right, bottom] = box ?? [];
  const size = 7 * line;
  return [
    polygons && svg('path', { class: `shape colour${colour}`, 'fill-rule': 'evenodd', d: polygons.map((points) =>
      `M${points.map((value, at) => (at % 2 ? `${value}` : `${at ? 'L' : ''}${value} `)).join('')}Z`).join(' ') }),
    box && svg('rect', { class: `box colour${colour}`, x: left, y: top, width: right - left, height: bottom - top, 'stroke-width': line },
      svg('title', {}, name)),
    box && svg('text', { class: `colour${colour}`, x: left, y: top > size ? top - line : top + size, 'font-size': size }, name),
    keypoints?.map(({ x, y, label: point }) => svg('circle', { class: `point colour${colour}`, cx: x, cy: y, r: line * 1.5 }, svg('title', {}, point))),
  ].flat().filter(Boolean);
}

const bars = (predictions) => el('ol', { class: 'bars' }, predictions.slice(0, MOST).map(({ label, probability }) => el('li', {},
  el('span', { class: 'name' }, label),
  el('span', { class: 'bar' }, el('i', { style: { width: `${100 * Math.max(0, Math.min(1, probability))}%` } })),
  el('span', { class: 'number' }, percent(probability, 2)))));

// The stages that ran, by the names of reports.
function stagesOf({ preprocess, chips, steps, postprocess }, chip) {
  // A step has a stage for each chip, or one for all.
  const middle = steps ? steps.map(({ stages }) => stages[Object.hasOwn(stages, chip) ? chip : '']) : [chips[chip]];
  return new Map([preprocess, ...middle, postprocess].filter(Boolean).map((stage) => [stage.name, stage]));
}

// Times and marks of each stage, headers, and the whole reply.
function facts(reply, pipeline) {
  const known = stagesOf(pipeline, reply.ran);
  const marks = Object.values(reply.marks).map(Number);
  const most = Math.max(2 ** 20, ...marks, ...[...known.values()].map(({ max_memory: cap }) => cap));
  const stages = Object.keys(reply.marks).map((stage) => {
    const mark = Number(reply.marks[stage]);
    // None if a new configuration added the step after this page read the pipelines.
    const cap = known.get(stage)?.max_memory;
    const isAlarm = reply.json?.stage === stage && reply.json?.code === 'memory_limit';
    return [[stage, el('div', { class: 'small plugin' }, (reply.plugins[stage] ?? '').split('+')[0])], `${Number(reply.times[stage] ?? 0).toFixed(2)} ms`,
      [bytes(mark), el('div', { class: 'small' }, cap === undefined ? 'cap unknown' : `of ${bytes(cap)}`)], waterLine({ p50: mark, p99: mark, max: mark, cap, most, isAlarm })];
  });
  return [
    stages.length > 0 && table(`Stages on ${reply.chip}`, [['Stage'], ['time', 'number'], ['high-water mark', 'number'],
      [scale(most), 'wide']], stages),
    reply.leftOut > 0 && el('p', { class: 'small' }, `${reply.leftOut} more steps do not fit into the headers of the reply; the overview has them.`),
    el('details', {}, el('summary', {}, `Reply: ${reply.status}, ${reply.type || 'no media type'}, ${reply.milliseconds.toFixed(0)} ms in the browser`),
      el('dl', { class: 'headers' }, reply.headers.map(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
      reply.json !== undefined && el('pre', { tabindex: 0, 'aria-label': 'Reply as JSON' }, JSON.stringify(reply.json, null, 2).slice(0, 200000))),
  ];
}
