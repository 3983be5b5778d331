// Deployments: the versions of every plugin, canaries, and changes.

import { call, get, now, segment } from '/console/api.js';
import { badge } from '/console/charts.js';
import { confirmed, el, keep, problem, table } from '/console/dom.js';
import { bytes, count, percent, ratio, time } from '/console/format.js';
import { droppable } from '/console/try.js';

const STATES = { serving: 'ok', canary: 'caller', refused: 'fault' };

export const deployments = {
  name: 'deployments',
  title: 'Deployments',
  start({ content, signal, refresh }) {
    const news = el('div', { 'aria-live': 'polite' });
    const list = el('div', { class: 'stack' });
    content.append(upload(news, refresh), news, list);
    return async () => {
      const { plugins } = await get('/v1/plugins');
      const change = async (question, agree, ...what) => {
        if (await confirmed(question, agree, signal)) await changed(news, refresh, ...what);
      };
      keep(list, plugins.map((plugin) => [plugin.name, plugin, (data) => shown(data, change)]));
    };
  },
};

function upload(news, refresh) {
  let file;
  const name = el('input', { id: 'plugin', required: true, autocomplete: 'off', spellcheck: 'false' });
  const version = el('input', { id: 'version', autocomplete: 'off', spellcheck: 'false', placeholder: 'that of the component' });
  const chosen = el('span', {}, 'No file is chosen.');
  const take = (given) => {
    if (!given) return;
    file = given;
    chosen.textContent = `${file.name}, ${bytes(file.size)}`;
    name.value = file.name.replace(/\.wasm$/, '').replace(/@.*$/, '');
    name.focus();
  };
  const picker = el('input', { type: 'file', class: 'hidden', tabindex: -1, accept: '.wasm', 'aria-label': 'Component file',
    onchange: () => take(picker.files[0]) });
  const drop = el('button', { type: 'button', class: 'drop', onclick: () => picker.click() },
    el('strong', {}, 'Drop or pick a .wasm file to deploy'), chosen);
  droppable(drop, take);
  const deploy = el('button', { class: 'main' }, 'Deploy');
  return el('form', { class: 'panel try', onsubmit: async (event) => {
    event.preventDefault();
    if (!file) return news.replaceChildren(problem(new Error('Choose a .wasm file first.')));
    const query = version.value.trim() ? `?version=${segment(version.value.trim())}` : '';
    deploy.disabled = true;
    news.replaceChildren(el('p', { class: 'panel' }, `Deploying ${file.name}: the server compiles it and tries a sample …`));
    await changed(news, refresh, 'PUT', `/v1/plugins/${segment(name.value.trim())}${query}`, file);
    deploy.disabled = false;
  } }, drop, picker, el('div', { class: 'fields' }, el('label', { for: 'plugin' }, 'Plugin'), name,
    el('label', { for: 'version' }, 'Version'), version, deploy));
}

async function changed(news, refresh, method, path, body) {
  try {
    const reply = await (await call(method, path, body, body && 'application/wasm')).json();
    const version = reply.version ? ` ${reply.version}` : '';
    news.replaceChildren(el('p', { class: 'panel good' }, `${reply.name}${version}: ${reply.state}`, reply.warning && ` – ${reply.warning}`));
  } catch (error) {
    news.replaceChildren(problem(error));
  }
  refresh();
}

function shown(plugin, change) {
  const path = `/v1/plugins/${segment(plugin.name)}`;
  const canary = plugin.versions.find(({ state }) => state === 'canary');
  const previous = plugin.versions.find(({ state }) => state === 'previous');
  const back = canary ? 'End the canary' : 'Roll back';
  const named = ({ version, digest }) => `version ${version} (${digest.slice(0, 12)})`;
  // The call names the version that the question names: the server may have changed meanwhile.
  const [question, query] = canary
    ? [`End the canary of ${plugin.name}, ${named(canary)}? The version before continues to serve.`, `canary=${segment(canary.digest)}`]
    : previous ? [`Roll ${plugin.name} back to ${named(previous)}?`, `to=${segment(previous.digest)}`] : [];
  const rows = plugin.versions.map((version) => ({ class: version.state, cells: [
    badge(version.state, STATES[version.state] ?? 'plain'), version.version, el('code', {}, version.digest.slice(0, 12)),
    time(Math.max(0, now() - version.at)), count(version.runs), count(version.failures), bytes(version.high_water),
    version.reason ?? version.source,
  ] }));
  return el('section', { class: 'panel', 'aria-label': plugin.name },
    el('div', { class: 'title' }, el('h2', {}, plugin.name), el('div', { class: 'actions' },
      question && el('button', { type: 'button', 'data-focus': `back ${plugin.name}`, 'aria-label': `${back}: ${plugin.name}`,
        onclick: () => change(question, back, 'POST', `${path}/rollback?${query}`) }, back),
      plugin.version && el('button', { type: 'button', 'data-focus': `retire ${plugin.name}`, 'aria-label': `Retire: ${plugin.name}`,
        onclick: () => change(`Retire ${plugin.name}? No version of it serves any more.`, 'Retire', 'DELETE', path) },
      'Retire'))),
    plugin.note && el('p', { class: 'problem' }, plugin.note),
    el('p', { class: 'small' }, plugin.stages.length === 0 ? 'No pipeline uses it.' : plugin.stages.map(({ pipeline, stage, chip, max_memory: cap }) =>
      el('span', { class: 'chip' }, `${pipeline} · ${stage}${chip ? ` on ${chip}` : ''} · cap ${bytes(cap)}`))),
    (plugin.canary ?? []).map(race),
    table(`Versions of ${plugin.name}`, [['State'], ['Version'], ['Digest'], ['Age', 'number'], ['Runs', 'number'], ['Failures', 'number'],
      ['High-water mark', 'number'], ['Source or reason', 'wide']], rows));
}

// The canary as a race: requests so far, and two figures against their limits.
function race(canary) {
  const left = canary.fleet?.is_ready ? 'it may serve, and waits for the other servers (GET /v1/fleet says which answer)' : canary.seconds_left === null
    ? canary.new.requests >= canary.wanted ? 'it looks worse, perhaps by chance: more requests decide' : 'waits for requests'
    : `about ${time(canary.seconds_left)} to the verdict`;
  const against = (label, value, limit, detail) => el('div', {}, el('dt', {}, label), el('dd', {},
    el('meter', { min: 0, max: 2 * limit, high: limit, optimum: 0, value: Math.min(value ?? 0, 2 * limit), 'aria-label': label }),
    ` ${ratio(value)} of at most ${limit} × `, el('small', {}, detail)));
  const rates = `${canary.new.failures} of ${count(canary.new.requests)}, before ${canary.old.failures} of ${count(canary.old.requests)}`;
  const others = canary.fleet && el('p', { class: 'small' }, `Decided with other servers: the requests of ${canary.fleet.others} of them are counted here, too.`);
  return el('section', { class: 'race', 'aria-label': `Canary in ${canary.pipeline}` },
    el('h3', {}, `Canary in ${canary.pipeline}: ${percent(canary.share, 0)} of the requests for ${time(canary.seconds)}`),
    el('dl', {},
      el('div', {}, el('dt', {}, 'Requests'), el('dd', {}, el('progress', { max: canary.wanted, value: Math.min(canary.new.requests, canary.wanted),
        'aria-label': 'Requests of the new version' }), ` ${count(canary.new.requests)} of ${count(canary.wanted)} `, el('small', {}, left))),
      canary.failure_ratio === null && canary.new.failures > 0
        ? el('div', {}, el('dt', {}, 'Failures'), el('dd', {}, `${count(canary.new.failures)}, none before: there is no ratio. `, el('small', {}, rates)))
        : against('Failures (odds)', canary.failure_ratio, canary.failure_factor, rates),
      against('High-water mark (p99)', canary.p99_ratio, canary.memory_factor, `${bytes(canary.new.p99)}, before ${bytes(canary.old.p99)}`)), others);
}
