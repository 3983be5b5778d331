// The frame: navigation, token, and the screen that is shown.

import { every, hasToken, isOfCallers, setKey, setToken } from '/console/api.js';
import { el, problem } from '/console/dom.js';
import { clock } from '/console/format.js';
import { compare } from '/console/compare.js';
import { deployments } from '/console/deployments.js';
import { overview } from '/console/overview.js';
import { recordings } from '/console/recordings.js';
import { reference } from '/console/reference.js';
import { requests } from '/console/requests.js';
import { tryIt } from '/console/try.js';

// A screen has `name`, `title`, and `start(view)`. What `start` returns is called at every poll. A screen with `takesKey` needs
// no token.
const SCREENS = [overview, tryIt, deployments, compare, recordings, requests, reference];

const main = document.querySelector('#main');
const status = document.querySelector('#status');
const age = document.querySelector('#age');
const session = document.querySelector('#session');
let shown = new AbortController();

function show() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
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
  tell('');
  const poll = screen.start({ content, signal, parameters: new URLSearchParams(query), refresh: () => refresh() });
  let latest;
  const refresh = every(signal, async () => {
    // Nothing is asked while the page waits for a token or a key: the server logs and counts each failure.
    if (gate.querySelector('form')) return;
    if (!screen.takesKey && !hasToken()) {
      ask(gate, content, tokenForm(undefined, () => refresh()));
      return;
    }
    try {
      const isLive = await poll();
      if (signal.aborted) return;
      latest = new Date();
      gate.replaceChildren();
      content.hidden = false;
      content.classList.remove('stale');
      if (isLive === false) tell('');
      else tell('live', clock(latest));
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) {
        ask(gate, content, isOfCallers(error.path ?? '') ? keyForm(error, refresh) : tokenForm(error, refresh));
        return;
      }
      // What is shown stays, and is marked as old.
      content.classList.toggle('stale', latest !== undefined);
      tell(error.status === 0 ? 'The server does not answer.' : 'not live', latest && `figures of ${clock(latest)}`);
      if (gate.firstChild?.told !== error.message) {
        gate.replaceChildren(problem(error));
        gate.firstChild.told = error.message;
      }
    }
  });
}

// The state, which screen readers say when it changes, and the time, which they do not.
function tell(state, time) {
  if (status.textContent !== state) status.textContent = state;
  age.textContent = time ?? '';
}

// A token or a key is missing or wrong.
function ask(gate, content, form) {
  content.hidden = true;
  tell('');
  gate.replaceChildren(form);
}

function secretForm(id, label, explanation, error, save) {
  const input = el('input', { type: 'password', id, autocomplete: 'off', spellcheck: 'false', required: true });
  return el('form', { class: 'panel gate', onsubmit: (event) => {
    event.preventDefault();
    save(input.value);
  } }, el('p', {}, explanation), error && el('p', { class: 'wrong', role: 'alert' }, error),
  el('label', { for: id }, label), el('div', { class: 'actions' }, input, el('button', { class: 'main' }, 'Unlock')));
}

function tokenForm(error, refresh) {
  const wrong = error && hasToken() ? `The server refused the token: ${error.message}` : undefined;
  setToken('');
  session.textContent = 'Enter the token';
  const form = secretForm('token', 'Administration token',
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
  const form = secretForm('key', 'Key of a caller', 'Callers of this server need a key. It stays in the memory of this page.',
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
  } else if (document.querySelector('#token')) {
    document.querySelector('#token').focus();
  } else {
    location.hash = '#/overview';
  }
});

// The link moves the focus and leaves the address of the screen.
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
document.querySelector('#nav').append(...SCREENS.map(({ name, title }) => el('a', { href: `#/${name}` }, title)));
addEventListener('hashchange', () => {
  show();
  main.querySelector('h1')?.focus();
});
show();
