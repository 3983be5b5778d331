// Try it: an image through a pipeline, on one chip or on all of them.

import { get, send, segment } from '/console/api.js';
import { el, problem } from '/console/dom.js';
import { bytes } from '/console/format.js';
import { compared } from '/console/try-compare.js';
import { shownReply } from '/console/try-result.js';
import { snippets } from '/console/snippets.js';

const ALL = '*';

// What was chosen stays when another screen is shown.
const state = { pipeline: '', chip: ALL, file: undefined };

export const tryIt = {
  name: 'try',
  title: 'Try it',
  takesKey: true,
  start({ content, signal }) {
    let pipelines;
    return async () => {
      // The list is read once; a poll would replace what the user chooses.
      if (pipelines === undefined) {
        try {
          pipelines = (await get('/v1/pipelines')).pipelines;
        } catch (error) {
          if (error.status !== 404) throw error;
          pipelines = [];
          content.append(el('p', { class: 'panel' }, 'Callers of this server have another address than administration, and this page sends nothing there.'));
          return false;
        }
        form(content, signal, pipelines);
      }
      return false;
    };
  },
};

function form(content, signal, pipelines) {
  if (pipelines.length === 0) return content.append(el('p', {}, 'No pipeline is loaded.'));
  const results = el('div', { id: 'results' });
  const chips = el('select', { id: 'chip', onchange: () => {
    state.chip = chips.value;
    run();
  } });
  const pipeline = el('select', { id: 'pipeline', onchange: () => {
    state.pipeline = pipeline.value;
    list();
    run();
  } }, pipelines.map(({ name }) => el('option', { value: name }, name)));
  const named = () => pipelines.find(({ name }) => name === pipeline.value);
  const list = () => {
    const { chip_names: names, default_chip: standard } = named();
    const all = names.length > 1 ? [el('option', { value: ALL }, 'all chips, side by side')] : [];
    chips.replaceChildren(...all, ...names.map((name) =>
      el('option', { value: name }, name === standard ? `${name} (default)` : name)));
    chips.value = names.includes(state.chip) ? state.chip : all.length > 0 ? ALL : names[0];
  };
  if (pipelines.some(({ name }) => name === state.pipeline)) pipeline.value = state.pipeline;
  list();

  let latest;
  const run = async () => {
    if (state.file === undefined) return;
    latest?.abort();
    const turn = latest = new AbortController();
    const names = chips.value === ALL ? named().chip_names : [chips.value];
    await tried(results, named(), names, state.file, turn.signal);
  };
  const take = (file) => {
    if (file === undefined || file === null) return;
    state.file = file;
    run();
  };
  const picker = el('input', { type: 'file', id: 'image', class: 'hidden', tabindex: -1, 'aria-label': 'Image file',
    onchange: () => take(picker.files[0]) });
  const drop = el('button', { type: 'button', class: 'drop', onclick: () => picker.click() },
    el('strong', {}, 'Drop, paste or pick an image'), el('span', {}, 'It is sent to this server only.'));
  droppable(drop, take);
  document.addEventListener('paste', (event) => take(event.clipboardData?.files[0]), { signal });
  content.append(el('div', { class: 'panel try' }, drop, picker, el('div', { class: 'fields' },
    el('label', { for: 'pipeline' }, 'Pipeline'), pipeline, el('label', { for: 'chip' }, 'Chip'), chips)), results);
  run();
}

export function droppable(target, take) {
  target.addEventListener('dragover', (event) => {
    event.preventDefault();
    target.classList.add('over');
  });
  target.addEventListener('dragleave', () => target.classList.remove('over'));
  target.addEventListener('drop', (event) => {
    event.preventDefault();
    target.classList.remove('over');
    take(event.dataTransfer.files[0]);
  });
}

// Sends the image to each chip in turn, so that they do not disturb each other's times.
async function tried(results, pipeline, chips, file, signal) {
  const picture = URL.createObjectURL(file);
  signal.addEventListener('abort', () => URL.revokeObjectURL(picture));
  const panels = el('div', { class: 'sides' });
  const summary = el('p', { role: 'status', class: 'summary' }, `Sending ${file.name || 'the image'}, ${bytes(file.size)} …`);
  results.replaceChildren(summary, panels);
  const replies = [];
  for (const chip of chips) {
    const path = `/v1/pipelines/${segment(pipeline.name)}/infer?chip=${segment(chip)}`;
    let panel;
    try {
      const started = performance.now();
      const response = await send('POST', path, file, file.type || 'application/octet-stream');
      const reply = await read(response, chip, performance.now() - started);
      if (signal.aborted) return;
      if (reply.picture) signal.addEventListener('abort', () => URL.revokeObjectURL(reply.picture));
      replies.push(reply);
      panel = shownReply(reply, pipeline, picture);
    } catch (error) {
      if (signal.aborted) return;
      panel = problem(error);
    }
    panels.append(el('section', { class: 'panel side', 'aria-label': `Result on ${chip}` }, el('h2', {}, chip), panel));
  }
  const sentence = chips.length > 1 ? await compared(replies, chips.length) : `${replies[0]?.status ?? 'No'} reply from ${chips[0]}.`;
  if (signal.aborted) return;
  summary.textContent = sentence;
  summary.classList.toggle('differs', summary.textContent.startsWith('The chips differ'));
  results.append(snippets(pipeline.name, chips[0], file, replies.some(({ picture: shown }) => shown !== undefined)));
}

async function read(response, chip, milliseconds) {
  const type = (response.headers.get('content-type') ?? '').split(';')[0];
  const all = (name) => (response.headers.get(name) ?? '').split(',').map((item) => item.trim()).filter(Boolean);
  // A list with too many steps for a header ends with the number of those that are left out.
  const isRest = (item) => /^\+\d+$/.test(item);
  const list = (name) => all(name).filter((item) => !isRest(item));
  const pairs = (name, separator) => Object.fromEntries(list(name).map((item) => item.split(separator)));
  const reply = {
    chip, type, milliseconds, status: response.status, headers: [...response.headers],
    // The fallback may have answered instead.
    ran: response.headers.get('x-plimsoll-chip') ?? chip,
    leftOut: Number(all('x-plimsoll-memory').find(isRest) ?? 0),
    marks: pairs('x-plimsoll-memory', '='), times: pairs('server-timing', ';dur='),
    plugins: Object.fromEntries(list('x-plimsoll-plugins').map((item) => {
      const at = item.indexOf('=');
      return [item.slice(0, at), item.slice(at + 1)];
    })),
  };
  const body = await response.arrayBuffer();
  reply.bytes = new Uint8Array(body);
  const isJson = type === 'application/json' || type === 'application/problem+json';
  if (type === 'image/png') reply.picture = URL.createObjectURL(new Blob([body], { type }));
  else if (isJson || type.startsWith('text/')) reply.text = new TextDecoder().decode(body);
  else reply.size = body.byteLength;
  if (isJson) {
    try {
      reply.json = JSON.parse(reply.text);
      delete reply.text;
    } catch {
      // It says that it is JSON and is not, so it is shown as text.
    }
  }
  return reply;
}
