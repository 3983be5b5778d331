// Elements. Texts become text nodes, never HTML: many of them come from callers, plugins and models.

const SVG = 'http://www.w3.org/2000/svg';

export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'style') for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
    else if (name === 'value') node.value = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

// Shows a list of parts, each `[key, data, build]`. A part whose data did not change keeps its elements, and with them the
// focus and what the user typed. So does a part in which text is selected, and says so. Tables keep their place.
export function keep(parent, parts) {
  const known = parent.kept ?? new Map();
  const kept = new Map();
  const focus = document.activeElement?.closest('[data-focus]')?.dataset.focus;
  const regions = () => [...parent.querySelectorAll('.scroll')].map((region) => [region.dataset.focus, region]);
  const places = new Map(regions().map(([name, region]) => [name, region.scrollLeft]));
  const nodes = parts.map(([key, data, build]) => {
    const text = JSON.stringify(data);
    const old = known.get(key);
    const isHeld = old !== undefined && old.text !== text && isSelected(old.node);
    old?.node.classList.toggle('held', isHeld);
    const part = isHeld || old?.text === text ? old : { text, node: build(data) };
    kept.set(key, part);
    return part.node;
  });
  parent.kept = kept;
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, at) => {
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] ?? null);
  });
  for (const [name, region] of regions()) if (places.get(name) > 0) region.scrollLeft = places.get(name);
  if (focus && !document.activeElement?.closest('[data-focus]')) parent.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
}

// Whether a part of its text is selected.
function isSelected(node) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.rangeCount > 0 && selection.getRangeAt(0).intersectsNode(node);
}

// A table. `columns` are `[label, class]`; `rows` are lists of cells, or `{ cells, class }`.
export function table(caption, columns, rows) {
  const head = columns.map(([label, kind]) => el('th', { scope: 'col', class: kind }, label));
  const body = rows.map((row) => {
    const cells = row.cells ?? row;
    return el('tr', { class: row.class }, cells.map((cell, at) => {
      const [label, kind] = columns[at];
      return el('td', { class: kind, 'data-label': typeof label === 'string' ? label : '' }, cell);
    }));
  });
  return el('div', { class: 'scroll', role: 'region', 'aria-label': caption, 'data-focus': caption, tabindex: 0 },
    el('table', {}, el('caption', {}, caption), el('thead', {}, el('tr', {}, head)), el('tbody', {}, body)));
}

// Radio buttons in a row. `options` are `[value, label]`.
export function choices(legend, name, options, chosen, change) {
  return el('fieldset', { class: 'choices' }, el('legend', {}, legend), options.map(([value, label]) =>
    el('label', {}, el('input', {
      type: 'radio', name, value, checked: value === chosen, onchange: () => change(value),
    }), el('span', {}, label))));
}

// Asks before something is changed. Resolves to true if the user agrees. The dialog ends with its screen.
export function confirmed(question, agree, signal) {
  return new Promise((resolve) => {
    const leave = () => dialog.close('no');
    const dialog = el('dialog', { 'aria-labelledby': 'question', onclose: () => {
      signal.removeEventListener('abort', leave);
      resolve(dialog.returnValue === 'yes' && !signal.aborted);
      dialog.remove();
    } }, el('p', { id: 'question' }, question), el('div', { class: 'actions' },
      el('button', { type: 'button', class: 'main', onclick: () => dialog.close('yes') }, agree),
      el('button', { type: 'button', onclick: () => dialog.close('no') }, 'Cancel')));
    document.body.append(dialog);
    signal.addEventListener('abort', leave);
    dialog.showModal();
  });
}

// Text to copy, with a button.
export function copyable(label, text) {
  const button = el('button', { type: 'button', class: 'copy', 'aria-label': `Copy: ${label}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'Select the text to copy it';
    }
  } }, 'Copy');
  return el('div', { class: 'copyable' }, el('pre', { tabindex: 0, 'aria-label': label }, text), button);
}

// What the server replied instead of what was asked for.
export function problem(error) {
  const known = error.problem ?? {};
  const facts = Object.entries(known).filter(([name]) => !['status', 'code', 'title', 'detail'].includes(name));
  return el('div', { class: 'problem', role: 'alert' },
    el('strong', {}, `${known.status || error.status || ''} ${known.code ?? ''}`.trim() || 'Error'),
    el('p', {}, known.detail ?? error.message),
    facts.length > 0 && el('dl', {}, facts.map(([name, value]) => [el('dt', {}, name), el('dd', {}, String(value))])));
}
