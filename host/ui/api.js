// Calls of the server. The token and the key stay in the memory of this page: a reload forgets them.

const secrets = { token: '', key: '' };
const POLL = 2000;
// The longest that a question for figures may take.
const PATIENCE = 10_000;

export class Failed extends Error {
  constructor(status, message, problem) {
    super(message);
    Object.assign(this, { status, problem });
  }
}

// The difference between the clocks of the server and of this browser, in milliseconds.
let skew = 0;

// Seconds since 1970 by the clock of the server.
export const now = () => (Date.now() + skew) / 1000;

export const hasKey = () => secrets.key !== '';

export const hasToken = () => secrets.token !== '';

export const setToken = (token) => { secrets.token = token.trim(); };

export const setKey = (key) => { secrets.key = key.trim(); };

// The routes of callers take a key, all others the token.
export const isOfCallers = (path) => ['/v1/pipelines', '/v1/models', '/v2'].some((prefix) => path.startsWith(prefix));

export async function send(method, path, body, type, signal) {
  const headers = new Headers(type ? { 'content-type': type } : {});
  if (isOfCallers(path)) {
    if (secrets.key) headers.set('x-api-key', secrets.key);
  } else if (secrets.token) {
    headers.set('authorization', `Bearer ${secrets.token}`);
  }
  try {
    return await fetch(path, { method, headers, body, signal, cache: 'no-store', credentials: 'omit', redirect: 'error' });
  } catch {
    throw silent();
  }
}

const silent = () => new Failed(0, 'The server does not answer.');

// The error in a reply.
export async function failure(response) {
  const text = await response.text();
  const path = new URL(response.url).pathname;
  try {
    const problem = JSON.parse(text);
    return Object.assign(new Failed(response.status, problem.detail ?? problem.error ?? text, problem), { path });
  } catch {
    return Object.assign(new Failed(response.status, text.slice(0, 500) || response.statusText), { path });
  }
}

export async function call(method, path, body, type, signal) {
  const response = await send(method, path, body, type, signal);
  if (!response.ok) throw await failure(response);
  return response;
}

// Figures. A server that does not answer in time must not stop the page.
export async function get(path) {
  const signal = AbortSignal.timeout(PATIENCE);
  const response = await call('GET', path, undefined, undefined, signal);
  const date = Date.parse(response.headers.get('date') ?? '');
  // The header has whole seconds.
  if (Math.abs(date - Date.now() - skew) > 2000) skew = date - Date.now();
  try {
    return await response.json();
  } catch (error) {
    throw signal.aborted ? silent() : error;
  }
}

export const segment = encodeURIComponent;

// Calls `poll` now and every two seconds, never twice at once, and not while the page is hidden. Ends with the signal. What is
// asked for while a poll is under way follows it at once.
export function every(signal, poll) {
  let timer = 0;
  let isBusy = false;
  let isWanted = false;
  const turn = async () => {
    clearTimeout(timer);
    if (signal.aborted || document.hidden) return;
    if (isBusy) {
      isWanted = true;
      return;
    }
    isBusy = true;
    isWanted = false;
    await poll();
    isBusy = false;
    if (!signal.aborted) timer = setTimeout(turn, isWanted ? 0 : POLL);
  };
  document.addEventListener('visibilitychange', turn, { signal });
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
  return turn;
}
