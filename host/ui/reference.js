// Reference: the routes of this server, its versions, models and chips.

import { get, hasToken } from '/console/api.js';
import { el, keep, table } from '/console/dom.js';
import { bytes, count } from '/console/format.js';

export const reference = {
  name: 'reference',
  title: 'Reference',
  takesKey: true,
  start({ content }) {
    const parts = el('div', { class: 'stack' });
    content.append(parts);
    let isRead = false;
    return async () => {
      if (isRead) return false;
      const document = await get('/openapi.json');
      // The addresses of administration have no routes of callers.
      const has = (path) => document.paths[path] !== undefined;
      const server = has('/v2') ? await get('/v2') : undefined;
      const config = hasToken() && has('/v1/config') ? await get('/v1/config') : undefined;
      const models = has('/v1/models') ? (await get('/v1/models')).models : [];
      isRead = true;
      keep(parts, [['server', [server, document.openapi], versions], ['models', models, chips], ['config', config ?? null, configuration], ['routes', document, routes]]);
      return false;
    };
  },
};

const versions = ([server, openapi]) => el('section', { class: 'panel' }, el('h2', {}, 'Server'), el('dl', { class: 'headers' },
  [['Server', server ? `${server.name} ${server.version}` : 'callers have another address'], ['Extensions', (server?.extensions ?? []).join(', ')],
    ['OpenAPI', openapi]].map(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])));

const chips = (models) => el('section', { class: 'panel' }, el('h2', {}, 'Models and chips'), models.length === 0 ? el('p', {}, 'None.')
  : table('Models', [['Model'], ['Backend'], ['Target'], ['In service'], ['Memory', 'number'], ['Batch', 'number'], ['Nodes by provider']],
    models.map((model) => [model.name, model.backend, model.target, model.in_service ? 'yes' : 'no', bytes(model.memory?.bytes), model.max_batch ?? '–',
      model.providers.map(({ provider, nodes }) => `${provider}: ${count(nodes)}`).join(', ')])));

const configuration = (config) => el('section', { class: 'panel' }, el('h2', {}, 'Configuration in force'), config === null
  ? el('p', {}, 'It needs the token of administration.')
  : [el('p', { class: 'small' }, config.file), el('pre', { tabindex: 0, 'aria-label': 'Configuration' }, config.toml)]);

function routes({ paths, tags }) {
  const all = Object.entries(paths).flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => ({ path, method, ...operation })));
  return el('section', { class: 'panel' }, el('h2', {}, 'Routes'), tags.map(({ name, description }) => {
    const own = all.filter((operation) => (operation.tags ?? []).includes(name));
    return own.length > 0 && [el('h3', {}, name), el('p', {}, description), own.map(route)];
  }));
}

function route({ path, method, summary, description, parameters, responses, security }) {
  const replies = Object.entries(responses ?? {}).map(([status, reply]) => [status, reply.description, Object.keys(reply.content ?? {}).join(', ')]);
  return el('details', { class: 'route' },
    el('summary', {}, el('code', {}, `${method.toUpperCase()} ${path}`), ' ', summary ?? description ?? ''),
    security?.length > 0 && el('p', {}, 'Needs the token of administration.'),
    parameters?.length > 0 && table(`Parameters of ${path}`, [['Name'], ['In'], ['Meaning', 'wide']],
      parameters.map((parameter) => [el('code', {}, parameter.name), parameter.in, parameter.description ?? ''])),
    table(`Replies of ${method.toUpperCase()} ${path}`, [['Status'], ['Meaning', 'wide'], ['Media type']], replies));
}
