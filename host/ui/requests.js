// Requests: the latest ones that have ended.

import { get } from '/console/api.js';
import { badge } from '/console/charts.js';
import { el, keep, table } from '/console/dom.js';
import { bytes, moment, time } from '/console/format.js';

const OUTCOMES = ['ok', 'unsupported_media_type', 'invalid_input', 'too_large', 'internal', 'tensor_mismatch', 'output_limit',
  'memory_limit', 'deadline', 'trap', 'cancelled', 'no_capacity', 'device_failure'];

export const requests = {
  name: 'requests',
  title: 'Requests',
  start({ content, refresh }) {
    const list = el('div', { class: 'stack' });
    const outcome = el('select', { id: 'outcome', onchange: () => refresh() },
      el('option', { value: '' }, 'all outcomes'), OUTCOMES.map((name) => el('option', { value: name }, name)));
    content.append(el('div', { class: 'fields' }, el('label', { for: 'outcome' }, 'Outcome'), outcome), list);
    return async () => {
      const wanted = outcome.value;
      const found = await get(`/v1/requests${wanted ? `?outcome=${wanted}` : ''}`);
      if (wanted === outcome.value) keep(list, [['list', found.requests, shown]]);
    };
  },
};

function shown(requests) {
  if (requests.length === 0) return el('p', { class: 'panel' }, 'No such request among the latest 200.');
  const rows = requests.map((request) => [
    moment(new Date(request.started)),
    [badge(request.outcome), request.status === null ? '' : ` ${request.status}`],
    request.pipeline, request.chip, request.caller, time(request.seconds), time(request.queue_seconds),
    el('span', { class: 'nowrap' }, request.stages.map((stage) => el('div', {},
      `${stage.stage} ${time(stage.seconds)}, ${bytes(stage.high_water)}`, stage.outcome === 'ok' ? '' : [' ', badge(stage.outcome)]))),
    el('code', {}, request.id),
  ]);
  return table(`The latest ${requests.length} requests, the newest first`, [['Start'], ['Outcome'], ['Pipeline'], ['Chip'], ['Caller'],
    ['time', 'number'], ['in the queue', 'number'], ['Stages: time, high-water mark'], ['Id']], rows);
}
