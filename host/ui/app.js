// The frame: navigation, token, and the screen that is shown.

import { every, hasToken, setKey, setToken } from '/console/api.js';
import { el, problem } from '/console/dom.js';
import { clock } from '/console/format.js';
import { compare } from '/console/compare.js';
import { deployments } from '/console/deployments.js';
import { overview } from '/console/overview.js';
import { recordings } from '/console/recordings.js';
import { reference } from '/console/reference.js';
import { requests } from '/console/requests.js';
import { tryIt } from '/console/try.js';

// A screen has `name`, `title`, and `start(view)`. What `start` returns is called at every poll.
const SCREENS = [overview, tryIt, deployments, compare, recordings, requests, reference];

const main = document.querySelector('#main');
const status = document.querySelector('#status');
const session = document.querySelector('#session');
let shown = new AbortController();

function show() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  if (location.hash === '#main') return;
  const screen = SCREENS.find(({ name }) => name === path) ?? overview;
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  for (const link of document.querySelectorAll('#nav a')) {
    if (link.getAttribute('href') === `#/${screen.name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${screen.title} – Plimsoll`;
  session.textContent = hasToken() ? 'Forget the token' : 'Enter the token';
  const content = el('div', { class: 'screen' });
  const gate = el('div', {});
  main.replaceChildren(el('h1', { tabindex: -1 }, screen.title), gate, content);
  status.textContent = '';
  const poll = screen.start({ content, signal, parameters: new URLSearchParams(query), refresh: () => refresh() });
  const refresh = every(signal, async () => {
    try {
      const isLive = await poll();
      if (signal.aborted) return;
      gate.replaceChildren();
      content.hidden = false;
      status.textContent = isLive === false ? '' : `live, ${clock(new Date())}`;
    } catch (error) {
      if (signal.aborted) return;
      refuse(error, screen, gate, content, refresh);
    }
  });
}

// A token or a key is missing or wrong, or the server does not answer.
function refuse(error, screen, gate, content, refresh) {
  if (error.status === 401) {
    content.hidden = true;
    status.textContent = '';
    if (gate.querySelector('form')) return;
    gate.replaceChildren(screen.takesKey ? keyForm(error, refresh) : tokenForm(error, refresh));
    return;
  }
  status.textContent = error.status === 0 ? 'The server does not answer.' : '';
  gate.replaceChildren(problem(error));
}

function secretForm(label, explanation, error, save) {
  const input = el('input', { type: 'password', id: 'secret', autocomplete: 'off', spellcheck: 'false', required: true });
  return el('form', { class: 'panel gate', onsubmit: (event) => {
    event.preventDefault();
    save(input.value);
  } }, el('p', {}, explanation), error && el('p', { class: 'wrong', role: 'alert' }, error),
  el('label', { for: 'secret' }, label), el('div', { class: 'actions' }, input, el('button', { class: 'main' }, 'Unlock')));
}

function tokenForm(error, refresh) {
  const wrong = hasToken() ? `The server refused the token: ${error.message}` : undefined;
  setToken('');
  session.textContent = 'Enter the token';
  const form = secretForm('Administration token',
    'This screen needs the token of administration. A server makes its own: it is in the file admin-token of its data folder '
    + '(.plimsoll, unless data_dir is set). The token stays in the memory of this page. “Try it” needs none.',
    wrong, (token) => {
      setToken(token);
      form.remove();
      session.textContent = 'Forget the token';
      refresh();
    });
  return form;
}

function keyForm(error, refresh) {
  const form = secretForm('Key of a caller', 'Callers of this server need a key. It stays in the memory of this page.',
    error.message, (key) => {
      setKey(key);
      form.remove();
      refresh();
    });
  return form;
}

session.addEventListener('click', () => {
  if (hasToken()) {
    setToken('');
    show();
  } else if (document.querySelector('#secret')) {
    document.querySelector('#secret').focus();
  } else {
    location.hash = '#/overview';
  }
});

document.querySelector('#nav').append(...SCREENS.map(({ name, title }) => el('a', { href: `#/${name}` }, title)));
addEventListener('hashchange', () => {
  show();
  main.querySelector('h1')?.focus();
});
show();
