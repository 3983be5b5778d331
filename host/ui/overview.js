// Overview: how close every stage came to its cap, and how requests ended.

import { get, segment } from '/console/api.js';
import { badge, legend, outcomeSums, scale, sparkline, stripes, waterLine } from '/console/charts.js';
import { choices, el, keep, table } from '/console/dom.js';
import { bytes, count, rate, time } from '/console/format.js';

// What can be chosen: the figures of the report, and the points of the history with their step and span in seconds.
const WINDOWS = {
  '1m': { label: '1 min', step: '1s', seconds: 1, span: 60 },
  '10m': { label: '10 min', step: '1m', seconds: 60, span: 600 },
  '1h': { label: '1 h', step: '1m', seconds: 60, span: 3600 },
  start: { label: 'since start', step: '30m', seconds: 1800, span: 86400 },
};
let chosen = '10m';
// The pipeline that is shown; all of them without one.
let only = '';
// The most rows of water lines: with more, each poll would keep the browser busy.
const MOST_ROWS = 200;
// The cap that the report recommends, as a multiple of what most runs need.
const HEADROOM = 1.25;

export const overview = {
  name: 'overview',
  title: 'Overview',
  start({ content, refresh }) {
    const parts = el('div', { class: 'stack' });
    const options = Object.entries(WINDOWS).map(([name, { label }]) => [name, label]);
    const pipeline = el('select', { id: 'only', onchange: () => {
      only = pipeline.value;
      refresh();
    } }, el('option', { value: '' }, 'all'));
    const filter = el('div', { class: 'fields', hidden: true }, el('label', { for: 'only' }, 'Pipeline'), pipeline);
    content.append(el('div', { class: 'fields' }, choices('Time', 'window', options, chosen, (name) => {
      chosen = name;
      refresh();
    }), filter), parts);
    return async () => {
      const [name, wanted] = [chosen, only];
      let report;
      try {
        report = await get(`/v1/memory?series=${WINDOWS[name].step}${wanted ? `&pipeline=${segment(wanted)}` : ''}`);
      } catch (error) {
        // A pipeline that a new configuration removed.
        if (error.status !== 404 || wanted === '') throw error;
        only = '';
        refresh();
        return;
      }
      if (name !== chosen || wanted !== only) return;
      list(filter, pipeline, wanted === '' ? report : undefined);
      keep(parts, sections(report, name));
    };
  },
};

// The pipelines of the report of all. The list stays while only one of them is shown.
function list(filter, pipeline, report) {
  if (report !== undefined) {
    const names = [...new Set(report.series.requests.map(({ pipeline: name }) => name))];
    const known = [...pipeline.options].slice(1).map(({ value }) => value);
    if (JSON.stringify(names) !== JSON.stringify(known)) {
      pipeline.replaceChildren(el('option', { value: '' }, 'all'), ...names.map((name) => el('option', { value: name }, name)));
    }
  } else if (![...pipeline.options].some(({ value }) => value === only)) {
    pipeline.append(el('option', { value: only }, only));
  }
  pipeline.value = only;
  filter.hidden = pipeline.options.length < 3 && only === '';
}

function sections(report, name) {
  const span = WINDOWS[name];
  const uptime = report.uptime_seconds;
  // The points end with an interval that is not over, so they cover less than the span.
  const covered = Math.max(1, Math.min(uptime, span.span - span.seconds + (uptime % span.seconds)));
  // What the history covers: since the start it has the latest 24 hours.
  const time = name !== 'start' ? `in the latest ${span.label}` : uptime > span.span ? 'in the latest 24 h' : 'since start';
  // The rates as text: a part whose text did not change stays as it is.
  const routes = report.series.requests.map((route) => {
    const points = inside(route.steps[span.step], span);
    const sums = outcomeSums(points);
    return { ...route, points, sums, rate: perSecond(total(sums), covered) };
  });
  const all = routes.reduce((sum, { sums }) => sum + total(sums), 0);
  const alarms = report.advice.filter((one) => one.max_memory < one.recommended);
  return [
    ['tiles', [report.process, report.load, report.live, report.models, { rate: perSecond(all, covered), sum: all, time }], tiles],
    ['requests', [routes, span, time], requests],
    ...alarms.map((one) => [`alarm ${one.pipeline} ${one.stage} ${one.chip} ${one.digest}`, [one.max_memory, one.recommended, one.limit_met > 0], () => el('p', { class: 'problem', role: 'alert' },
      `${one.pipeline}, ${one.stage}${one.chip ? ` on ${one.chip}` : ''}: ${warning(one)}`)]),
    ['water', [report.stages, report.advice, report.series.stages, name, span], water],
  ];
}

// The warning of the report, in the units of the table. The numbers of runs are left out, because they change at every poll.
const warning = ({ max_memory: cap, recommended, limit_met: met }) => (met > 0
  ? `runs met the cap of ${bytes(cap)}, so their real need is unknown; try at least ${bytes(recommended)}`
  : `the cap of ${bytes(cap)} is close; ${bytes(recommended)} are recommended`);

const total = (sums) => sums.reduce((sum, [, one]) => sum + one, 0);

// Rates below one in twenty seconds would be "0.0".
const perSecond = (number, seconds) => {
  const value = number / seconds;
  return value > 0 && value < 0.05 ? '< 0.05' : rate(value);
};

// The points that lie in the chosen time.
function inside(points, { span }) {
  const wanted = points.ago.map((ago) => ago < span);
  const cut = (column) => column.filter((_, at) => wanted[at]);
  return Object.fromEntries(Object.entries(points).map(([name, column]) => [name,
    Array.isArray(column) ? cut(column) : Object.fromEntries(Object.entries(column).map(([key, list]) => [key, cut(list)]))]));
}

function tiles([process, load, live, models, { rate: number, sum, time: when }]) {
  const instances = live.reduce((total, { instances: number }) => total + number, 0);
  const device = models.reduce((total, { bytes: number }) => total + number, 0);
  const part = (value, limit) => limit > 0 && el('meter', {
    min: 0, max: limit, high: 0.9 * limit, value: Math.min(value, limit), 'aria-label': `${value} of ${limit}`,
  });
  return el('dl', { class: 'tiles' }, [
    ['Requests', `${number}/s`, `${count(sum)} ${when}`],
    ['Running', `${load.running} of ${load.max_concurrency}`, part(load.running, load.max_concurrency)],
    ['Waiting', `${load.queued} of ${load.max_queue}`, part(load.queued, load.max_queue)],
    ['Live instances', count(instances), 'of all plugins'],
    ['Resident memory', bytes(process.resident_bytes), process.cgroup_limit_bytes
      ? [`limit ${bytes(process.cgroup_limit_bytes)}`, part(process.cgroup_bytes, process.cgroup_limit_bytes)]
      : 'no limit of the cgroup'],
    ['Models', bytes(device), `${models.length} on their devices`],
  ].map(([name, value, more]) => el('div', {}, el('dt', {}, name), el('dd', { class: 'value' }, value), el('dd', {}, more))));
}

function requests([routes, span, when]) {
  const last = (column) => column[column.length - 1];
  const rows = routes.map(({ pipeline, chip, points, sums, rate: number }) => {
    return [
      pipeline, chip, number,
      time(last(points.p50_seconds)), time(points.p99_seconds.length ? Math.max(...points.p99_seconds) : undefined),
      stripes(points, span.seconds, span.span),
      sums.map(([outcome, one]) => el('span', { class: 'nowrap' }, badge(outcome), ` ${count(one)} `)),
    ];
  });
  return el('section', { class: 'panel' }, el('h2', {}, 'Requests'), el('p', { class: 'small' }, `The requests ${when}.`), rows.length === 0
    ? el('p', {}, 'No request yet. ', el('a', { href: '#/try' }, 'Try an image.'))
    : table('Requests by pipeline and chip', [
      ['Pipeline'], ['Chip'], ['per second', 'number'], ['latest median', 'number'], ['worst p99', 'number'],
      ['Outcomes over time'], ['Outcomes'],
    ], rows));
}

function water([all, advice, series, name, span]) {
  const most = all.reduce((highest, { max_memory: cap }) => Math.max(highest, cap), 2 ** 20);
  const inWindow = (row) => (name === 'start' ? row : row.windows[name]);
  const height = (row) => inWindow(row).max / row.max_memory;
  // The rows that are nearest to their caps, in the order of the report.
  const lowest = [...all].sort((one, other) => height(other) - height(one))[MOST_ROWS];
  const rows = lowest === undefined ? all : all.filter((row) => height(row) > height(lowest)).slice(0, MOST_ROWS);
  const chips = (pipeline) => new Set(all.filter((row) => row.pipeline === pipeline).map(({ chip }) => chip)).size;
  const lines = rows.map((row) => {
    const figures = inWindow(row);
    const isEmpty = figures.count === 0;
    const hint = advice.find((one) => one.pipeline === row.pipeline && one.stage === row.stage && one.digest === row.digest
      && (one.chip ?? row.chip) === row.chip);
    const isMet = row.outcome === 'memory_limit';
    // Red: in this time the cap was met, or a mark came near a cap that is too small.
    const isAlarm = !isEmpty && (isMet || (hint !== undefined && hint.max_memory < hint.recommended && figures.max * HEADROOM > row.max_memory));
    const by = isMet ? 'outcome' : isAlarm ? 'caller' : chips(row.pipeline) > 1 ? 'chip' : 'outcome';
    const route = series.find((one) => one.pipeline === row.pipeline && one.stage === row.stage && one.chip === row.chip);
    const points = route?.steps[span.step];
    return { class: isEmpty ? 'idle' : undefined, cells: [
      [el('strong', {}, row.stage), el('div', { class: 'small' }, `${row.pipeline} on ${row.chip}`)],
      [el('div', { class: 'nowrap' }, `${row.plugin}@${row.version}`), badge(row.outcome)],
      waterLine({ ...figures, cap: row.max_memory, recommended: hint?.recommended, most, isAlarm, isEmpty }),
      bytes(isEmpty ? undefined : figures.p50), bytes(isEmpty ? undefined : figures.p99), bytes(isEmpty ? undefined : figures.max),
      [bytes(row.max_memory), hint && el('div', { class: 'small' }, `try ${bytes(hint.recommended)}`)],
      count(figures.count),
      points && sparkline(points, span.seconds, span.span, row.max_memory),
      el('a', { href: `#/compare?by=${by}&pipeline=${segment(row.pipeline)}`,
        'data-focus': [row.pipeline, row.stage, row.chip, row.digest, row.outcome].join(' '),
        'aria-label': `Why? Compare ${row.pipeline}, ${row.stage} on ${row.chip}, version ${row.version}, ${row.outcome}` }, 'why?'),
    ] };
  });
  return el('section', { class: 'panel' }, el('h2', {}, 'Water lines'),
    el('p', {}, 'The high-water mark of each stage against its cap, on a logarithmic scale.'),
    rows.length < all.length && el('p', {}, `The ${rows.length} rows that are nearest to their caps, of ${count(all.length)}. Choose a pipeline to see all of its rows.`),
    rows.length === 0 ? el('p', {}, 'No stage has run yet.') : [legend(), table('Water lines', [
      ['Stage'], ['Plugin, outcome'], [scale(most), 'wide'], ['median', 'number'], ['p99', 'number'], ['maximum', 'number'],
      ['cap', 'number'], ['runs', 'number'], ['history of the stage'], ['compare'],
    ], lines)]);
}
