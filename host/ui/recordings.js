// Recordings: inputs that needed much memory or ended badly, kept by pipelines with a `record` table.

import { call, get, segment } from '/console/api.js';
import { badge } from '/console/charts.js';
import { copyable, el, keep, problem, table } from '/console/dom.js';
import { bytes } from '/console/format.js';
import { retention } from '/console/retention.js';

// Recordings and reports are files: the server reads them again for each question, so they are asked for less often than figures.
const PAUSE = 10_000;

export const recordings = {
  name: 'recordings',
  title: 'Recordings and leaks',
  start({ content, signal }) {
    const list = el('div', { class: 'stack' });
    const laboratory = el('div', {});
    content.append(list, laboratory);
    let areLeaksRead = false;
    let file;
    let next = 0;
    let nextLeaks = 0;
    return async () => {
      if (performance.now() < next) return false;
      file ??= (await get('/v1/config')).file ?? '';
      if (!areLeaksRead && performance.now() >= nextLeaks) {
        // Recordings are shown, too, if the reports cannot be read.
        try {
          laboratory.replaceChildren(leaks(await get('/v1/leaks')));
          areLeaksRead = true;
        } catch (error) {
          if (error.status === 401 || error.status === 0) throw error;
          laboratory.replaceChildren(problem(error));
          nextLeaks = performance.now() + PAUSE;
        }
      }
      const { pipelines, recordings: found } = await get('/v1/recordings');
      const parts = found.map((one) => [one.id, one, (data) => shown(data, signal)]);
      keep(list, [['head', [pipelines, found.length, file], head], ...parts]);
      next = performance.now() + PAUSE;
      return false;
    };
  },
};

// A text in quotes of a shell. Nothing in it has a meaning there.
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function head([pipelines, number, file]) {
  if (pipelines.length === 0) {
    return el('div', { class: 'panel' }, el('p', {}, 'No pipeline records inputs. This table in plimsoll.toml keeps those that need the most memory, '
      + 'meet a limit or trap:'), copyable('Configuration', '[pipelines.NAME.record]\nmax_bytes = "256MiB"'));
  }
  // Pipelines may share a folder.
  const folders = new Map();
  for (const { pipeline, folder } of pipelines) folders.set(folder, [...(folders.get(folder) ?? []), pipeline]);
  // The bundled demo has no file.
  const config = file && !file.startsWith('(') ? `--config ${shell(file)} ` : '';
  return el('div', { class: 'panel' }, el('p', {}, `The newest ${number} recordings. On the server, this runs all in a folder again:`),
    [...folders].map(([folder, names]) => copyable(`Replay of ${names.join(', ')}`, `plimsoll replay ${config}${shell(folder)}`)),
    pipelines.filter(({ error }) => error).map(({ pipeline, error }) => el('p', { class: 'problem' }, `${pipeline}: ${error}`)));
}

function shown({ id, bytes: size, facts }, signal) {
  const place = el('div', { class: 'thumbnail' });
  // The picture belongs to a caller, so it is fetched only if it is asked for.
  const button = el('button', { type: 'button', 'aria-label': `Show the input ${id}`, onclick: async () => {
    button.disabled = true;
    try {
      const body = await (await call('GET', `/v1/recordings/${segment(id)}`)).arrayBuffer();
      const picture = URL.createObjectURL(new Blob([body], { type: 'image/*' }));
      signal.addEventListener('abort', () => URL.revokeObjectURL(picture));
      const shownPicture = el('img', { src: picture, alt: 'The recorded input' });
      shownPicture.addEventListener('error', () => shownPicture.replaceWith(el('p', { class: 'small' }, 'The browser cannot show this input.')));
      place.replaceChildren(shownPicture);
    } catch (error) {
      place.replaceChildren(problem(error));
    }
  } }, 'Show the input');
  place.append(button);
  const peak = Math.max(0, ...facts.stages.map(({ high_water: mark }) => mark));
  return el('section', { class: 'panel recording', 'aria-label': `Recording ${id}` }, place, el('div', {},
    el('h2', {}, facts.kept_for.join(', ') || facts.outcome),
    el('p', {}, badge(facts.outcome), ` ${facts.pipeline} on ${facts.chip}, ${facts.time}, caller ${facts.caller}, ${bytes(size)}, highest mark ${bytes(peak)}`),
    el('p', { class: 'small' }, facts.stages.map((stage) => el('span', { class: 'chip' },
      `${stage.stage}: ${stage.plugin}@${stage.version}, ${bytes(stage.high_water)}, ${stage.outcome}`)))));
}

// Reports of the leak laboratory in the data folder.
function leaks({ folder, reports }) {
  return el('section', { class: 'panel' }, el('h2', {}, 'Leaks'),
    el('p', {}, 'The laboratory runs a folder of inputs in rounds through one instance of a plugin, and names what holds the memory. '
      + `A report that is copied to ${folder}/NAME in the data folder of the server is shown here.`),
    copyable('Laboratory', 'plimsoll leak plugin.wasm --corpus images/ --out leak-report'), reports.map(leakReport));
}

// A report that the page cannot show is one line, and the others are shown.
function leakReport(report) {
  try {
    return drawnReport(report);
  } catch (error) {
    return el('p', { class: 'problem' }, `${report?.name}: the page cannot show this report: ${error.message}`);
  }
}

function drawnReport({ name, time, error, conclusion, leaks: found, plugin, rounds, samples }) {
  if (error) return el('p', { class: 'problem' }, `${name}: ${error}`);
  const place = el('div', { class: 'stack' });
  const rows = (found ?? []).map((leak) => [leak.place, `${(leak.per_request ?? 0).toFixed(1)} ${leak.measure} per request`,
    el('ol', {}, (leak.holders ?? []).slice(0, 5).map((holder) => el('li', {}, holder))),
    el('ol', {}, (leak.allocated_by?.[0] ?? []).slice(0, 6).map((frame) => el('li', {}, frame))), leak.known ?? '']);
  return el('section', { 'aria-label': `Leak report ${name}` },
    el('h3', {}, `${name}: `, badge(conclusion, conclusion === 'leaks' ? 'fault' : conclusion === 'no_leak' ? 'ok' : 'caller')),
    el('p', {}, `${plugin?.name}@${plugin?.version}, ${samples} inputs in ${rounds} rounds, ${time}`),
    rows.length > 0 && table(`Leaks of ${name}`, [['Inputs'], ['Leak'], ['Held by'], ['Allocated by'], ['Known']], rows),
    el('button', { type: 'button', 'aria-label': `Show the charts of ${name}`, onclick: async (event) => {
      event.target.hidden = true;
      for (const [file, alt] of [['growth.svg', 'Growth of memory over requests'], ['flame.svg', 'Flame graph of the allocations']]) {
        place.append(await chart(name, file, alt));
      }
      place.append(await chain(name));
    } }, 'Show the charts'), place);
}

// What holds the survivors of a report.
async function chain(name) {
  try {
    const text = await (await call('GET', `/v1/leaks/${segment(name)}/retention.dot`)).text();
    return el('section', { 'aria-label': `What holds the memory of ${name}` }, el('h4', {}, 'What holds the memory'), retention(text));
  } catch (error) {
    return error.status === 404 ? el('p', { class: 'small' }, 'The report has no retention.dot.') : problem(error);
  }
}

// An image of a report. As an image it runs no scripts.
async function chart(name, file, alt) {
  try {
    const body = await (await call('GET', `/v1/leaks/${segment(name)}/${file}`)).arrayBuffer();
    const picture = URL.createObjectURL(new Blob([body], { type: 'image/svg+xml' }));
    const forget = () => URL.revokeObjectURL(picture);
    return el('img', { class: 'chart', src: picture, alt, onload: forget, onerror: forget });
  } catch (error) {
    return error.status === 404 ? el('p', { class: 'small' }, `The report has no ${file}.`) : problem(error);
  }
}
