// Compare: is a difference due to the chip, the version, the caller or the outcome, or to the mix of the others?

import { get, segment } from '/console/api.js';
import { choices, el, keep, table } from '/console/dom.js';
import { bytes, count, percent, time } from '/console/format.js';

const VIEWS = [['chip', 'chips'], ['version', 'versions'], ['caller', 'callers'], ['outcome', 'outcomes'], ['top', 'top callers'],
  ['shadow', 'shadow chips']];

export const compare = {
  name: 'compare',
  title: 'Compare',
  start({ content, parameters, refresh }) {
    let by = VIEWS.some(([name]) => name === parameters.get('by')) ? parameters.get('by') : 'chip';
    const pipeline = parameters.get('pipeline');
    const list = el('div', { class: 'stack' });
    content.append(choices('Compare', 'by', VIEWS, by, (name) => {
      by = name;
      refresh();
    }), list);
    if (pipeline) list.before(el('p', {}, `Only pipeline ${pipeline}. `, el('a', { href: '#/compare' }, 'Show all')));
    return async () => {
      const wanted = by;
      const only = pipeline ? `pipeline=${segment(pipeline)}` : '';
      if (wanted === 'top') {
        const { callers } = await get('/v1/memory');
        if (wanted === by) keep(list, [['top', callers, topCallers]]);
      } else if (wanted === 'shadow') {
        const found = await get(`/v1/chips/compare?${only}`);
        if (wanted === by) keep(list, [['shadow', found, shadows]]);
      } else {
        const { stages } = await get(`/v1/memory/compare?by=${wanted}&${only}`);
        if (wanted === by) keep(list, stages.length > 0 ? stages.map((stage, at) => [`${wanted} ${at}`, stage, compared]) : [['none', 0, nothing]]);
      }
    };
  },
};

const nothing = () => el('p', { class: 'panel' }, 'No stage has run yet.');

const signed = (number) => (number === null || number === undefined ? 'no common runs' : `${number < 0 ? '−' : ''}${bytes(Math.round(Math.abs(number)))}`);

function compared({ pipeline, stage, levels, pairs, levels_left_out: more }) {
  return el('section', { class: 'panel' }, el('h2', {}, `${pipeline} · ${stage}`),
    pairs.map(({ sentence }) => el('p', { class: 'sentence' }, sentence)),
    table(`Mean high-water marks of ${pipeline} · ${stage}`, [['Level'], ['runs', 'number'], ['mean', 'number'], ['maximum', 'number']],
      levels.map(({ level, runs, mean, max }) => [level, count(runs), bytes(Math.round(mean)), bytes(max)])),
    more > 0 && el('p', { class: 'small' }, `${more} further levels are not compared.`),
    pairs.length > 0 && table(`Differences in ${pipeline} · ${stage}`, [['More'], ['Less'], ['as measured', 'number'], ['standard error', 'number'], ['with the same mix']],
      pairs.map((pair) => [pair.more, pair.less, signed(pair.difference), signed(pair.standard_error), pair.standardised.map((one) =>
        el('div', {}, `${one.same.join(', ')}: ${signed(one.difference)}`))])));
}

function topCallers({ header, by_bytes: heavy, by_count: frequent }) {
  const rows = (list) => list.slice(0, 20).map((row) => [row.caller, count(row.requests), bytes(row.bytes), bytes(row.max),
    Object.entries(row.outcomes).map(([outcome, number]) => `${outcome} ${count(number)}`).join(', ')]);
  const columns = [['Caller'], ['requests', 'number'], ['growth', 'number'], ['highest mark', 'number'], ['outcomes']];
  return el('section', { class: 'panel' }, el('h2', {}, 'Callers'), el('p', {}, `A caller is identified by: ${header}.`),
    table('Callers whose inputs make stages grow most', columns, rows(heavy)),
    table('Callers with the most requests', columns, rows(frequent)));
}

// A step has a name of its own; the stage of a pipeline of three stages is `infer`.
const isStep = ({ stage }) => stage !== 'infer';
const place = (one) => (isStep(one) ? `${one.pipeline} · ${one.stage}` : one.pipeline);

// Runs that were not compared: how many, and why.
function others({ mismatched, failed, skipped }) {
  const counts = [['not comparable', mismatched], ['failed', failed], ['skipped', skipped]].flatMap(([what, reasons]) =>
    Object.entries(reasons ?? {}).map(([reason, number]) => ` ${count(number)} ${what} (${reason}).`));
  return counts.join('');
}

function shadows({ shadows: configured, comparisons }) {
  if (configured.length === 0 && comparisons.length === 0) {
    return el('p', { class: 'panel' }, 'No pipeline has a shadow chip. The key shadow of a pipeline, or of one of its steps, sets one.');
  }
  return el('div', { class: 'stack' }, configured.map((one) => el('p', {},
    `${place(one)}: ${one.shadow} also computes ${percent(one.share)} of the ${isStep(one) ? 'runs' : 'requests'} of ${one.default_chip}.`)),
  comparisons.map((one) => el('section', { class: 'panel' }, el('h2', {}, `${place(one)}: ${one.chip} and ${one.shadow}`),
    el('p', {}, `${count(one.compared)} runs compared; mean time ${time(one.mean_seconds?.chip)} and ${time(one.mean_seconds?.shadow)}.`,
      others(one)),
    one.largest && el('p', {}, `The largest difference: request ${one.largest.request}${one.largest.item === undefined ? '' : `, item ${one.largest.item}`}.`),
    table(`Differences of the outputs of ${one.chip} and ${one.shadow} in ${place(one)}`, [['Output'], ['compared', 'number'], ['largest absolute', 'number'], ['largest relative', 'number'], ['same best class', 'number']],
      one.outputs.map((output) => [output.name, count(output.compared), output.absolute.max.toExponential(2), output.relative.max.toExponential(2),
        output.scores?.top1_agreement === null || output.scores === null ? '–' : percent(output.scores.top1_agreement, 2)])))));
}
