// Calls of the server. The token and the key stay in the memory of this page: a reload forgets them.

const secrets = { token: '', key: '' };
const POLL = 2000;

export class Failed extends Error {
  constructor(status, message, problem) {
    super(message);
    Object.assign(this, { status, problem });
  }
}

export const hasToken = () => secrets.token !== '';

export const setToken = (token) => { secrets.token = token.trim(); };

export const setKey = (key) => { secrets.key = key.trim(); };

// The routes of callers take a key, all others the token.
const isOfCallers = (path) => ['/v1/pipelines', '/v1/models', '/v2'].some((prefix) => path.startsWith(prefix));

export async function send(method, path, body, type) {
  const headers = new Headers(type ? { 'content-type': type } : {});
  if (isOfCallers(path)) {
    if (secrets.key) headers.set('x-api-key', secrets.key);
  } else if (secrets.token) {
    headers.set('authorization', `Bearer ${secrets.token}`);
  }
  try {
    return await fetch(path, { method, headers, body, cache: 'no-store', credentials: 'omit', redirect: 'error' });
  } catch {
    throw new Failed(0, 'The server does not answer.');
  }
}

// The error in a reply.
export async function failure(response) {
  const text = await response.text();
  try {
    const problem = JSON.parse(text);
    return new Failed(response.status, problem.detail ?? problem.error ?? text, problem);
  } catch {
    return new Failed(response.status, text.slice(0, 500) || response.statusText);
  }
}

export async function call(method, path, body, type) {
  const response = await send(method, path, body, type);
  if (!response.ok) throw await failure(response);
  return response;
}

export const get = async (path) => (await call('GET', path)).json();

export const segment = encodeURIComponent;

// Calls `poll` now and every two seconds, never twice at once, and not while the page is hidden. Ends with the signal.
export function every(signal, poll) {
  let timer = 0;
  let isBusy = false;
  const turn = async () => {
    clearTimeout(timer);
    if (isBusy || signal.aborted || document.hidden) return;
    isBusy = true;
    await poll();
    isBusy = false;
    if (!signal.aborted) timer = setTimeout(turn, POLL);
  };
  document.addEventListener('visibilitychange', turn, { signal });
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
  return turn;
}
